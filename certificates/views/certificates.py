"""Certificates: the inventory, the page of one, issuing, renewing and revoking."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views import View

from certificates.bundles import Bundle
from certificates.forms import (
    CertificateFilterForm,
    CsrForm,
    NewKeyForm,
    RenewForm,
    RenewKeyForm,
    RevokeForm,
    UploadForm,
)
from certificates.models import Authority, CaRevocation, Certificate, ManagedCertificate, RenewalOrder
from certificates.profiles import LEAF_PROFILES, PROFILES
from certificates.renewal import revoking
from certificates.rollover.steps import line_of
from certificates.services import inventory, issuing, log_lists, offices, sightings
from certificates.services.reading import chain_of, pem, visible_authority, visible_certificate, visible_certificates
from certificates.services.revoking import release_certificate
from certificates.states import AuthorityState, CertificateState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.audit import services as audit
from keyvault_portal.downloads import list_download
from keyvault_portal.errors import WrongState
from keyvault_portal.paging import page_context

EXPORTED = {
    "subject": "subject", "names": "names", "issuer": "issuer", "serial": "serial", "fingerprint": "fingerprint",
    "state": "state", "profile": "profile",
    "source": "source", "key": "key_algorithm", "key_origin": "key_origin", "not_before": "not_before", "not_after": "not_after",
    "owner": "owner_label", "ring": "ring__name", "weaknesses": "weaknesses", "id": "id",
}  # fmt: skip
ORDERS = {
    "ends": ["not_after", "id"], "-ends": ["-not_after", "-id"], "made": ["created_at", "id"], "-made": ["-created_at", "-id"],
}  # fmt: skip


class CertificateList(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest) -> HttpResponseBase:
        actor = actor_of(request)
        form = CertificateFilterForm(request.GET or None)
        rows = visible_certificates(actor).select_related("authority", "ring")
        if form.is_valid():
            rows = form.apply(rows)
        order = ORDERS.get(request.GET.get("sort", ""), ORDERS["-made"])
        if download := list_download(actor, request, "certificates", rows.order_by(*order), EXPORTED):
            return download
        context = page_context(request, rows, order) | {
            "exportable": True, "title": "Certificates", "filter_form": form, "now": timezone.now(),
            "may_upload": actor.can_somewhere(Permission.CERTIFICATE_UPLOAD), "tiles": _tiles(actor),
            "may_revoke": actor.can_somewhere(Permission.CERTIFICATE_REVOKE),
            "empty_title": "There is no certificate yet",
            "empty_text": "Make a certification authority and issue one, or upload those you have.",
            "columns": [
                {"label": "Certificate"}, {"label": "Issuer"}, {"label": "Key"}, {"label": "State"}, {"label": "Owner"},
                {"label": "Ends", "sort": "ends"},
            ],
        }  # fmt: skip
        return render(request, "certificates/certificate_list.html", context)


def _tiles(actor: Actor) -> list[dict[str, Any]]:
    """Counts on the head of the inventory, each a link to what it counts."""
    counts = inventory.figures(visible_certificates(actor))
    shown = (
        ("due", "Due", "?renewal=due&sort=ends", "calendar", "end within 30 days and are not renewed", "warn"),
        ("weak", "Weak", "?finding=weak", "warning", "have a weak key or signature", "danger"),
        ("shared", "Keys used twice", "?finding=shared", "copy", "share their key with another", "warn"),
        ("keyless", "Keys elsewhere", "?finding=keyless", "key", "have their private key nowhere in the hierarchy", "info"),
    )  # fmt: skip
    return [
        {
            "label": label, "url": url, "icon": icon, "note": note, "tone": tone if counts[name] else "neutral",
            "value": f"{inventory.COUNTED:,}+" if counts[name] > inventory.COUNTED else counts[name],
        }
        for name, label, url, icon, note, tone in shown
    ]  # fmt: skip


class CertificateDetail(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        actor = actor_of(request)
        row = visible_certificate(actor, certificate_id)
        shared = visible_certificates(actor).filter(spki_sha256=row.spki_sha256).exclude(pk=row.pk)
        leaf, by = row.authority is not None and row.profile in LEAF_PROFILES, _renewer(row)
        lent = (
            row.authority is not None
            and row.profile == "sub-ca"
            and not Authority.objects.filter(certificate=row).exists()
        )
        wish = CaRevocation.objects.filter(certificate=row).first()
        revocable = (
            leaf or lent or (_obtained(row) and row.shown_state == "valid" and (wish is None or wish.state == "failed"))
        )
        revoke = revocable and (actor.can(Permission.CERTIFICATE_REVOKE, row.ring_id) or row.owner_id == actor.id)
        context = {
            "title": str(row), "row": row, "state": row.badge, "chain": chain_of(row), "shared": shared[:10], "now": timezone.now(),
            "renewals": row.renewed_by.order_by("-created_at")[:5], "pem": pem(row), "names": [name.partition(":") for name in row.names],
            "may_renew": by is not None and by.state == AuthorityState.ACTIVE.value and actor.can(Permission.CERTIFICATE_ISSUE, row.ring_id),
            "may_revoke": revoke and row.state != "revoked", "wish": wish if wish is not None and wish.state != "done" else None,
            "places": sightings.visible_places(actor, row)[:20], "promises": log_lists.transparency_of(row),
            "may_revoke_all": actor.can(Permission.CERTIFICATE_REVOKE, row.ring_id),
            "managed": ManagedCertificate.objects.filter(certificate=row).first(),
            "may_release": row.state == "held" and actor.can(Permission.CERTIFICATE_REVOKE, row.ring_id),
            "outlook": issuing.outlook(row.profile, (row.not_after - row.not_before).days + 1) if leaf and row.state == "valid" else [],
            "events": audit.events_for_target("certificate", str(row.pk), 10) if actor.can(Permission.AUDIT_VIEW, row.ring_id) else [],
            "facts": [
                ("Subject", row.subject or "none (the names stand alone)"), ("Issuer", row.issuer),
                ("Profile", PROFILES[row.profile].title if row.profile else ""),
                ("Valid", f"{row.not_before:%-d %b %Y, %H:%M} to {row.not_after:%-d %b %Y, %H:%M} UTC"),
                ("Serial number", row.serial), ("SHA-256", row.fingerprint),
                ("Key", row.key_algorithm), ("SPKI SHA-256", row.spki_sha256), ("Signed with", row.signature_algorithm),
                ("Private key", row.key or row.get_key_origin_display()), ("Source", row.get_source_display()),
                ("Owner", row.owner_label), ("Ring", row.ring),
                ("Asked for by", row.requested_by),
            ],
        }  # fmt: skip
        return render(request, "certificates/certificate_detail.html", context)


def _renewer(row: Certificate) -> Authority | None:
    """Who renews it: its issuer, or since a rollover the one that took its place; None for what is not renewed here."""
    if row.authority is None or row.profile not in LEAF_PROFILES or row.state != CertificateState.VALID.value:
        return None
    return line_of(row.authority)[-1]


def _obtained(row: Certificate) -> bool:
    """Whether it came from an ACME CA that can be asked to revoke it."""
    return row.authority_id is None and RenewalOrder.objects.filter(certificate=row).exists()


class CertificateDownload(ActorRequiredMixin, View):
    """The certificate with its chain as PEM."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row = visible_certificate(actor_of(request), certificate_id)
        response = HttpResponse(pem(row, *chain_of(row)), content_type="application/x-pem-file")
        response["Content-Disposition"] = f'attachment; filename="{row.serial[:16]}.pem"'
        return response


