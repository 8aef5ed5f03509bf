"""Acts whose pages stand alone: revoking many certificates, certifying a key of the hierarchy."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from certificates.models import Authority
from certificates.renewal import revoking as at_ca
from certificates.scan_forms import KeyCertificateForm, RevokeManyForm
from certificates.services import issuing, revoking
from certificates.views.certificates import issuing_authority
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.views.pages import counted
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of
from keyvault_portal.approvals import services as approvals
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.visible import on_rings


class RevokeMany(ActorRequiredMixin, View):
    """All certificates of an owner, or all with one key; the page says how many before it asks."""

    required_permission = Permission.CERTIFICATE_REVOKE

    def get(self, request: HttpRequest) -> HttpResponse:
        first = {name: request.GET[name] for name in ("by", "owner", "key", "ring") if name in request.GET}
        return self._page(request, RevokeManyForm(initial={"by": "owner"} | first, actor=actor_of(request)), first)

    def post(self, request: HttpRequest) -> HttpResponse:
        if "count" in request.POST:
            form = RevokeManyForm(initial=request.POST.dict(), actor=actor_of(request))
            return self._page(request, form, request.POST)
        form = RevokeManyForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            done = form.run(lambda values: at_ca.revoke_many(actor=actor_of(request), **values))
            if done is not None:
                messages.success(request, _told(done))
                return redirect("/certificates/?state=revoked")
        return self._page(request, form, form.data, status=422)

    def _page(
        self, request: HttpRequest, form: RevokeManyForm, asked: Mapping[str, Any], status: int = 200
    ) -> HttpResponse:
        needed = approvals.officers_needed(actor_of(request), None)
        context = {
            "title": "Revoke many certificates", "form": form, "submit_label": "Revoke them all", "cancel_url": "/certificates/", "danger": True,
            "consequences": self._consequences(request, asked), "needs_approval": f"{needed} other security officers." if needed else "",
        }  # fmt: skip
        return render(request, "certificates/revoke_many.html", context, status=status)

    def _consequences(self, request: HttpRequest, asked: Mapping[str, Any]) -> list[object]:
        by = asked.get("by", "")
        said: list[object] = ["Whoever checks CRL or OCSP refuses them from the next answer on; it is for good."]
        if not asked.get(by):
            return said
        try:
            rings = actor_of(request).ring_ids(Permission.CERTIFICATE_REVOKE)
            which = by, asked[by].replace(":", ""), UUID(asked["ring"]) if asked.get("ring") else None
            here, outside, elsewhere = (
                on_rings(rows, rings).count()
                for rows in (revoking.chosen(*which), at_ca.chosen_at_cas(*which), at_ca.chosen_elsewhere(*which))
            )
        except (ValidationFailed, ValueError):
            return said
        found: list[object] = [
            counted(here, "certificate that lives is revoked", "certificates that live are revoked", tone="danger")
        ]
        if outside:
            one = "certificate that lives is revoked by the CA outside it came from, as soon as that one answers"
            many = "certificates that live are revoked by the CAs outside they came from, as soon as those answer"
            found.append(counted(outside, one, many, tone="danger"))
        if elsewhere:
            one = "certificate of an issuer that the portal has no account with stays: ask that issuer"
            many = "certificates of issuers that the portal has no account with stay: ask those issuers"
            found.append(counted(elsewhere, one, many, tone="warn"))
        return [*found, *said]


def _told(done: at_ca.Many) -> str:
    said = "1 certificate is revoked." if done.revoked == 1 else f"{done.revoked:,} certificates are revoked."
    if done.asked_at_ca == 1:
        said += " 1 more is being revoked by the CA it came from."
    elif done.asked_at_ca:
        said += f" {done.asked_at_ca:,} more are being revoked by the CAs they came from."
    if done.left:
        said += f" Left to their own issuers: {done.left:,}."
    return said


class IssueForKey(ActorRequiredMixin, View):
    """A certificate for a key of the hierarchy, whose private half stays where it is."""

    required_permission = Permission.CERTIFICATE_ISSUE

    def get(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        return self._page(request, row, KeyCertificateForm(authority=row, actor=actor_of(request)))

    def post(self, request: HttpRequest, authority_id: UUID) -> HttpResponse:
        row = issuing_authority(request, authority_id)
        form = KeyCertificateForm(request.POST, authority=row, actor=actor_of(request))
        if form.is_valid():
            made = form.run(
                lambda values: issuing.issue_for_key(actor=actor_of(request), authority_id=row.pk, **values)
            )
            if made is not None:
                messages.success(request, "The key is certified.")
                return redirect("certificates:certificate-detail", made.pk)
        return self._page(request, row, form, status=422)

    def _page(self, request: HttpRequest, row: Authority, form: KeyCertificateForm, status: int = 200) -> HttpResponse:
        context = {
            "title": f"Certify a key by {row}", "form": form, "submit_label": "Certify it", "cancel_url": f"/certificates/authorities/{row.pk}/",
            "authority": row, "warnings": [line for name in row.profiles for line in issuing.outlook(name, row.max_days)],
            "intro": "For a transport key of the hierarchy: its private half stays at its provider, and only the public half is certified.",
        }  # fmt: skip
        return render(request, "certificates/issue.html", context, status=status)
