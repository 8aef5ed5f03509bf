"""What one may do about a difference between a provider and the inventory."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views import View

from keys.forms import AdoptionForm
from keys.models import KeyProvider, ProviderFinding
from keys.services.providers import findings
from keys.views.providers import ProviderConfirmed
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.web import ActorRequiredMixin, actor_of


class FindingIgnore(ProviderConfirmed):
    button = "Leave it as it is"

    def words(self, row: KeyProvider, actor: Actor, **which: Any) -> tuple[str, list[str]]:
        finding = findings.find_finding(actor, row.alias, which["finding_id"])
        return f"Ignore: {finding.get_kind_display()}", [
            finding.detail,
            "It stays listed as ignored, with your reason.",
        ]

    def do(self, actor: Actor, alias: str, reason: str, **which: Any) -> str:
        findings.ignore_finding(actor=actor, alias=alias, reason=reason, **which)
        return "The difference is ignored."


class FindingMend(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def post(self, request: HttpRequest, alias: str, finding_id: int) -> HttpResponse:
        findings.mend_finding(actor=actor_of(request), alias=alias, finding_id=finding_id)
        messages.success(request, "The provider is brought to the state of the inventory.")
        return redirect("keys:provider-detail", alias)


class FindingAdopt(ActorRequiredMixin, View):
    required_permission = Permission.PROVIDER_MANAGE

    def get(self, request: HttpRequest, alias: str, finding_id: int) -> HttpResponse:
        return self._page(request, alias, finding_id, AdoptionForm(actor=actor_of(request)))

    def post(self, request: HttpRequest, alias: str, finding_id: int) -> HttpResponse:
        form = AdoptionForm(request.POST, actor=actor_of(request))
        if form.is_valid():
            actor = actor_of(request)
            key = form.run(lambda values: findings.adopt_key(actor=actor, alias=alias, finding_id=finding_id, **values))
            if key is not None:
                messages.success(request, f"{key} is governed here from now on.")
                return redirect("keys:key-detail", key.pk)
        return self._page(request, alias, finding_id, form, status=422)

    def _page(
        self, request: HttpRequest, alias: str, finding_id: int, form: AdoptionForm, status: int = 200
    ) -> HttpResponse:
        actor = actor_of(request)
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        finding = findings.find_finding(actor, alias, finding_id)
        context = {
            "title": "Take the key into the inventory", "subtitle": finding.opaque, "form": form, "submit_label": "Adopt the key",
            "cancel_url": f"/keys/providers/{alias}/", "intro": finding.detail,
        }  # fmt: skip
        return render(request, "keys/provider_form.html", context, status=status)


class FindingAccept(ProviderConfirmed):
    """Old and new of everything that changed, and a reason; what is accepted is what this page showed."""

    button = "Accept what is there"
    template_name = "keys/finding_accept.html"

    def words(self, row: KeyProvider, actor: Actor, **which: Any) -> tuple[str, list[str]]:
        rotation = (
            findings.find_finding(actor, row.alias, which["finding_id"]).kind == ProviderFinding.Kind.ROTATION_DRIFT
        )
        follows = (
            ["The key's policy says so from now on, beside the portal's own rotation.",
             "The census counts the portal's versions: what the provider makes by itself under one name it cannot tell apart, "
             "and what it makes under a new name appears here as unknown."]
            if rotation
            else ["From now on this is what the key is compared with."]
        )  # fmt: skip
        return "Accept the change", [*follows, "Your reason and every changed place go into the record."]

    def more(self, actor: Actor, alias: str, **which: Any) -> dict[str, Any]:
        finding = findings.find_finding(actor, alias, which["finding_id"])
        return {"finding": finding, "can_mend": findings.can_mend(finding), "seen": finding.facts.get("sha256", "")}

    def do(self, actor: Actor, alias: str, reason: str, **which: Any) -> str:
        findings.accept_finding(
            actor=actor, alias=alias, reason=reason, seen=self.request.POST.get("seen", ""), **which
        )
        return "The change is accepted."