def issuing_authority(request: HttpRequest, authority_id: UUID) -> Authority:
    """The authority, if this person may issue by it and it issues; raises NotFound, PermissionRefused, WrongState."""
    row = visible_authority(actor_of(request), authority_id)
    authorize(actor_of(request), Permission.CERTIFICATE_ISSUE, ring_id=row.ring_id, target=str(row))
    offices.check_state(row)
    return row


class Issue(ActorRequiredMixin, View):
    """A certificate for a request that somebody made with a key of their own."""

    required_permission = Permission.CERTIFICATE_ISSUE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        return self._page(request, row, CsrForm(authority=row))

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        form = CsrForm(request.POST, authority=row)
        if form.is_valid():
            made = form.run(lambda values: self._issue(request, row, values))
            if made is not None:
                messages.success(request, "The certificate is issued.")
                return redirect("certificates:certificate-detail", made.pk)
        return self._page(request, row, form, status=422)

    def _issue(self, request: HttpRequest, row: Authority, values: dict[str, Any]) -> Certificate:
        reason = values.pop("reason")
        order = issuing.order_from_csr(values.pop("csr"), **values)
        return issuing.issue_certificate(actor=actor_of(request), authority_id=row.pk, order=order, reason=reason)

    def _page(self, request: HttpRequest, row: Authority, form: CsrForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Issue by {row}", "form": form, "submit_label": "Issue the certificate", "cancel_url": f"/certificates/authorities/{row.pk}/",
            "authority": row, "warnings": [line for name in row.profiles for line in issuing.outlook(name, row.max_days)],
            "intro": "Paste a request made where the key lives. Its subject is not trusted: names are checked against the authority's policy.",
        }  # fmt: skip
        return render(request, "certificates/issue.html", context, status=status)


