"""Forms of the rollover pages; each hands clean values to one service."""

from typing import Any

from django import forms

from certificates.models import Authority
from certificates.services.reading import visible_authorities
from certificates.states import AuthorityState
from keys.forms import ReasonForm, ServiceForm
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.visible import on_rings


class RolloverForm(ServiceForm):
    old = forms.ModelChoiceField(Authority.objects.none(), label="From (A)", help_text="The authority that goes.")
    new = forms.ModelChoiceField(
        Authority.objects.none(), label="To (B)", help_text="The authority that takes its place."
    )
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = actor.ring_ids(Permission.AUTHORITY_MANAGE)
        rows = visible_authorities(actor).filter(state=AuthorityState.ACTIVE.value).order_by("name")
        rows = on_rings(rows, rings)
        for name in ("old", "new"):
            self.fields[name].queryset = rows  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {"old_id": values["old"].pk, "new_id": values["new"].pk, "reason": values["reason"]}


class StepForm(ReasonForm):
    force = forms.BooleanField(
        required=False, label="Take the step although its gate is not met", help_text="Another officer has to agree, whoever asks."
    )  # fmt: skip
