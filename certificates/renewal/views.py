"""Pages of renewal: ACME CAs, the certificates that are kept alive, and where they are delivered."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views import View

from certificates.models import AcmeSource, Delivery, DeployHook, DnsHook, ManagedCertificate
from certificates.renewal import deploying, managing, sources
from certificates.renewal.forms import DnsHookForm, HookForm, ObtainForm, SourceForm
from certificates.renewal.frame import visible_dns_hooks, visible_managed, visible_sources
from certificates.renewal.states import OPEN_ORDERS, SourceState
from certificates.views.pages import Confirmed, MakePage
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError
from keyvault_portal.paging import page_context
from keyvault_portal.visible import found

P = Permission


class SourceList(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        rows = visible_sources(actor).select_related("ring")
        context = page_context(request, rows, ["name", "id"]) | {
            "title": "Certificate sources", "subtitle": "ACME CAs from which certificates for our transport keys come.",
            "hooks": visible_dns_hooks(actor).select_related("ring").order_by("name")[:100],
            "may_manage": actor.can_somewhere(P.AUTHORITY_MANAGE),
            "columns": [{"label": "Source"}, {"label": "Directory"}, {"label": "State"}, {"label": "Ring"}],
            "empty_title": "There is no source yet", "empty_text": "Register an account at Let's Encrypt or any other ACME CA.",
        }  # fmt: skip
        return render(request, "certificates/source_list.html", context)


class SourceCreate(MakePage):
    """First a look at the CA, which shows its terms; then the account."""

    required_permission = P.AUTHORITY_MANAGE
    form_class, title, label = SourceForm, "New certificate source", "Register the account"
    intro = "The portal makes an account key, seals it and registers it at the CA. Nobody else ever has that key."
    back, detail = "certificates:source-list", "certificates:source-detail"
    done = "The account is being registered; this page shows when it is ready."
    template_name = "certificates/source_form.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("act") != "look":
            return super().post(request)
        form = self.form(request.POST)
        return self.page(form, found=form.run(self._look)) if form.is_valid() else self.page(form, status=422)

    def _look(self, values: dict[str, Any]) -> sources.Tried:
        wanted = {name: values[name] for name in ("ring", "directory", "ca_bundle")}
        return sources.look_at_ca(actor=self.actor, **wanted)

    def make(self, values: dict[str, Any]) -> AcmeSource:
        return sources.register_source(actor=self.actor, **values)


def _source(request: HttpRequest, source_id: UUID) -> AcmeSource:
    row: AcmeSource = found(visible_sources(actor_of(request)).select_related("ring"), source_id, "source")
    return row


class SourceDetail(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, source_id: UUID) -> HttpResponse:
        actor, row = actor_of(request), _source(request, source_id)
        manage = actor.can(P.AUTHORITY_MANAGE, row.ring_id) and row.state != SourceState.RETIRED.value
        context = {
            "title": row.name, "row": row, "state": row.state, "managed": visible_managed(actor).filter(source=row).order_by("-created_at")[:50],
            "may_manage": manage, "may_obtain": row.state == "ready" and actor.can_somewhere(P.CERTIFICATE_ISSUE),
            "facts": [
                ("Directory", row.directory), ("Account", row.account_url), ("Account key's thumbprint", row.thumbprint),
                ("Contacts", ", ".join(row.contacts)), ("Terms", row.terms_url), ("Terms agreed to by", row.terms_agreed_by),
                ("External account", row.eab_kid), ("Says when to renew (RFC 9773)", "yes" if row.offers_renewal_info else "no"),
                ("Trust in its HTTPS", "the CA bundle given" if row.ca_bundle else "public CAs"), ("Ring", row.ring),
                ("Last asked", f"{row.checked_at:%-d %b %Y, %H:%M} UTC" if row.checked_at else "not yet"),
            ],
            "events": audit.events_for_target("acme_source", str(row.pk), 10) if actor.can(P.AUDIT_VIEW, row.ring_id) else [],
        }  # fmt: skip
        return render(request, "certificates/source_detail.html", context)


class SourceRetry(ActorRequiredMixin, View):
    """Try it: a refused account again, a ready CA whether it answers."""

    required_permission = P.AUTHORITY_MANAGE

    def post(self, request: HttpRequest, source_id: UUID) -> HttpResponse:
        row = _source(request, source_id)
        try:
            done = sources.retry_source(actor=actor_of(request), source_id=row.pk)
        except PortalError as error:
            if error.status == 403:
                raise
            messages.error(request, f"{error.detail} {error.hint}".strip())
        else:
            ready = done.state == SourceState.READY.value
            messages.success(request, "The CA answers." if ready else "The account is being registered again.")
        return redirect("certificates:source-detail", row.pk)


class DnsHookCreate(MakePage):
    required_permission = P.AUTHORITY_MANAGE
    form_class, title, label = DnsHookForm, "New DNS hook", "Keep it"
    intro = (
        "For proofs by dns-01. A dynamic update is signed with TSIG. A webhook is sent "
        '{"action": "present" or "cleanup", "name", "value"}, signed in the header Portal-Signature.'
    )
    back = "certificates:source-list"

    def make(self, values: dict[str, Any]) -> DnsHook:
        return sources.register_dns_hook(actor=self.actor, **values)

    def said(self, made: DnsHook) -> str:
        return f"The DNS hook {made} is kept; the first order uses it."

    def address(self, made: DnsHook) -> str:
        return reverse(self.back)


class RenewalList(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponse:
        actor = actor_of(request)
        context = page_context(request, visible_managed(actor), ["renew_at", "id"]) | {
            "title": "Renewals", "subtitle": "Certificates that the portal obtains and keeps alive.", "now": timezone.now(),
            "may_obtain": actor.can_somewhere(P.CERTIFICATE_ISSUE),
            "columns": [{"label": "Names"}, {"label": "From"}, {"label": "Key"}, {"label": "State"}, {"label": "Ends"}, {"label": "Renewal"}],
            "empty_title": "Nothing is renewed yet",
            "empty_text": "Register a source, make a transport key, and obtain its first certificate.",
        }  # fmt: skip
        return render(request, "certificates/renewal_list.html", context)


class RenewalCreate(MakePage):
    required_permission = P.CERTIFICATE_ISSUE
    form_class, title, label = ObtainForm, "Obtain a certificate", "Obtain it"
    intro = (
        "The request is signed where the key lives. From then on it is renewed by itself: "
        "at two thirds of its life, or when the CA says so."
    )
    back, detail, prefilled = "certificates:renewal-list", "certificates:renewal-detail", ("source", "key")

    def make(self, values: dict[str, Any]) -> ManagedCertificate:
        return managing.obtain_certificate(actor=self.actor, **values)


def managed_of(request: HttpRequest, managed_id: UUID, permission: Permission | None = None) -> ManagedCertificate:
    """The managed certificate, if this person may see it and holds `permission` on it."""
    row: ManagedCertificate = found(visible_managed(actor_of(request)), managed_id, "managed certificate")
    if permission is not None:
        authorize(actor_of(request), permission, ring_id=row.ring_id, target=str(row))
    return row


class RenewalDetail(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, managed_id: UUID) -> HttpResponse:
        row, actor = managed_of(request, managed_id), actor_of(request)
        return render(request, "certificates/renewal_detail.html", _context(row, actor))


def _context(row: ManagedCertificate, actor: Actor) -> dict[str, Any]:
    orders = list(row.orders.select_related("version", "certificate").order_by("-created_at")[:8])
    busy = bool(orders and orders[0].state in OPEN_ORDERS)
    issue = actor.can(P.CERTIFICATE_ISSUE, row.ring_id)
    hooks = row.hooks.filter(removed_at=None).order_by("created_at")
    window = (
        f"{row.window_start:%-d %b %Y, %H:%M} to {row.window_end:%-d %b, %H:%M} UTC"
        if row.window_start and row.window_end
        else ""
    )
    return {
        "title": str(row), "row": row, "state": row.shown_state, "orders": orders, "busy": busy, "now": timezone.now(),
        "open_order": orders[0] if busy else None,
        "hooks": [{"hook": hook, "last": hook.deliveries.select_related("certificate").order_by("-created_at").first()} for hook in hooks],
        "may_renew": issue and not busy and row.source.state == "ready", "may_stop": issue and row.enabled, "may_resume": issue and not row.enabled,
        "may_issue": issue,
        "waiting": list(
            approvals.visible_requests(actor).filter(target_type="managed_certificate", target_id=str(row.pk), state="pending")[:5]
        ),
        "facts": [
            ("Names", ", ".join(name.partition(":")[2] for name in row.names)), ("Source", row.source), ("Key", row.key),
            ("Proof", row.get_challenge_display() + (f" by {row.dns_hook}" if row.dns_hook else "")),
            ("Key at a renewal", "a new version" if row.new_key else "the same version"),
            *([("The CA's window", window)] if window else []), ("Ring", row.ring), ("Asked for by", row.created_by),
        ],
        "events": audit.events_for_target("managed_certificate", str(row.pk), 10) if actor.can(P.AUDIT_VIEW, row.ring_id) else [],
    }  # fmt: skip


class _OfManaged(Confirmed):
    """An act on a managed certificate."""

    required_permission = P.CERTIFICATE_ISSUE

    def load(self, request: HttpRequest, **named: UUID) -> Any:
        return managed_of(request, named["managed_id"], P.CERTIFICATE_ISSUE)

    def home(self, row: Any) -> str:
        return f"/certificates/renewals/{row.pk}/"


class RenewNow(_OfManaged):
    title, label = "Renew", "Renew now"

    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        return managing.renew_now(actor=actor_of(request), managed_id=row.pk, reason=reason)

    def consequences(self, row: Any) -> list[Any]:
        key = "A new version of its key is made and certified." if row.new_key else "The same key is certified again."
        return [key, "Every place it is delivered to gets the new one; the old one stays valid until its end."]


class Stop(_OfManaged):
    title, label, danger = "Stop renewing", "Stop it", True

    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        return managing.stop_renewal(actor=actor_of(request), managed_id=row.pk, reason=reason)

    def consequences(self, row: Any) -> list[Any]:
        ends = "There is no certificate yet."
        if row.certificate:
            ends = f"It ends on {row.certificate.not_after:%-d %B %Y}, and nothing takes its place."
        return [ends, "An attempt that is under way goes on."]


class Resume(_OfManaged):
    title, label = "Renew again", "Renew it again"

    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        return managing.resume_renewal(actor=actor_of(request), managed_id=row.pk, reason=reason)

    def consequences(self, row: Any) -> list[Any]:
        return ["If it is due, the renewal begins within a minute."]


class SourceRetire(Confirmed):
    required_permission = P.AUTHORITY_MANAGE
    title, label, danger = "Retire", "Use it no more", True

    def load(self, request: HttpRequest, **named: UUID) -> Any:
        row = _source(request, named["source_id"])
        authorize(actor_of(request), P.AUTHORITY_MANAGE, ring_id=row.ring_id, target=str(row))
        return row

    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        return sources.retire_source(actor=actor_of(request), source_id=row.pk, reason=reason)

    def consequences(self, row: Any) -> list[Any]:
        return [
            counted(
                row.managed.filter(enabled=True).count(),
                "certificate is renewed from it; stop it first",
                "certificates are renewed from it; stop them first",
            ),
            "Certificates that came from it stay valid until they end.",
        ]

    def home(self, row: Any) -> str:
        return f"/certificates/sources/{row.pk}/"


class HookCreate(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_ISSUE

    def get(self, request: HttpRequest, managed_id: UUID) -> HttpResponse:
        return self._page(request, managed_of(request, managed_id, P.CERTIFICATE_ISSUE), HookForm())

    def post(self, request: HttpRequest, managed_id: UUID) -> HttpResponse:
        row, form = managed_of(request, managed_id, P.CERTIFICATE_ISSUE), HookForm(request.POST)
        if form.is_valid():
            done = form.run(lambda values: deploying.add_hook(actor=actor_of(request), managed_id=row.pk, **values))
            if done is not None:
                return redirect("certificates:renewal-detail", row.pk)
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: ManagedCertificate, form: HookForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Deliver {row}", "form": form, "submit_label": "Deliver it there", "cancel_url": f"/certificates/renewals/{row.pk}/",
            "needed": approvals.officers_needed(actor_of(request), row.ring_id),
        }  # fmt: skip
        return render(request, "certificates/hook_form.html", context, status=status)


class HookRemove(_OfManaged):
    title, label = "Deliver no more to", "Remove it"

    def load(self, request: HttpRequest, **named: UUID) -> Any:
        rows = DeployHook.objects.filter(managed__in=visible_managed(actor_of(request)).values("pk"), removed_at=None)
        row = found(rows.select_related("managed"), named["hook_id"], "hook")
        authorize(actor_of(request), P.CERTIFICATE_ISSUE, ring_id=row.managed.ring_id, target=str(row))
        return row

    def act(self, request: HttpRequest, row: Any, reason: str) -> object:
        return deploying.remove_hook(actor=actor_of(request), hook_id=row.pk, reason=reason)

    def consequences(self, row: Any) -> list[Any]:
        return [
            "New certificates are not delivered there any more.",
            "What is there stays there; remove files by hand.",
        ]

    def home(self, row: Any) -> str:
        return f"/certificates/renewals/{row.managed_id}/"


class DeliveryRetry(ActorRequiredMixin, View):
    required_permission = P.CERTIFICATE_ISSUE

    def post(self, request: HttpRequest, delivery_id: UUID) -> HttpResponse:
        rows = Delivery.objects.filter(hook__managed__in=visible_managed(actor_of(request)).values("pk"))
        row = found(rows.select_related("hook"), delivery_id, "delivery")
        deploying.retry_delivery(actor=actor_of(request), delivery_id=row.pk)
        return redirect("certificates:renewal-detail", row.hook.managed_id)