class IssueKey(ActorRequiredMixin, View):
    """A key made here and handed over once, in an encrypted file."""

    required_permission = Permission.CERTIFICATE_ISSUE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        return self._page(request, row, NewKeyForm(authority=row))

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        form = NewKeyForm(request.POST, authority=row)
        if form.is_valid():
            made = form.run(
                lambda values: issuing.issue_with_new_key(actor=actor_of(request), authority_id=row.pk, **values)
            )
            if made is not None:
                return handed_over(made[1])
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: Authority, form: NewKeyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"New key and certificate by {row}", "form": form, "submit_label": "Make, certify and download",
            "cancel_url": f"/certificates/authorities/{row.pk}/",
            "intro": "The key is made here and leaves in this one download. It cannot be downloaded again: keep the file and its password.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


def handed_over(bundle: Bundle) -> HttpResponse:
    """The one download of a key: kept by nobody in between."""
    response = HttpResponse(bundle.content.reveal(), content_type=bundle.media_type)
    response["Content-Disposition"] = f'attachment; filename="{bundle.filename}"'
    response["Cache-Control"] = "no-store"
    return response


class Renew(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_ISSUE

    def get(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        return self._page(request, self._find(request, certificate_id), RenewForm())

    def post(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row, form = self._find(request, certificate_id), RenewForm(request.POST)
        if form.is_valid():
            made = form.run(
                lambda values: issuing.renew_from_csr(actor=actor_of(request), certificate_id=row.pk, **values)
            )
            if made is not None:
                messages.success(request, "The certificate is renewed with the new key.")
                return redirect("certificates:certificate-detail", made.pk)
        return self._page(request, row, form, status=422)

    def _find(self, request: HttpRequest, certificate_id: UUID) -> Certificate:
        row = visible_certificate(actor_of(request), certificate_id)
        authorize(actor_of(request), Permission.CERTIFICATE_ISSUE, ring_id=row.ring_id, target=str(row))
        by = _renewer(row)
        if by is None:
            raise WrongState(
                "It is not renewed here.",
                hint="Renewed is what an authority here issued to an end entity, while it is valid. Issue a new one.",
            )
        offices.check_state(by)
        return row

    def _page(self, request: HttpRequest, row: Certificate, form: RenewForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Renew {row}", "form": form, "submit_label": "Renew", "cancel_url": f"/certificates/{row.pk}/",
            "intro": f"The same names, profile and owner for a new key. This one ends on {row.not_after:%-d %B %Y}.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class RenewKey(Renew):
    """Renewed with a key made here and handed over once."""

    def get(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        return self._key_page(request, self._find(request, certificate_id), RenewKeyForm())

    def post(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row, form = self._find(request, certificate_id), RenewKeyForm(request.POST)
        if form.is_valid():
            made = form.run(
                lambda values: issuing.renew_with_new_key(actor=actor_of(request), certificate_id=row.pk, **values)
            )
            if made is not None:
                return handed_over(made[1])
        return self._key_page(request, row, form, status=422)

    def _key_page(self, request: HttpRequest, row: Certificate, form: RenewKeyForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Renew {row} with a new key", "form": form, "submit_label": "Make, certify and download",
            "cancel_url": f"/certificates/{row.pk}/",
            "intro": "The same names, profile and owner. The key is made here and leaves in this one download. It cannot be downloaded again.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)


class RevokeCertificate(ActorRequiredMixin, View):
    """For holders of the right, and for the owner of the certificate."""

    required_permission = Permission.CERTIFICATE_VIEW

    def get(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row = self._find(request, certificate_id)
        return self._page(request, row, RevokeForm(at_ca=row.authority_id is None))

    def post(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row = self._find(request, certificate_id)
        form = RevokeForm(request.POST, at_ca=row.authority_id is None)
        if form.is_valid():
            done = form.run(lambda values: revoking.revoke(actor=actor_of(request), certificate_id=row.pk, **values))
            if done is not None:
                said = "It is revoked; the next CRL and OCSP answer say so."
                messages.success(request, said if row.authority_id else "Its CA is asked; this page shows the answer.")
                return redirect("certificates:certificate-detail", row.pk)
        return self._page(request, row, form, status=422)

    def _find(self, request: HttpRequest, certificate_id: UUID) -> Certificate:
        actor = actor_of(request)
        row = visible_certificate(actor, certificate_id)
        if row.owner_id != actor.id:
            authorize(actor, Permission.CERTIFICATE_REVOKE, ring_id=row.ring_id, target=str(row))
        if row.authority is None and not _obtained(row):
            raise WrongState("Only its own issuer can revoke it.", hint="Ask the authority that issued it.")
        if row.state == CertificateState.REVOKED.value:
            raise WrongState("It is revoked already.", state=row.state)
        return row

    def _page(self, request: HttpRequest, row: Certificate, form: RevokeForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Revoke {row}", "form": form, "submit_label": "Revoke", "cancel_url": f"/certificates/{row.pk}/", "danger": True,
            "consequences": [
                *([] if row.authority_id else ["The CA that issued it is asked now; until it answers the certificate stays valid."]),
                "Whoever checks CRL or OCSP refuses it from the next answer on.",
                "A revocation is for good; only a hold can be taken back." if row.authority_id else "A revocation is for good.",
                "It has been renewed." if row.renewed_by.exists() else "It has not been renewed: services that use it stop.",
            ],
        }  # fmt: skip
        return render(request, "generic/confirm.html", context, status=status)


class Release(ActorRequiredMixin, View):
    """Take a hold back."""

    required_permission = Permission.CERTIFICATE_REVOKE

    def post(self, request: HttpRequest, certificate_id: UUID) -> HttpResponse:
        row = visible_certificate(actor_of(request), certificate_id)
        release_certificate(actor=actor_of(request), certificate_id=row.pk)
        messages.success(request, "The hold is taken back.")
        return redirect("certificates:certificate-detail", row.pk)


class Upload(ActorRequiredMixin, View):
    required_permission = Permission.CERTIFICATE_UPLOAD

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(request, UploadForm(actor=actor_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = UploadForm(request.POST, request.FILES, actor=actor_of(request))
        if form.is_valid():
            done = form.run(lambda values: inventory.upload(actor=actor_of(request), **values))
            if done is not None:
                added = f"{len(done.rows)} certificate{pluralize(done.rows)} added"
                messages.success(request, f"{added}, {done.known} known already, {done.unreadable} unreadable.")
                return redirect("/certificates/?source=uploaded")
        return self._page(request, form, status=422)

    def _page(self, request: HttpRequest, form: UploadForm, status: int = 200) -> HttpResponse:
        context = {
            "title": "Upload certificates", "form": form, "submit_label": "Upload", "cancel_url": "/certificates/",
            "intro": "They are watched like ours: their ends, weak algorithms, keys used twice, private keys that are nowhere here.",
        }  # fmt: skip
        return render(request, "generic/form.html", context, status=status)
