"""Forms of the ceremonies pages; each hands clean values to one service."""

from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms

from ceremonies.models import CustodyEntry, Participant
from ceremonies.planning import MAX_SHARES, RoomRole
from ceremonies.script import LARGEST
from ceremonies.services.plans import minutes_keys
from ceremonies.services.room import READ_BACK
from ceremonies.services.scripts import usable_scripts
from keys.forms import ServiceForm
from keys.models import Key
from keys.providers.registry import aliases
from keys.services.overview import visible_keys
from keyvault_portal.accounts.actors import Actor

ROLES = [(role.value, role.value.replace("_", " ").capitalize()) for role in RoomRole]
NOTABLE = [
    (what.value, what.label)
    for what in CustodyEntry.What
    if what not in {CustodyEntry.What.PROVED, CustodyEntry.What.MISSED, CustodyEntry.What.ACKNOWLEDGED}
]
_LOCAL = {"type": "datetime-local"}


def _text(rows: int = 2, **more: Any) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows} | more)


_RULES = ("allow_all", "distinct_sites", "distinct_lines", "signed_agreement")


def _answer() -> forms.HiddenInput:
    return forms.HiddenInput(attrs={"data-passkey-answer": ""})


class PlanForm(ServiceForm):
    script = forms.ChoiceField(help_text="Says what kind of ceremony it is, step by step.")
    title = forms.CharField(max_length=150)
    purpose = forms.CharField(
        widget=_text(), max_length=2000, help_text="Read aloud at the beginning, and kept in the minutes."
    )
    practice = forms.BooleanField(
        required=False, label="Rehearsal", help_text="Throw-away keys; PRACTICE on every page and print."
    )
    key = forms.ModelChoiceField(Key.objects.none(), required=False, empty_label="None")
    provider = forms.ChoiceField(required=False, help_text="For a recovery: where the key goes.")
    threshold = forms.IntegerField(
        min_value=2, max_value=MAX_SHARES, initial=3, required=False, help_text="So many shares open it."
    )
    share_count = forms.IntegerField(min_value=2, max_value=MAX_SHARES, initial=5, required=False, label="Shares")
    allow_all = forms.BooleanField(
        required=False, label="Allow that all shares are needed", help_text="One lost share then loses the key."
    )
    distinct_sites = forms.BooleanField(required=False, initial=True, label="No site may hold a quorum")
    distinct_lines = forms.BooleanField(required=False, label="No reporting line may hold a quorum")
    signed_agreement = forms.BooleanField(
        required=False,
        label="Officers sign what they agree to",
        help_text="With a passkey, or offline with a key of their own.",
    )
    rehearsed_within_days = forms.IntegerField(
        min_value=0,
        max_value=3650,
        required=False,
        label="Rehearsed within so many days",
        help_text="This very script; empty: not needed.",
    )
    minutes_key = forms.ModelChoiceField(
        Key.objects.none(), required=False, empty_label="Nobody", label="Minutes are signed by",
        help_text="A signing key of the hierarchy, which then signs minutes and nothing else.",
    )  # fmt: skip
    place = forms.CharField(max_length=200, help_text="A room, or how people in different places meet.")
    time_zone = forms.ChoiceField(choices=[(name, name) for name in sorted(available_timezones())], initial="UTC")
    starts_at = forms.DateTimeField(
        widget=forms.DateTimeInput(attrs=_LOCAL), label="Date and time", help_text="In the time zone above."
    )
    reserve_at = forms.DateTimeField(widget=forms.DateTimeInput(attrs=_LOCAL), required=False, label="Reserve date")

    def __init__(self, data: Any = None, *, actor: Actor, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        fields: dict[str, Any] = self.fields
        fields["script"].choices = [
            (label, f"{script.title} (version {script.version})") for label, script in usable_scripts().items()
        ]
        fields["key"].queryset = visible_keys(actor).select_related("ring").order_by("-kind", "name")
        fields["minutes_key"].queryset = minutes_keys(actor).select_related("ring").order_by("name")
        fields["provider"].choices = [("", "None"), *[(alias, alias) for alias in sorted(aliases())]]

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        zone = ZoneInfo(values["time_zone"])
        for name in ("starts_at", "reserve_at"):
            if values[name] is not None:
                values[name] = values[name].replace(tzinfo=zone)
        policy = {name: values.pop(name) or False for name in _RULES}
        values["policy"] = policy | {"rehearsed_within_days": values.pop("rehearsed_within_days") or 0}
        values["threshold"], values["share_count"] = values["threshold"] or 0, values["share_count"] or 0
        return values


class PersonForm(ServiceForm):
    role = forms.ChoiceField(choices=ROLES)
    email = forms.EmailField(max_length=254, help_text="Somebody with an account here, or a guest.")
    name = forms.CharField(max_length=150, required=False, help_text="For a guest.")
    site = forms.CharField(max_length=100, required=False)
    reporting_line = forms.CharField(max_length=100, required=False)
    deputy_for = forms.ModelChoiceField(Participant.objects.none(), required=False, empty_label="Nobody")

    def __init__(self, data: Any = None, *, seats: Any) -> None:
        super().__init__(data)
        field: Any = self.fields["deputy_for"]
        field.queryset = seats.exclude(role=RoomRole.DEPUTY.value)

    def service_values(self) -> dict[str, Any]:
        principal = self.cleaned_data["deputy_for"]
        return self.cleaned_data | {"deputy_for": principal.pk if principal else None}


class JoinForm(ServiceForm):
    code = forms.CharField(
        max_length=20, label="Your code", help_text="Eight digits that you were given by another way than this link.",
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "one-time-code"}),
    )  # fmt: skip
    passkey = forms.CharField(widget=_answer(), max_length=16_384, required=False)


