"""Authorities: the tree, the page of one, and the acts on it."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views import View

from certificates import lifetimes
from certificates.forms import AuthorityForm, CrossSignForm, ImportForm, KeyImportForm
from certificates.models import AcmeServer, Authority, Certificate
from certificates.profiles import PROFILES
from certificates.services import authorities, bringing, crls, offices, revoking
from certificates.services.reading import visible_authorities, visible_authority, visible_certificates
from certificates.services.signers import url
from certificates.services.weaknesses import weakness_of_authority
from certificates.states import AuthorityState
from certificates.views.pages import Confirmed, MakePage
from keys.forms import ServiceForm
from keys.models import Key
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit

_ADDRESSES = (
    ("CA certificate", "ca.cer"), ("CRL", "crl"), ("OCSP", "ocsp"), ("Chain to the root, in PEM", "chain.pem"),
    ("CRLs of the whole chain, in PEM", "crls.pem"),
)  # fmt: skip


class AuthorityTree(ActorRequiredMixin, View):
    """Roots at the top, what they signed below."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = list(visible_authorities(actor_of(request)).select_related("certificate", "key").order_by("name")[:500])
        nodes = {row.pk: _node(row) for row in rows}
        roots: list[dict[str, Any]] = []
        for row in rows:
            above = nodes.get(row.parent_id) if row.parent_id else None
            (above["children"] if above else roots).append(nodes[row.pk])
        today = timezone.now().date()
        context = {
            "title": "Certification authorities", "subtitle": "Who signs certificates here, and with which keys.", "nodes": roots,
            "may_manage": actor_of(request).can_somewhere(Permission.AUTHORITY_MANAGE),
            "steps": lifetimes.CALENDAR[1:], "step": lifetimes.step_on(today), "today": today,
        }  # fmt: skip
        return render(request, "certificates/authority_tree.html", context)


def _node(row: Authority) -> dict[str, Any]:
    until = f", until {row.certificate.not_after:%-d %b %Y}" if row.certificate else ""
    weak = "; a weak key" if weakness_of_authority(row.key.algorithm) else ""
    return {
        "title": row.title, "url": f"/certificates/authorities/{row.pk}/", "state": _state(row), "icon": "session" if row.parent_id else "lock",
        "note": f"{row.key.algorithm} at {row.key.provider}{until}{weak}", "children": [], "open": True,
    }  # fmt: skip


def _state(row: Authority) -> str:
    return {"pending": "awaiting_signature", "retired": "retired"}.get(row.state, row.state)


