"""Acts of authorities that people hold in a ceremony; the room finds them by name, neither app imports the other."""

from typing import Any
from uuid import UUID

from django import forms

from certificates.forms import AUTHORITY_SIGNATURES
from certificates.services import roots
from keys.forms import ServiceForm, rings_of
from keys.models import Key
from keys.providers.registry import aliases
from keys.services.overview import visible_keys
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.held_acts import Subject, register


class RootForm(ServiceForm):
    """A root to be founded; `cleaned_data` has plain values."""

    title = forms.CharField(
        max_length=64, label="Common name", help_text="Stands in its certificate, such as Example Root CA."
    )
    name = forms.SlugField(max_length=63, label="Short name", help_text="Part of public addresses; never changes.")
    organization = forms.CharField(max_length=64, required=False)
    ring = forms.ModelChoiceField(KeyRing.objects.none())
    algorithm = forms.ChoiceField(choices=[(name, name) for name in AUTHORITY_SIGNATURES])
    provider = forms.ChoiceField(help_text="Where the key is generated and stays: an HSM, if there is one.")
    parent = forms.ModelChoiceField(
        Key.objects.none(), required=False, empty_label="None", label="Key above it", help_text="For the local provider: the key that wraps it."
    )  # fmt: skip
    days = forms.IntegerField(min_value=1, max_value=9132, initial=7305, label="Life in days")
    crl_hours = forms.IntegerField(min_value=1, max_value=8784, initial=2160, label="Life of a CRL in hours")

    def __init__(self, data: Any = None, *, actor: Actor) -> None:
        super().__init__(data)
        fields: dict[str, Any] = self.fields
        fields["ring"].queryset = rings_of(actor, Permission.AUTHORITY_MANAGE).order_by("name")
        fields["provider"].choices = [(alias, alias) for alias in sorted(aliases())]
        fields["parent"].queryset = visible_keys(actor).filter(kind="kek").select_related("ring").order_by("name")

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        for name in ("ring", "parent"):
            if name in values:
                values[name] = str(values[name].pk) if values[name] else None
        return values


class Root:
    """A root authority: its key, then its certificate."""

    title = "Found a root authority"

    def form(self, data: Any, *, actor: Actor) -> forms.Form:
        return RootForm(data, actor=actor)

    def check(self, *, actor: Actor, subject: Subject) -> UUID | None:
        return roots.may_found(actor=actor, subject=subject)

    def describe(self, subject: Subject) -> list[tuple[str, str]]:
        ring = KeyRing.objects.filter(pk=subject["ring"]).first()
        named = f"{subject['title']}, {subject['organization']}" if subject["organization"] else str(subject["title"])
        return [
            ("Root authority", named), ("Short name", str(subject["name"])), ("Ring", str(ring or "gone")),
            ("Key", f"{subject['algorithm']}, generated at {subject['provider']}"), ("Life", f"{subject['days']} days"),
            ("Life of a CRL", f"{subject['crl_hours']} hours"),
        ]  # fmt: skip

    def prepare(self, *, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
        return roots.make_root_key(actor=actor, subject=subject, ceremony_id=ceremony_id)

    def perform(self, *, actor: Actor, subject: Subject, ceremony_id: UUID) -> dict[str, Any]:
        return roots.found_root(actor=actor, subject=subject, ceremony_id=ceremony_id)


register("certificates.root", Root())