class ReturnForm(ServiceForm):
    passkey = forms.CharField(widget=_answer(), max_length=16_384)


class ScriptForm(ServiceForm):
    text = forms.CharField(
        widget=_text(20, spellcheck="false", **{"class": "mono"}), max_length=LARGEST, label="The script (YAML)"
    )
    reason = forms.CharField(widget=_text(), max_length=2000, help_text="Why it is needed; those who agree read it.")


class ConfirmScriptForm(ServiceForm):
    read_back = forms.CharField(
        max_length=20, label=f"The first {READ_BACK} characters of the hash", help_text="Read them aloud from your own screen, then type them.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip


class ConfirmShareForm(ServiceForm):
    """One field for each word asked for; `words` in their order, for the service."""

    bag = forms.CharField(max_length=50, label="Number of the tamper-evident bag")
    place = forms.CharField(max_length=200, required=False, label="Where the bag is kept")

    def __init__(self, data: Any = None, *, positions: Iterable[int]) -> None:
        super().__init__(data)
        self.names = [f"word_{position}" for position in positions]
        for name in self.names:
            self.fields[name] = forms.CharField(
                max_length=30, label=f"Word {name.removeprefix('word_')}",
                widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
            )  # fmt: skip
        self.order_fields([*self.names, "bag", "place"])

    @property
    def words(self) -> str:
        return " ".join(self.cleaned_data[name].strip().lower() for name in self.names)


class PackageForm(ServiceForm):
    bag = forms.CharField(max_length=50, label="Number of the bag")
    place = forms.CharField(max_length=200, label="Where it is kept")


class OutcomeForm(ServiceForm):
    outcome = forms.CharField(widget=_text(), max_length=2000, label="What came of it")


class ExceptionForm(ServiceForm):
    happened = forms.CharField(widget=_text(), max_length=2000, label="What happened")
    decision = forms.CharField(widget=_text(), max_length=2000, required=False, label="What the leader decided")


class WhyForm(ServiceForm):
    reason = forms.CharField(widget=_text(), max_length=2000, label="Why")


class AttestForm(ServiceForm):
    agrees = forms.TypedChoiceField(
        choices=[("yes", "I was present throughout, and the script was followed except as noted."), ("no", "I decline.")],
        coerce=lambda value: value == "yes", widget=forms.RadioSelect, label="Your word",
    )  # fmt: skip
    attest_reason = forms.CharField(widget=_text(), max_length=2000, required=False, label="Why you decline")

    def service_values(self) -> dict[str, Any]:
        return {"agrees": self.cleaned_data["agrees"], "reason": self.cleaned_data["attest_reason"]}


class SealedForm(ServiceForm):
    """What the page's script made of the words; the words themselves have no name and are never sent."""

    sealed = forms.CharField(max_length=8192, widget=forms.HiddenInput(attrs={"data-sealed": ""}))


class ProofForm(SealedForm):
    bag = forms.CharField(
        max_length=50, required=False, label="Number of the new bag", help_text="If you opened the old one."
    )


class CustodyForm(ServiceForm):
    what = forms.ChoiceField(choices=NOTABLE, label="What happened")
    bag = forms.CharField(max_length=50, required=False, label="Number of the bag")
    place = forms.CharField(max_length=200, required=False)
    reason = forms.CharField(widget=_text(), max_length=500, required=False)