class AuthorityDetail(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row, actor = visible_authority(actor_of(request), authority_id), actor_of(request)
        active = row.state == AuthorityState.ACTIVE.value
        manage = actor.can(Permission.AUTHORITY_MANAGE, row.ring_id)
        lists = [found for number in range(min(row.crl_partitions, 20)) if (found := crls.newest(row, number))]
        delta = crls.newest(row, 0, "delta")
        issued = visible_certificates(actor).filter(authority=row)
        context = {
            "title": row.title, "authority": row, "state": _state(row), "lists": [*lists, *([delta] if delta else [])], "now": timezone.now(),
            "newest": issued.order_by("-created_at", "-id")[:10], "children": row.children.order_by("name"), "rules": _rules(row),
            "addresses": [(what, url(row, path)) for what, path in _ADDRESSES],
            "may_issue": active and row.profiles and actor.can(Permission.CERTIFICATE_ISSUE, row.ring_id), "may_manage": manage,
            "may_cross": active and manage and row.path_length != 0, "may_retire": active and manage,
            "may_resume": row.state == AuthorityState.RETIRED.value and manage,
            "may_revoke": manage and row.state in {"active", "retired"}, "profiles": [PROFILES[name] for name in row.profiles],
            "waiting": list(approvals.visible_requests(actor).filter(target_type="authority", target_id=str(row.pk), state="pending")[:5]),
            "events": audit.events_for_target("authority", str(row.pk), 10) if actor.can(Permission.AUDIT_VIEW, row.ring_id) else [],
            "facts": _facts(row), "serves_acme": AcmeServer.objects.filter(authority=row).exists(),
            "weakness": weakness_of_authority(row.key.algorithm),
        }  # fmt: skip
        return render(request, "certificates/authority_detail.html", context)


def _facts(row: Authority) -> list[tuple[str, object]]:
    certificate = row.certificate
    return [
        ("Kind", row.get_kind_display()), ("Issued by", row.parent or "itself"), ("Key", f"{row.key} ({row.key.algorithm}, {row.key.provider})"),
        ("Ring", row.ring), ("Ends", f"{certificate.not_after:%-d %B %Y}" if certificate else ""),
        ("Serial number", certificate.serial if certificate else ""), ("SHA-256", certificate.fingerprint if certificate else ""),
        ("Path length", "no limit" if row.path_length is None else str(row.path_length)),
        ("OCSP responder", f"delegated until {row.responder.not_after:%-d %B %Y}" if row.responder else "the authority itself"),
    ]  # fmt: skip


def _rules(row: Authority) -> list[tuple[str, str]]:
    rules = row.name_rules
    said = [
        (label, ", ".join(getattr(rules, kind)))
        for kind, label in (("dns", "DNS"), ("ip", "IP"), ("uri", "URI"), ("email", "E-mail"))
    ]
    return [(label, text) for label, text in said if text] + ([("Wildcards", "allowed")] if rules.wildcards else [])


class AuthorityCreate(MakePage):
    required_permission = Permission.AUTHORITY_MANAGE
    form_class, title, label = AuthorityForm, "New authority", "Create the authority"
    back, detail, prefilled = "certificates:authority-list", "certificates:authority-detail", ("parent",)

    def make(self, values: dict[str, Any]) -> Authority:
        return authorities.create_authority(actor=self.actor, **values)

    def said(self, made: Authority) -> str:
        return f"{made} is being signed by its issuer; its page shows when it is ready."

    def page(self, form: ServiceForm, status: int = 200, **more: Any) -> HttpResponse:
        agree = approvals.officers_needed(self.actor, None)
        intro = "Its certificate is signed by its issuer where that key lives, never here. " + (
            f"{agree} other security officers have to agree first."
            if agree
            else "There is no other security officer to ask."
        )
        return super().page(form, status, intro=intro, **more)


class AuthorityImport(MakePage):
    """An existing CA whose private key is in the hierarchy already."""

    required_permission = Permission.AUTHORITY_MANAGE
    form_class, title, label = ImportForm, "Import an authority", "Import"
    intro = "Bring the certificate of a CA that exists. Its key has to be in the hierarchy: adopt it at its provider, or import it."
    back, detail, prefilled = "certificates:authority-list", "certificates:authority-detail", ("key",)

    def make(self, values: dict[str, Any]) -> Authority:
        return bringing.import_authority(actor=self.actor, **values)


class AuthorityKeyImport(MakePage):
    """The private key of an existing CA becomes a key of the hierarchy; its certificate is brought in next."""

    required_permission = Permission.AUTHORITY_MANAGE
    form_class, title, label = KeyImportForm, "Import a CA's private key", "Import the key"
    intro = (
        "Only for a CA whose key was made elsewhere. A key that was outside can have been copied: "
        "roll over to one that is made here as soon as you can."
    )
    back = "certificates:authority-list"

    def make(self, values: dict[str, Any]) -> Key:
        return bringing.import_key(actor=self.actor, **values)

    def said(self, made: Key) -> str:
        return f"The key {made} is kept; now bring the certificate."

    def address(self, made: Key) -> str:
        return f"/certificates/authorities/import/?key={made.pk}"


class CrossSign(ActorRequiredMixin, View):
    required_permission = Permission.AUTHORITY_MANAGE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        return self._page(request, managed(request, authority_id, issues=True), CrossSignForm())

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row, form = managed(request, authority_id, issues=True), CrossSignForm(request.POST)
        if form.is_valid():
            done = form.run(lambda values: bringing.cross_sign(actor=actor_of(request), authority_id=row.pk, **values))
            if done is not None:
                messages.success(request, "The cross-certificate is being signed; it appears in the inventory.")
                return redirect("certificates:authority-detail", row.pk)
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: Authority, form: CrossSignForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Cross-sign with {row}", "form": form, "submit_label": "Cross-sign", "cancel_url": f"/certificates/authorities/{row.pk}/",
            "intro": f"Whoever trusts {row} then trusts the other authority as well, with all it issues.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


def managed(request: HttpRequest, authority_id: UUID, *, issues: bool = False) -> Authority:
    """The authority, if this person may manage it, and if it still `issues` where the act needs that.

    Raises NotFound, PermissionRefused, WrongState.
    """
    row = visible_authority(actor_of(request), authority_id)
    authorize(actor_of(request), Permission.AUTHORITY_MANAGE, ring_id=row.ring_id, target=str(row))
    if issues:
        offices.check_state(row)
    return row


class _OfAuthority(Confirmed):
    """An act on an authority; others agree to what cannot be undone."""

    required_permission = Permission.AUTHORITY_MANAGE
    to: ClassVar[AuthorityState]

    def load(self, request: HttpRequest, **named: UUID) -> Authority:
        row = managed(request, named["authority_id"])
        authorities.check_switch(row, self.to)
        return row

    def home(self, row: Authority) -> str:
        return f"/certificates/authorities/{row.pk}/"

    def agreed_by(self, request: HttpRequest, row: Authority) -> int:
        return approvals.officers_needed(actor_of(request), row.ring_id) if self.irreversible else 0


class Retire(_OfAuthority):
    title, label, to = "Retire", "Stop issuing", AuthorityState.RETIRED

    def act(self, request: HttpRequest, row: Authority, reason: str) -> object:
        return authorities.retire_authority(actor=actor_of(request), authority_id=row.pk, reason=reason)

    def consequences(self, row: Authority) -> list[Any]:
        living = Certificate.objects.filter(authority=row, state="valid", not_after__gt=timezone.now()).count()
        return [
            counted(living, "certificate stays valid until it ends", "certificates stay valid until they end"),
            "It issues nothing any more until somebody resumes it.",
        ]


class Resume(_OfAuthority):
    title, label, to = "Resume", "Issue again", AuthorityState.ACTIVE

    def act(self, request: HttpRequest, row: Authority, reason: str) -> object:
        return authorities.resume_authority(actor=actor_of(request), authority_id=row.pk, reason=reason)

    def consequences(self, row: Authority) -> list[Any]:
        return ["It issues again by its profiles and names."]


class Revoke(_OfAuthority):
    title, label, irreversible = "Revoke", "Revoke it and everything below it", True
    to = AuthorityState.REVOKED

    def act(self, request: HttpRequest, row: Authority, reason: str) -> object:
        return revoking.revoke_authority(actor=actor_of(request), authority_id=row.pk, note=reason)

    def consequences(self, row: Authority) -> list[Any]:
        return [
            counted(
                revoking.affected_by(row),
                "certificate that still lives ends",
                "certificates that still live end",
                tone="danger",
            ),
            *revoking.consequences(row)[1:],
        ]


class PublishCrl(ActorRequiredMixin, View):
    """Sign a new CRL now."""

    required_permission = Permission.AUTHORITY_MANAGE

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = managed(request, authority_id)
        made = crls.request_publication(actor=actor_of(request), authority_id=row.pk)
        messages.success(
            request, f"CRL {made[0].number} is published with {sum(item.entries for item in made):,} entries."
        )
        return redirect("certificates:authority-detail", row.pk)
