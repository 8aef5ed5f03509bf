"""Forms of the certificates pages; each hands clean values to one service."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from certificates import bundles
from certificates.models import Authority, Certificate
from certificates.profiles import LEAF_PROFILES, PROFILES
from certificates.services.authorities import Plan
from certificates.services.containers import MAX_BYTES
from certificates.services.inventory import due, with_places, with_shared_keys
from certificates.services.reading import search, visible_authorities
from certificates.services.revoking import LEAF_REASONS
from certificates.services.signers import of_no_authority
from certificates.services.weaknesses import weakness_of_authority
from certificates.states import AuthorityState, Reason
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keys.forms import ANY, ReasonForm, ServiceForm, rings_of
from keys.models import Key
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.short_name import ShortNameField

__all__ = ["ReasonForm"]
SIGNATURES = sorted(name for name, row in ALGORITHMS.items() if row.kind is Kind.SIGNATURE)
AUTHORITY_SIGNATURES = [name for name in SIGNATURES if not weakness_of_authority(name)]


def split(text: str) -> list[str]:
    """The words of a text area: by lines, commas or spaces."""
    return text.replace(",", " ").split()


def parse_names(text: str) -> list[tuple[str, str]]:
    """Names as people type them: `dns:www.example.org`, or without the kind where it is plain to see."""
    found = []
    for word in split(text):
        kind, colon, value = word.partition(":")
        if colon and kind in {"dns", "ip", "uri", "email"}:
            found.append((kind, value if kind != "dns" else value.lower()))
        elif "://" in word:
            found.append(("uri", word))
        elif "@" in word:
            found.append(("email", word))
        elif word.replace(".", "").isdigit() or colon:
            found.append(("ip", word))
        else:
            found.append(("dns", word.lower()))
    return found


_PLAIN = (
    "title", "name", "organization", "days", "path_length", "profiles", "max_days", "crl_hours", "crl_partitions", "delta_crls",
)  # fmt: skip


class AuthorityForm(ServiceForm):
    """A new authority over a key that exists; the plan is what an approval binds."""

    algorithms = AUTHORITY_SIGNATURES
    title = forms.CharField(
        max_length=64, label="Common name", help_text="Stands in its certificate, such as Example Servers CA."
    )
    name = ShortNameField(
        max_length=63,
        label="Short name",
        help_text="Part of the public addresses of its CRL and OCSP responder; never changes.",
    )
    organization = forms.CharField(max_length=64, required=False)
    key = forms.ModelChoiceField(
        Key.objects.none(),
        help_text="A transport key with a signature algorithm, at any provider, that nothing else uses.",
    )
    parent = forms.ModelChoiceField(
        Authority.objects.none(), required=False, empty_label="None: it signs itself (root)", label="Issued by"
    )
    days = forms.IntegerField(min_value=1, max_value=9132, initial=1826, label="Life in days")
    path_length = forms.IntegerField(
        min_value=0, max_value=8, required=False, help_text="How many authorities may stand below it in a chain."
    )
    profiles = forms.MultipleChoiceField(
        choices=[(name, PROFILES[name].title) for name in LEAF_PROFILES],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="It issues",
    )
    dns = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        label="DNS domains",
        help_text="With everything below them. * allows all.",
    )
    ip = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), label="IP networks", help_text="Such as 10.0.0.0/8."
    )
    uri = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        label="SPIFFE trust domains",
        help_text="Such as spiffe://example.org.",
    )
    email = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}), label="E-mail domains")
    wildcards = forms.BooleanField(required=False, label="Wildcards such as *.example.org are allowed")
    max_days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        required=False,
        label="Longest life of what it issues",
        help_text="Empty: as the profile says.",
    )
    crl_hours = forms.IntegerField(min_value=1, max_value=8784, initial=168, label="Life of a CRL in hours")
    crl_partitions = forms.IntegerField(min_value=1, max_value=1024, initial=1, label="CRL partitions")
    delta_crls = forms.BooleanField(required=False, label="Delta CRLs between full ones")
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), help_text="Approvers read it.")

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].queryset = free_keys(actor, self.algorithms)  # type: ignore[attr-defined]
        active = visible_authorities(actor).filter(state=AuthorityState.ACTIVE.value).order_by("name")
        self.fields["parent"].queryset = active  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        names = {kind: split(values[kind]) for kind in ("dns", "ip", "uri", "email")} | {
            "wildcards": values["wildcards"]
        }
        parent = values["parent"]
        plain = {"title": ""} | {name: values[name] for name in _PLAIN if name in values}
        plan = Plan(
            ring_id=str(values["key"].ring_id),
            key_id=str(values["key"].pk),
            parent_id=str(parent.pk) if parent else None,
            names=names,
            **plain,
        )
        return {"plan": plan, "reason": values["reason"]}


def free_keys(actor: Actor, algorithms: list[str]) -> QuerySet[Key]:
    """Keys that could become an authority's: of these algorithms, with a version in use, and nobody's yet."""
    rings = rings_of(actor, Permission.AUTHORITY_MANAGE)
    keys = Key.objects.filter(
        ring__in=rings, kind="transport", algorithm__in=algorithms, current__isnull=False, exportable=False
    )
    return of_no_authority(keys).order_by("name")


class ImportForm(AuthorityForm):
    """An authority whose certificate and key exist, of whatever algorithm; the certificate says the rest of what it is."""

    algorithms = SIGNATURES
    title = organization = days = path_length = None  # type: ignore[assignment]
    certificate = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6}), label="CA certificate in PEM", help_text="Its subject, life and path length stay as they are."
    )  # fmt: skip
    field_order = ("certificate", "key", "parent", "name")

    def service_values(self) -> dict[str, Any]:
        return super().service_values() | {"certificate": self.cleaned_data["certificate"]}


class CrossSignForm(ServiceForm):
    certificate = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}), label="Certificate of the other authority in PEM"
    )
    days = forms.IntegerField(min_value=1, max_value=3653, initial=730, label="Life in days")
    reason = forms.CharField(max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), help_text="Approvers read it.")


class IssueForm(ServiceForm):
    profile = forms.ChoiceField()
    names = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line, such as www.example.org or spiffe://example.org/service.",
    )
    common_name = forms.CharField(
        required=False, max_length=64, help_text="For clients and code signing; servers take their first name."
    )
    days = forms.IntegerField(
        required=False, min_value=1, max_value=3650, label="Life in days", help_text="Empty: as the profile suggests."
    )

    def __init__(self, *args: Any, authority: Authority, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["profile"].choices = [(name, PROFILES[name].title) for name in authority.profiles]  # type: ignore[attr-defined]

    def clean_names(self) -> list[tuple[str, str]]:
        return parse_names(self.cleaned_data["names"])


class CsrForm(IssueForm):
    csr = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}),
        label="Certification request",
        help_text="PKCS#10 in PEM, as openssl req makes it.",
    )
    reason = forms.CharField(
        required=False, max_length=2000, help_text="Needed where others must agree (code signing)."
    )
    field_order = ("csr", "profile", "names", "common_name", "days", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].help_text += " Empty: those of the request."


class _Handover(forms.Form):
    algorithm = forms.ChoiceField(choices=[(name, name) for name in bundles.SUBJECT_ALGORITHMS], label="Key")
    form = forms.ChoiceField(choices=[("pkcs12", "PKCS#12 (.p12)"), ("pkcs8", "Encrypted PEM (PKCS#8)")], label="File")
    password = forms.CharField(
        min_length=bundles.MIN_PASSWORD, max_length=bundles.MAX_PASSWORD, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="Protects the file; the portal keeps neither the password nor the key.", strip=False,
    )  # fmt: skip


class NewKeyForm(IssueForm, _Handover):
    """A key made here, with its file and password."""


class RenewForm(ServiceForm):
    csr = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}),
        label="Certification request",
        help_text="With a new key; its names are not read.",
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=3650,
        label="Life in days",
        help_text="Empty: as long as before, if that is still allowed.",
    )

    def service_values(self) -> dict[str, Any]:
        return {"raw": self.cleaned_data["csr"], "days": self.cleaned_data["days"]}


class RenewKeyForm(ServiceForm, _Handover):
    """A new key made here for the names of a certificate, with its file and password."""

    days = forms.IntegerField(
        required=False, min_value=1, max_value=3650, label="Life in days", help_text="Empty: as long as before, if that is still allowed."
    )  # fmt: skip


class KeyImportForm(ServiceForm):
    """The private key of a CA that exists, to become a key of the hierarchy."""

    ring = forms.ModelChoiceField(Key.objects.none())
    name = ShortNameField(max_length=100, label="Short name")
    title = forms.CharField(max_length=150)
    parent = forms.ModelChoiceField(
        Key.objects.none(), label="Wrapped under", help_text="The master or key-encryption key that protects it from then on."
    )  # fmt: skip
    private_key = forms.CharField(
        max_length=20_000, widget=forms.Textarea(attrs={"rows": 8, "autocomplete": "off", "spellcheck": "false"}), label="Private key in PEM",
        help_text="PKCS#8, PKCS#1 or SEC 1. It is wrapped at once; destroy every other copy.",
    )  # fmt: skip
    password = forms.CharField(
        required=False, max_length=256, widget=forms.PasswordInput(attrs={"autocomplete": "off"}), strip=False, help_text="If the PEM is encrypted."
    )  # fmt: skip

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rings = rings_of(actor, Permission.AUTHORITY_MANAGE).order_by("name")
        self.fields["ring"].queryset = rings  # type: ignore[attr-defined]
        above = Key.objects.filter(ring__in=rings, kind__in=["master", "kek"], current__isnull=False).order_by("name")
        self.fields["parent"].queryset = above  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        pem, password = values.pop("private_key"), values.pop("password")
        return values | {
            "pem": SecretBytes(pem.encode()), "password": SecretBytes(password.encode()) if password else None,
        }  # fmt: skip


class RevokeForm(ServiceForm):
    reason = forms.ChoiceField(choices=[(item.value, item.words) for item in LEAF_REASONS])
    invalid_since = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="When the key may have been lost (UTC).",
    )
    note = forms.CharField(required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, at_ca: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if at_ca:
            fields: dict[str, Any] = self.fields
            fields["reason"].choices = [
                row for row in fields["reason"].choices if row[0] != Reason.CERTIFICATE_HOLD.value
            ]


class UploadForm(ServiceForm):
    ring = forms.ModelChoiceField(Key.objects.none())
    file = forms.FileField(
        help_text="PEM, DER, PKCS#12 or a Java key store, at most 1 MiB. Private keys in it are not kept."
    )
    password = forms.CharField(
        required=False,
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        strip=False,
        help_text="Of a PKCS#12 or a Java key store.",
    )

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ring"].queryset = rings_of(actor, Permission.CERTIFICATE_UPLOAD).order_by("name")  # type: ignore[attr-defined]

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        return {"ring": values["ring"], "content": values["file"].read(MAX_BYTES + 1), "password": values["password"]}


class CertificateFilterForm(forms.Form):
    q = forms.CharField(required=False, label="Name, or start of serial number or fingerprint", max_length=200)
    state = forms.ChoiceField(
        required=False,
        choices=[*ANY, ("valid", "Valid"), ("expired", "Expired"), ("held", "Held"), ("revoked", "Revoked")],
    )
    ends = forms.ChoiceField(
        required=False, label="Ends within", choices=[*ANY, ("7", "7 days"), ("30", "30 days"), ("90", "90 days")]
    )
    on = forms.DateField(
        required=False, label="Ends on", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    source = forms.ChoiceField(required=False, choices=[*ANY, *Certificate.Source.choices])
    finding = forms.ChoiceField(
        required=False,
        choices=[
            *ANY,
            ("weak", "Weak algorithm"),
            ("shared", "Key used twice"),
            ("keyless", "Private key nowhere here"),
        ],
    )
    renewal = forms.ChoiceField(
        required=False,
        choices=[*ANY, ("due", "Due and not renewed"), ("renewed", "Renewed"), ("renewal", "Renews another")],
    )
    place = forms.ChoiceField(required=False, choices=[*ANY, ("here", "In use somewhere"), ("gone", "Gone everywhere")])

    def apply(self, rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
        """The rows that match."""
        values, now = self.cleaned_data, timezone.now()
        if values["q"]:
            rows = search(rows, values["q"])
        match values["state"]:
            case "valid":
                rows = rows.filter(state="valid", not_after__gt=now)
            case "expired":
                rows = rows.filter(state="valid", not_after__lte=now)
            case "held" | "revoked" as state:
                rows = rows.filter(state=state)
        if values["ends"]:
            rows = rows.filter(not_after__gt=now, not_after__lte=now + timedelta(days=int(values["ends"])))
        if values["on"]:
            begins = datetime.combine(values["on"], time.min, UTC)
            rows = rows.filter(not_after__gte=begins, not_after__lt=begins + timedelta(days=1))
        if values["source"]:
            rows = rows.filter(source=values["source"])
        for name in ("finding", "renewal", "place"):
            if narrow := _NARROWED.get(values[name]):
                rows = narrow(rows)
        return rows


_NARROWED: dict[str, Callable[[QuerySet[Certificate]], QuerySet[Certificate]]] = {
    "weak": lambda rows: rows.exclude(weaknesses=[]),
    "shared": with_shared_keys,
    "keyless": lambda rows: rows.filter(key_origin=Certificate.KeyOrigin.UNKNOWN),
    "due": due,
    "renewed": lambda rows: rows.filter(Exists(Certificate.objects.filter(renews=OuterRef("pk")))),
    "renewal": lambda rows: rows.exclude(renews=None),
    "here": with_places,
    "gone": lambda rows: with_places(rows, present=False),
}
