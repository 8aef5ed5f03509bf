"""Forms of the ACME pages; each hands clean values to one service."""

from typing import Any

from django import forms

from certificates.acme.services.serving import OFFERED, Rules
from certificates.acme.states import ChallengeType
from certificates.forms import split
from certificates.models import Authority
from certificates.profiles import PROFILES
from keys.forms import ServiceForm
from keyvault_portal.accounts.models import Person

_LISTS = ("names", "caa_identities", "networks", "resolvers")


def _words(rows: int = 2, **more: Any) -> forms.CharField:
    return forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": rows}), **more)


class RulesForm(ServiceForm):
    """By which rules an authority serves ACME."""

    profiles = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple,
        label="Profiles",
        help_text="What may be ordered; the first is what a client gets that names none.",
    )
    challenges = forms.MultipleChoiceField(
        choices=[(kind.value, kind.value) for kind in ChallengeType],
        widget=forms.CheckboxSelectMultiple,
        label="Ways to prove a name",
    )
    names = _words(
        label="Names",
        help_text="Domains with everything below them, networks such as 10.0.0.0/24. Empty: all that the authority certifies.",
    )
    wildcards = forms.BooleanField(
        required=False, label="Wildcards too", help_text="They are proved by dns-01, whatever else is offered."
    )
    external_account_required = forms.BooleanField(
        required=False,
        label="Accounts need a key from an officer (EAB)",
        help_text="Without it everybody who can prove a name may have a certificate for it.",
    )
    days = forms.IntegerField(
        required=False, min_value=1, max_value=3650, label="Life in days", help_text="Empty: as the profile suggests."
    )
    networks = _words(
        label="Own networks",
        help_text="Such as 10.0.0.0/8. Proofs are looked for in public, and here; never at link-local addresses.",
    )
    resolvers = _words(
        label="DNS resolvers", help_text="Such as 10.0.0.53 or 10.0.0.53:5353. Empty: those of the machine."
    )
    check_caa = forms.BooleanField(required=False, label="Obey CAA records")
    caa_identities = _words(
        label="Its names in CAA records",
        help_text="Such as ca.example.org. Without one, a domain that has CAA records gets no certificate.",
    )
    terms_url = forms.URLField(
        required=False, max_length=500, assume_scheme="https", label="Terms of service",
        help_text="If there are any, clients have to agree to them.",
    )  # fmt: skip
    order_hours = forms.IntegerField(min_value=1, max_value=168, label="Life of an order in hours")
    http_port = forms.IntegerField(
        min_value=1, max_value=65_535, label="Port for http-01", help_text="RFC 8555 says 80."
    )
    tls_port = forms.IntegerField(
        min_value=1, max_value=65_535, label="Port for tls-alpn-01", help_text="RFC 8737 says 443."
    )

    def __init__(self, *args: Any, authority: Authority, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = [(name, PROFILES[name].title) for name in OFFERED if name in authority.profiles]
        self.fields["profiles"].choices = offered  # type: ignore[attr-defined]
        self.fields["wildcards"].disabled = not authority.name_rules.wildcards

    @staticmethod
    def first_values(rules: Rules) -> dict[str, Any]:
        """What the form shows of these rules."""
        values = {name: getattr(rules, name) for name in RulesForm.base_fields}
        return values | {name: "\n".join(values[name]) for name in _LISTS}

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {"rules": Rules(**values | {name: split(values[name].lower()) for name in _LISTS})}


class ExternalKeyForm(ServiceForm):
    """A new key for external accounts."""

    label = forms.CharField(max_length=100, help_text="Whom it is for, such as Web team.")
    owner = forms.ModelChoiceField(
        Person.objects.filter(is_active=True).order_by("name"), required=False, empty_label="Nobody in particular",
        help_text="Owns the certificates of its accounts and is told when they end.",
    )  # fmt: skip
    once = forms.BooleanField(required=False, initial=True, label="For one account only")
    expires_at = forms.DateTimeField(
        required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}), label="Good until (UTC)"
    )

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        owner = values.pop("owner")
        return values | {"owner_id": owner.pk if owner else None}
