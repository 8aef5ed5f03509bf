"""Forms of the renewal pages; each hands clean values to one service."""

from typing import Any

from django import forms

from certificates.forms import SIGNATURES, parse_names, split
from certificates.models import AcmeSource, DeployHook, DnsHook, ManagedCertificate
from certificates.renewal.dns01 import ALGORITHMS
from certificates.renewal.frame import visible_dns_hooks, visible_sources
from certificates.renewal.sources import LETS_ENCRYPT
from certificates.renewal.states import SourceState
from certificates.services.signers import of_no_authority
from keys.crypto.secret import SecretBytes
from keys.forms import ServiceForm, rings_of
from keys.models import Key
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.short_name import ShortNameField

_SECRET = {"autocomplete": "off"}


class _RingForm(ServiceForm):
    ring = forms.ModelChoiceField(KeyRing.objects.none())

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ring"].queryset = rings_of(actor, Permission.AUTHORITY_MANAGE).order_by("name")  # type: ignore[attr-defined]


class SourceForm(_RingForm):
    """An account at an ACME CA."""

    name = ShortNameField(max_length=63, label="Short name")
    directory = forms.CharField(
        max_length=500, label="Directory address", initial=LETS_ENCRYPT, help_text="https address of the CA's ACME directory (RFC 8555)."
    )  # fmt: skip
    contacts = forms.CharField(
        required=False, label="E-mail addresses", help_text="Where the CA writes about certificates; at most five."
    )
    ca_bundle = forms.CharField(
        required=False, label="CA bundle in PEM", widget=forms.Textarea(attrs={"rows": 4}),
        help_text="What its HTTPS is checked with; empty for public CAs. Nothing else is trusted then.",
    )  # fmt: skip
    eab_kid = forms.CharField(
        required=False, max_length=200, label="External account: key id", help_text="Only if the CA binds accounts to customers."
    )  # fmt: skip
    eab_key = forms.CharField(
        required=False, max_length=500, label="External account: HMAC key", widget=forms.PasswordInput(attrs=_SECRET),
        help_text="base64url, as the CA gave it; sealed, used once and erased.",
    )  # fmt: skip
    agree_to_terms = forms.BooleanField(
        required=False, label="I agree to the CA's terms of service", help_text="Look at the CA first: its terms are then linked above."
    )  # fmt: skip
    field_order = ("ring", "name", "directory", "contacts", "ca_bundle", "eab_kid", "eab_key", "agree_to_terms")

    def service_values(self) -> dict[str, Any]:
        values = dict(self.cleaned_data)
        key = values.pop("eab_key")
        return values | {
            "contacts": split(values["contacts"]), "eab_key": SecretBytes(key.encode()) if key else None,
        }  # fmt: skip


class DnsHookForm(_RingForm):
    """How TXT records are written."""

    name = ShortNameField(max_length=63, label="Short name")
    kind = forms.ChoiceField(choices=DnsHook.Kind.choices)
    address = forms.CharField(
        max_length=500, help_text="The zone's primary server as host:port, or the address of the webhook."
    )
    zone = forms.CharField(required=False, max_length=253, help_text="For dynamic updates, such as example.org.")
    key_name = forms.CharField(required=False, max_length=253, label="TSIG key's name")
    key_algorithm = forms.ChoiceField(choices=[(name, name) for name in ALGORITHMS], label="TSIG algorithm")
    secret = forms.CharField(
        max_length=500, widget=forms.PasswordInput(attrs=_SECRET), help_text="TSIG key in base64, or the webhook's shared secret; sealed."
    )  # fmt: skip
    wait_seconds = forms.IntegerField(
        min_value=0, max_value=600, initial=10, label="Wait in seconds", help_text="Until all servers of the zone have the record."
    )  # fmt: skip
    field_order = ("ring", "name", "kind", "address", "zone", "key_name", "key_algorithm", "secret", "wait_seconds")

    def service_values(self) -> dict[str, Any]:
        return self.cleaned_data | {"secret": SecretBytes(self.cleaned_data["secret"].encode())}


class ObtainForm(ServiceForm):
    """A certificate for a transport key, kept alive."""

    source = forms.ModelChoiceField(AcmeSource.objects.none(), label="From")
    key = forms.ModelChoiceField(
        Key.objects.none(), help_text="A transport key. Make it exportable if a server is to read it from a file."
    )
    names = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line, such as www.example.org; IP addresses are proved by http-01 only.",
    )
    challenge = forms.ChoiceField(
        choices=ManagedCertificate.Challenge.choices, label="Proof",
        help_text="http-01: port 80 of each name leads to this portal. dns-01: a hook writes a TXT record; needed for wildcards.",
    )  # fmt: skip
    dns_hook = forms.ModelChoiceField(DnsHook.objects.none(), required=False, label="DNS hook", empty_label="None")
    new_key = forms.BooleanField(
        required=False, initial=True, label="A new key for each renewal", help_text="Off: the same version is certified again."
    )  # fmt: skip

    def __init__(self, *args: Any, actor: Actor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ready = visible_sources(actor).filter(state=SourceState.READY.value).order_by("name")
        self.fields["source"].queryset = ready  # type: ignore[attr-defined]
        self.fields["dns_hook"].queryset = visible_dns_hooks(actor).order_by("name")  # type: ignore[attr-defined]
        keys = Key.objects.filter(
            ring__in=rings_of(actor, Permission.CERTIFICATE_ISSUE), kind="transport", algorithm__in=SIGNATURES
        )
        keys = of_no_authority(keys).exclude(pk__in=ManagedCertificate.objects.values("key")).order_by("name")
        self.fields["key"].queryset = keys  # type: ignore[attr-defined]

    def clean_names(self) -> list[tuple[str, str]]:
        return parse_names(self.cleaned_data["names"])

    def service_values(self) -> dict[str, Any]:
        values = self.cleaned_data
        hook = values["dns_hook"]
        return {
            "source_id": values["source"].pk, "key_id": values["key"].pk, "names": values["names"], "challenge": values["challenge"],
            "dns_hook_id": hook.pk if hook else None, "new_key": values["new_key"],
        }  # fmt: skip


class HookForm(ServiceForm):
    """A place where each new certificate is put."""

    kind = forms.ChoiceField(choices=DeployHook.Kind.choices)
    place = forms.CharField(
        max_length=500, help_text="A path below an allowed directory, or the address of a webhook. PEM files come as a folder that is replaced whole."
    )  # fmt: skip
    namespace = forms.CharField(required=False, max_length=63, help_text="For a Kubernetes secret.")
    secret_name = forms.CharField(required=False, max_length=253, help_text="For a Kubernetes secret.")
    with_key = forms.BooleanField(
        required=False, label="With its private key", help_text="In the clear, readable by the portal's user only. Others have to agree."
    )  # fmt: skip
    secret = forms.CharField(
        required=False, max_length=500, widget=forms.PasswordInput(attrs=_SECRET), label="Shared secret",
        help_text="For a webhook: signs each call (HMAC-SHA256)."
    )  # fmt: skip
    reason = forms.CharField(
        required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}), help_text="Approvers read it."
    )

    def service_values(self) -> dict[str, Any]:
        secret = self.cleaned_data["secret"]
        return self.cleaned_data | {"secret": SecretBytes(secret.encode()) if secret else None}
