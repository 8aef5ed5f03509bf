"""Forms of the ceremonies pages; each hands clean values to one service."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from django import forms

from ceremonies.models import Ceremony, CustodyEntry, Participant
from ceremonies.planning import TIME_ZONES, RoomRole
from ceremonies.process.client import RecipientKind
from ceremonies.quorums import MAX_EXPONENT, MAX_SHARES, Quorum
from ceremonies.script import LARGEST
from ceremonies.services.choices import script_for
from ceremonies.services.minutes import minutes_keys
from ceremonies.services.room import READ_BACK
from ceremonies.services.scripts import usable_scripts
from keys.forms import ServiceForm
from keys.models import Key
from keys.providers.registry import aliases
from keys.services.overview import visible_keys
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import ValidationFailed

ROLES = [(role.value, role.value.replace("_", " ").capitalize()) for role in RoomRole]
NOTABLE = [
    (what.value, what.label)
    for what in CustodyEntry.What
    if what
    not in {
        CustodyEntry.What.PROVED,
        CustodyEntry.What.MISSED,
        CustodyEntry.What.ACKNOWLEDGED,
        CustodyEntry.What.ACCEPTED,
    }
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
    key = forms.ModelChoiceField(
        Key.objects.none(), required=False, empty_label="None", help_text="A roll-call without a key is of the custodians of the portal's seal."
    )  # fmt: skip
    provider = forms.ChoiceField(required=False, help_text="For a recovery: where the key goes.")
    threshold = forms.IntegerField(
        min_value=2, max_value=MAX_SHARES, initial=3, required=False, help_text="So many shares open it."
    )
    share_count = forms.IntegerField(
        min_value=2, max_value=MAX_SHARES, initial=5, required=False, label="Shares", help_text="Or components of a key that is brought."
    )  # fmt: skip
    groups = forms.CharField(
        required=False, max_length=2000, widget=_text(3), label="Groups instead",
        help_text="One a line, such as Security officers: 2 of 3. The two numbers above then count for nothing.",
    )  # fmt: skip
    groups_needed = forms.IntegerField(
        min_value=1, max_value=MAX_SHARES, required=False, label="Groups needed", help_text="Empty: all of them."
    )
    with_passphrase = forms.BooleanField(
        required=False, label="A passphrase beside the shares",
        help_text="The leader types it when the shares are made, and at a recovery. Lost, it loses the key."
    )  # fmt: skip
    iteration_exponent = forms.IntegerField(
        min_value=0, max_value=MAX_EXPONENT, initial=1, required=False, label="Slowness of the passphrase",
        help_text="SLIP-39's iteration exponent: each more doubles the work of a guess.",
    )  # fmt: skip
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
    time_zone = forms.ChoiceField(choices=[(name, name) for name in TIME_ZONES], initial="UTC")
    starts_at = forms.DateTimeField(
        widget=forms.DateTimeInput(attrs=_LOCAL), label="Date and time", help_text="In the time zone above."
    )
    reserve_at = forms.DateTimeField(widget=forms.DateTimeInput(attrs=_LOCAL), required=False, label="Reserve date")

    def __init__(self, data: Any = None, *, actor: Actor, initial: Mapping[str, str] | None = None) -> None:
        """`initial` is what a link here said: `script` (its name, or "name:version"), `key` (its id), `title`; what is none counts for nothing."""
        super().__init__(data)
        fields: dict[str, Any] = self.fields
        scripts = usable_scripts()
        fields["script"].choices = [
            (label, f"{script.title} (version {script.version})") for label, script in scripts.items()
        ]
        keys = visible_keys(actor).select_related("ring").order_by("-kind", "name")
        fields["key"].queryset = keys
        said = initial or {}
        try:
            key = fields["key"].clean(said.get("key", ""))
        except forms.ValidationError:
            key = None
        wanted = said.get("script") or (script_for(key) if key else "escrow")
        known = {label: label for label in scripts} | {script.name: label for label, script in scripts.items()}
        self.initial = {"title": said.get("title", ""), "key": key, "script": known.get(wanted)}
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
        values["groups"] = self.quorum
        values.pop("groups_needed")
        if values["iteration_exponent"] is None:
            values["iteration_exponent"] = 1
        return values

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        self.quorum: Quorum | None = None
        if values.get("groups", "").strip():
            try:
                self.quorum = Quorum.parse(values["groups"], values.get("groups_needed"))
            except ValueError as error:
                self.add_error("groups", str(error))
        return values


class PersonForm(ServiceForm):
    role = forms.ChoiceField(choices=ROLES)
    email = forms.EmailField(max_length=254, help_text="Somebody with an account here, or a guest.")
    name = forms.CharField(max_length=150, required=False, help_text="For a guest.")
    site = forms.CharField(max_length=100, required=False)
    reporting_line = forms.CharField(max_length=100, required=False)
    group = forms.ChoiceField(required=False, help_text="For share holders: for which group they hold a share.")
    deputy_for = forms.ModelChoiceField(Participant.objects.none(), required=False, empty_label="Nobody")

    def __init__(self, data: Any = None, *, ceremony: Ceremony) -> None:
        super().__init__(data)
        fields: dict[str, Any] = self.fields
        fields["deputy_for"].queryset = ceremony.participants.exclude(role=RoomRole.DEPUTY.value)
        if ceremony.groups:
            fields["group"].choices = [("", "None"), *[(group.name, group.name) for group in ceremony.quorum.groups]]
        else:
            del fields["group"]

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


class OwnKeyForm(ServiceForm):
    """A public key of the custodian's own, as bytes in `clean_key`."""

    kind = forms.ChoiceField(
        choices=[
            (RecipientKind.OPENPGP.value, "OpenPGP certificate"), (RecipientKind.RSA_OAEP.value, "RSA public key in PEM, 2048 bits or more"),
            (RecipientKind.HPKE_X25519.value, "X25519 public key in base64 (HPKE)"),
        ], label="Kind",
    )  # fmt: skip
    key = forms.CharField(
        max_length=20_000, widget=_text(6, spellcheck="false", **{"class": "mono"}), label="Your public key"
    )

    def service_values(self) -> dict[str, Any]:
        kind, text = RecipientKind(self.cleaned_data["kind"]), self.cleaned_data["key"].strip()
        if kind is not RecipientKind.HPKE_X25519:
            return {"kind": kind, "key": text.encode()}
        try:
            return {"kind": kind, "key": base64.b64decode(text, validate=True)}
        except (binascii.Error, ValueError):
            raise ValidationFailed(errors={"key": ["This is not base64."]}) from None


