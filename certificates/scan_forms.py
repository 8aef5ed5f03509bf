"""Forms of the pages about endpoints, logs and acts on many certificates; each hands clean values to one service."""

from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from certificates.forms import IssueForm, split
from certificates.models import ScanTarget
from certificates.services.revoking import LEAF_REASONS
from certificates.services.signers import of_no_authority
from certificates.states import Reason
from certificates.tls.suites import OLD_VERSIONS
from certificates.transparency import MAX_LIST
from keys.forms import ANY, ServiceForm, rings_of
from keys.models import Key
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import Permission

MANY_REASONS = [item for item in LEAF_REASONS if item is not Reason.CERTIFICATE_HOLD]
EVERY = [("", "On demand only"), ("1", "Every hour"), ("24", "Every day"), ("168", "Every week")]


class _InRing(ServiceForm):
    """A form whose first choice is the ring."""

    permission: Permission
    ring = forms.ModelChoiceField(KeyRing.objects.none())

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ring"].queryset = rings_of(actor, self.permission).order_by("name")  # type: ignore[attr-defined]


class TargetForm(_InRing):
    permission = Permission.TLS_SCAN
    host = forms.CharField(max_length=253, help_text="A host name or an IP address.")
    port = forms.IntegerField(min_value=1, max_value=65_535, initial=443)
    every_hours = forms.TypedChoiceField(
        choices=EVERY, required=False, coerce=int, empty_value=None, initial="24", label="Scanned"
    )
    owner = forms.ModelChoiceField(
        Person.objects.filter(is_active=True, kind=Person.Kind.PERSON).order_by("name"), required=False, empty_label="Nobody",
        help_text="Is told of changes, beside the security officers.",
    )  # fmt: skip


class TargetFilterForm(forms.Form):
    q = forms.CharField(required=False, label="Host", max_length=200)
    finding = forms.ChoiceField(
        required=False,
        choices=[
            *ANY, ("broken", "Chain broken"), ("silent", "Does not answer"), ("old", "Old TLS versions"),
            ("classical", "No hybrid key exchange"), ("ends", "Certificate ends in 30 days"),
        ],
    )  # fmt: skip

    def apply(self, rows: QuerySet[ScanTarget]) -> QuerySet[ScanTarget]:
        """The rows that match."""
        values = self.cleaned_data
        if values["q"]:
            rows = rows.filter(host__icontains=values["q"])
        match values["finding"]:
            case "broken":
                rows = rows.filter(last__state="done", last__sound=False)
            case "silent":
                rows = rows.filter(last__state="failed")
            case "old":
                old = Q()
                for version in OLD_VERSIONS:
                    old |= Q(last__versions__contains=[version])
                rows = rows.filter(old)
            case "classical":
                rows = rows.filter(last__state="done", last__hybrid=False)
            case "ends":
                soon = timezone.now() + timedelta(days=30)
                rows = rows.filter(last__leaf__not_after__lte=soon)
        return rows


class RangeForm(ServiceForm):
    value = forms.CharField(
        max_length=253, label="Network or host", help_text="Such as 10.1.0.0/16 or www.example.org."
    )
    reason = forms.CharField(max_length=500)


class MonitorForm(_InRing):
    permission = Permission.TLS_SCAN
    name = forms.CharField(max_length=100, help_text="As the list of logs describes it.")
    url = forms.URLField(
        max_length=500, label="Address", help_text="Of the log, such as https://ct.example.org/2027h1/."
    )
    public_key = forms.CharField(
        max_length=2000, widget=forms.Textarea(attrs={"rows": 3}), help_text="In base64, as the list of logs has it."
    )
    domains = forms.CharField(
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Names of yours, one a line; everything below them counts.",
    )
    every_minutes = forms.IntegerField(min_value=5, max_value=10_080, initial=60, label="Read every so many minutes")

    def service_values(self) -> dict[str, Any]:
        values = super().service_values()
        return values | {"domains": split(values["domains"])}


class LogListForm(ServiceForm):
    file = forms.FileField(help_text="log_list.json in Google's v3 format, as browsers take it.")
    provenance = forms.CharField(
        max_length=500, label="Where it is from", initial="https://www.gstatic.com/ct/log_list/v3/log_list.json"
    )

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {"content": values["file"].read(MAX_LIST + 1), "provenance": values["provenance"]}


class RevokeManyForm(ServiceForm):
    by = forms.ChoiceField(choices=[("owner", "All of an owner"), ("key", "All with one key")], label="Which")
    owner = forms.ModelChoiceField(Person.objects.order_by("name"), required=False, empty_label="—")
    key = forms.CharField(
        required=False, max_length=64, label="SPKI SHA-256", help_text="Of the key, in hexadecimal, as a certificate's page shows it."
    )  # fmt: skip
    ring = forms.ModelChoiceField(KeyRing.objects.none(), required=False, empty_label="All rings")
    reason = forms.ChoiceField(choices=[(item.value, item.words) for item in MANY_REASONS])
    note = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), help_text="Approvers read it.")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.CERTIFICATE_REVOKE).order_by("name")
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]
        if not actor.can(Permission.CERTIFICATE_REVOKE):
            self.fields["ring"].required = True
            self.fields["ring"].empty_label = None  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or self.cleaned_data
        by = values.get("by", "")
        if by and not values.get(by):
            self.add_error(by, "Say which.")
        return values

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        chosen = str(values["owner"].pk) if values["by"] == "owner" else values["key"].replace(":", "").lower()
        ring = values["ring"].pk if values["ring"] else None
        return {
            "by": values["by"],
            "value": chosen,
            "ring_id": ring,
            "reason": values["reason"],
            "note": values["note"],
        }


class KeyCertificateForm(IssueForm):
    """A certificate for a key of the hierarchy."""

    key = forms.ModelChoiceField(
        Key.objects.none(), help_text="A transport key with a version in use; its private half stays where it is."
    )
    field_order = ("key", "profile", "names", "common_name", "days")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].help_text = "One a line, such as www.example.org or spiffe://example.org/service."
        self.fields["key"].queryset = certifiable_keys(actor)  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = super().service_values()
        return values | {"key_id": values.pop("key").pk}


def certifiable_keys(actor: Actor) -> QuerySet[Key]:
    """Transport keys with a public half that `actor` may see and no authority holds."""
    keys = Key.objects.filter(
        ring__in=rings_of(actor, Permission.KEY_VIEW), kind="transport", current__public_key__isnull=False
    )
    return of_no_authority(keys).select_related("ring").order_by("name", F("ring"))
