"""Forms of the pages on which a key moves to another provider."""

from collections.abc import Iterable
from typing import Any

from django import forms

from keys.forms import ANY, RotationForm
from keys.services.moving import Offer
from keys.states import MoveState
from keyvault_portal.templatetags.portal import state_choices


class MoveForm(RotationForm):
    target = forms.ChoiceField(label="New place")
    with_material = forms.BooleanField(
        required=False, label="Take the material along", help_text="Otherwise a new key is made at the new place."
    )
    field_order = ("target", "with_material", "rate_limit", "reason")

    def __init__(self, *args: Any, offers: Iterable[Offer], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        possible = [offer for offer in offers if offer.possible]
        self.fields["target"].choices = [(offer.alias, f"{offer.title} ({offer.alias})") for offer in possible]  # type: ignore[attr-defined]
        if not any(offer.with_material for offer in possible):
            del self.fields["with_material"]


class MoveFilterForm(forms.Form):
    state = forms.ChoiceField(choices=[*ANY, *state_choices(MoveState)], required=False)