class AnnounceForm(ServiceForm):
    component_values = forms.CharField(
        max_length=400, widget=_text(4, spellcheck="false", **{"class": "mono"}), label="Check values of the components",
        help_text="One a line, in the order of the custodians: six hexadecimal digits each.",
    )  # fmt: skip
    check_value = forms.CharField(
        max_length=20, label="Check value of the whole key", help_text="Six hexadecimal digits."
    )

    def service_values(self) -> dict[str, Any]:
        return self.cleaned_data | {"component_values": self.cleaned_data["component_values"].split()}


class PackageForm(ServiceForm):
    bag = forms.CharField(
        max_length=50, label="Number of the bag",
        help_text="Of an empty one. Then the package can be downloaded and printed here, and goes into it before you sign.",
    )  # fmt: skip
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


class ConfirmShareForm(SealedForm):
    bag = forms.CharField(max_length=50, label="Number of the tamper-evident bag")
    place = forms.CharField(max_length=200, required=False, label="Where the bag is kept")


class ProofForm(SealedForm):
    bag = forms.CharField(
        max_length=50, required=False, label="Number of the new bag", help_text="If you opened the old one."
    )


class SealCustodianForm(ServiceForm):
    number = forms.TypedChoiceField(coerce=int, label="Share")
    custodian = forms.CharField(
        max_length=150, label="Who has it", help_text="A name, or the e-mail address of somebody with an account here."
    )
    bag = forms.CharField(max_length=50, required=False, label="Number of the bag")
    place = forms.CharField(max_length=200, required=False)

    def __init__(self, data: Any = None, *, shares: int, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        fields: dict[str, Any] = self.fields
        fields["number"].choices = [(number, f"Share {number} of {shares}") for number in range(1, shares + 1)]


class CustodyForm(ServiceForm):
    """What may be written about a share; `on_paper` where its custodian has no account to acknowledge the duty with."""

    what = forms.ChoiceField(choices=NOTABLE, label="What happened")
    bag = forms.CharField(max_length=50, required=False, label="Number of the bag")
    place = forms.CharField(max_length=200, required=False)
    reason = forms.CharField(widget=_text(), max_length=500, required=False)

    def __init__(self, data: Any = None, *, on_paper: bool = False) -> None:
        super().__init__(data)
        if on_paper:
            what: Any = self.fields["what"]
            what.choices = [*NOTABLE, (CustodyEntry.What.ACKNOWLEDGED.value, "Duty acknowledged on paper")]
