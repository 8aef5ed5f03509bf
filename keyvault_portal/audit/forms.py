"""The filter of the record's pages and exports, read from the address."""

from typing import Any

from django import forms

from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.audit.access import Actor, Permission
from keyvault_portal.audit.events import OUTCOMES
from keyvault_portal.audit.exports import Filters


class _Moment(forms.DateTimeInput):
    input_type = "datetime-local"


class EventFilter(forms.Form):
    """Restricts a list of events; empty fields do not."""

    q = forms.CharField(label="Text", required=False, max_length=200)
    actor = forms.CharField(label="Actor id", required=False, max_length=200)
    action = forms.CharField(label="Action", required=False, max_length=100)
    outcome = forms.ChoiceField(
        label="Outcome",
        required=False,
        choices=[("", "Any"), *((outcome, outcome.capitalize()) for outcome in OUTCOMES)],
    )
    target_type = forms.CharField(label="Target type", required=False, max_length=100)
    target = forms.CharField(label="Target id", required=False, max_length=200)
    ring = forms.ModelChoiceField(KeyRing.objects.none(), label="Key ring", required=False, empty_label="Any")
    since = forms.DateTimeField(label="From (UTC)", required=False, widget=_Moment)
    until = forms.DateTimeField(label="Before (UTC)", required=False, widget=_Moment)

    def __init__(self, data: Any, *, actor: Actor, permission: Permission) -> None:
        super().__init__(data)
        self._visible = actor.ring_ids(permission)
        rings = KeyRing.objects.order_by("title")
        if self._visible is not None:
            rings = rings.filter(pk__in=self._visible)
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and until <= since:
            self.add_error("until", "This is not after From: no event lies between.")
        return self.cleaned_data

    def filters(self) -> Filters:
        """What was asked for, within what the reader may see; unreadable fields do not restrict."""
        self.is_valid()
        data = self.cleaned_data
        ring = data.get("ring")
        return Filters(
            actor=data.get("actor", ""),
            action=data.get("action", ""),
            outcome=data.get("outcome", ""),
            target_type=data.get("target_type", ""),
            target_id=data.get("target", ""),
            ring=ring.pk if ring else None,
            since=data.get("since"),
            until=data.get("until"),
            text=data.get("q", ""),
            rings=self._visible,
        )


class ExportForm(EventFilter):
    """The same restrictions, and how to write what they leave."""

    format = forms.ChoiceField(
        label="Format",
        choices=[("jsonl", "JSON Lines: the very bytes that were hashed"), ("csv", "CSV: for a spreadsheet")],
        initial="jsonl",
    )

    field_order = ["format"]
