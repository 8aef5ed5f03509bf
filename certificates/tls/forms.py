"""Forms of the TLS pages; each becomes one checked value of the pure part."""

from typing import Any

from django import forms

from certificates.tls.configuration import Configuration
from certificates.tls.manifests import KEYS, LETS_ENCRYPT, Manifest
from certificates.tls.pins import MAXIMUM_AGE
from certificates.tls.profiles import PROFILES, ServerKind
from keys.forms import ServiceForm

SERVERS = [(server.value, server.label) for server in ServerKind]
HYBRID_CHOICES = [("", "As profile and server allow"), ("true", "Offered"), ("false", "Left out")]
CLIENT_CHOICES = [("", "Not asked for"), ("needed", "Needed"), ("optional", "Optional")]
PROFILE_CHOICES = [(name.value, profile.title) for name, profile in PROFILES.items()]


class NamesField(forms.CharField):
    """Several names in one line, separated by spaces or commas."""

    def to_python(self, value: Any) -> Any:
        return tuple((super().to_python(value) or "").replace(",", " ").split())


class SeenForm(ServiceForm):
    """What of a configuration shows from outside: the page that generates asks for it, and the page that compares."""

    server = forms.ChoiceField(choices=SERVERS, initial="nginx")
    http2 = forms.BooleanField(required=False, initial=True, label="Offer HTTP/2")
    stapling = forms.BooleanField(required=False, initial=True, label="OCSP stapling")
    post_quantum = forms.NullBooleanField(
        required=False, label="Hybrid key exchange", widget=forms.Select(choices=HYBRID_CHOICES),
        help_text="X25519MLKEM768. HAProxy is given it only on request: it needs OpenSSL 3.5.",
    )  # fmt: skip
    hsts_seconds = forms.IntegerField(
        initial=63_072_000,
        min_value=0,
        max_value=315_360_000,
        label="HSTS in seconds",
        help_text="Two years; 0 sends none.",
    )
    hsts_subdomains = forms.BooleanField(required=False, initial=True, label="HSTS for sub-domains")
    hsts_preload = forms.BooleanField(required=False, initial=True, label="HSTS preload")


class ConfigurationForm(SeenForm):
    # Three in a row: what is short stands beside what is short.
    field_order = (
        "server", "profile", "names", "backend", "address", "port", "certificate", "key", "chain", "staple", "resolvers", "post_quantum",
        "hsts_seconds", "hsts_subdomains", "hsts_preload", "client_authorities", "client_revocations", "client_names",
        "client_depth", "client_optional", "http2", "stapling",
    )  # fmt: skip
    profile = forms.ChoiceField(choices=PROFILE_CHOICES, initial="intermediate")
    names = NamesField(initial="example.com", max_length=5_000, label="Host names", help_text="Separated by spaces.")
    backend = forms.CharField(
        initial="127.0.0.1:8080", max_length=300, label="Back end", help_text="Where requests go: host:port."
    )
    address = forms.CharField(
        required=False, max_length=50, label="Listens on", help_text="An IP address; empty for all."
    )
    port = forms.IntegerField(initial=443, min_value=1, max_value=65_535)
    certificate = forms.CharField(
        required=False,
        max_length=250,
        label="Certificate file",
        help_text="With its intermediates. Empty: the usual place.",
    )
    key = forms.CharField(required=False, max_length=250, label="Private key file")
    chain = forms.CharField(
        required=False, max_length=250, label="Issuers' file", help_text="For checking a staple; nginx only."
    )
    staple = forms.CharField(
        required=False, max_length=250, label="Staple file",
        help_text="The OCSP answer in DER, where the server does not fetch it itself. Empty: the usual place; nginx fetches.",
    )  # fmt: skip
    resolvers = NamesField(
        required=False, initial="1.1.1.1 8.8.8.8", max_length=500, label="Name servers",
        help_text="nginx finds the OCSP responder with them: your own for an authority of yours. Empty: found once, at its start.",
    )  # fmt: skip
    client_authorities = forms.CharField(
        required=False, max_length=250, label="Clients' authorities",
        help_text="A PEM file, such as /etc/nginx/ssl/client-ca-chain.pem. With it, clients need a certificate (mutual TLS). "
        "An authority's page here has it as its chain in PEM.",
    )  # fmt: skip
    client_revocations = forms.CharField(
        required=False, max_length=250, label="Clients' revocation lists",
        help_text="A PEM file of every list of that chain; an authority's page here has its address. Fetch it by a timer.",
    )  # fmt: skip
    client_depth = forms.IntegerField(initial=2, min_value=0, max_value=10, label="Intermediates at most")
    client_names = NamesField(
        required=False, max_length=5_000, label="Clients that may come in",
        help_text="Common names (nginx, HAProxy) or DNS and SPIFFE names (Envoy); empty for all.",
    )  # fmt: skip
    client_optional = forms.BooleanField(required=False, label="A client's certificate is optional")

    def configuration(self) -> Configuration | None:
        """The checked configuration, or None after putting what is wrong beside the fields."""
        return self.run(Configuration.of)


class ScanForm(SeenForm):
    field_order = (
        "host", "port", "profile", "server", "post_quantum", "client_certificates", "hsts_seconds", "hsts_subdomains", "hsts_preload",
        "http2", "stapling",
    )  # fmt: skip
    host = forms.CharField(max_length=253, help_text="A host name or an IP address in an allowed network.")
    port = forms.IntegerField(initial=443, min_value=1, max_value=65_535)
    profile = forms.ChoiceField(
        choices=[("", "Nothing"), *PROFILE_CHOICES],
        required=False,
        label="Compare with",
        help_text="The profile of the file that was generated for it; all below is as it was chosen then.",
    )
    client_certificates = forms.ChoiceField(choices=CLIENT_CHOICES, required=False)

    def compared(self) -> Configuration | None:
        """The configuration to compare with, None for none; raises ValidationFailed. Only what shows from outside matters."""
        values = self.service_values()
        if not values["profile"]:
            return None
        seen = {name: values[name] for name in ("profile", *SeenForm.base_fields)}
        asked = values["client_certificates"]
        clients = {"client_authorities": "/clients.pem", "client_optional": asked == "optional"} if asked else {}
        return Configuration.of(seen | clients)


class PinForm(ServiceForm):
    domain = forms.CharField(max_length=253, help_text="What the program connects to, such as api.example.com.")
    subdomains = forms.BooleanField(required=False, label="Also for its sub-domains")
    chain = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 8}),
        max_length=200_000,
        label="Certificate chain",
        help_text="PEM, the server's own first.",
    )
    backup = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 4}), max_length=200_000, label="Backup key",
        help_text="A certificate or request as PEM, or a pin in base64. The key must not be in use.",
    )  # fmt: skip
    second_backup = forms.CharField(widget=forms.Textarea(attrs={"rows": 4}), max_length=200_000, required=False)
    days = forms.IntegerField(
        initial=MAXIMUM_AGE.days, min_value=1, max_value=MAXIMUM_AGE.days, label="Pins end after days"
    )


class RecordsForm(ServiceForm):
    domain = forms.CharField(max_length=253, initial="example.com")
    issuers = NamesField(
        required=False,
        max_length=2_000,
        initial="letsencrypt.org",
        label="Authorities that may issue",
        help_text="None: nobody may.",
    )
    wildcard_issuers = NamesField(
        required=False, max_length=2_000, label="For wildcards", help_text="None: no wildcards."
    )
    contact = forms.CharField(
        required=False, max_length=250, help_text="An e-mail or https address for reports of refused requests."
    )
    account = forms.CharField(
        required=False,
        max_length=250,
        label="ACME account",
        help_text="Its https address: only this account may ask the first authority.",
    )


class ManifestForm(ServiceForm):
    issuer = forms.CharField(initial="letsencrypt-prod", max_length=253, label="Name of the issuer")
    directory = forms.CharField(
        initial=LETS_ENCRYPT,
        max_length=300,
        label="ACME directory",
        help_text="Let's Encrypt, or an authority of yours.",
    )
    authority_bundle = forms.CharField(
        required=False,
        max_length=100_000,
        label="Bundle for the directory's HTTPS",
        help_text="Base64 of a PEM file; empty for public ones.",
    )
    email = forms.CharField(required=False, initial="certs@example.com", max_length=250, label="E-mail")
    name = forms.CharField(initial="example-com", max_length=253, label="Name of the certificate")
    namespace = forms.CharField(initial="production", max_length=63)
    secret = forms.CharField(required=False, max_length=253, help_text="Where the key goes; empty: the name with -tls.")
    names = NamesField(initial="example.com", max_length=5_000, label="Host names", help_text="Separated by spaces.")
    ingress_class = forms.CharField(required=False, initial="nginx", max_length=253, help_text="For http-01.")
    dns_project = forms.CharField(
        required=False, max_length=30, label="Google Cloud DNS project", help_text="For dns-01, which wildcards need."
    )
    dns_secret = forms.CharField(initial="clouddns-sa", max_length=253, label="Secret of its service account")
    dns_key = forms.CharField(initial="key.json", max_length=253, label="Entry in that secret")
    duration_hours = forms.IntegerField(initial=2160, min_value=1, max_value=9_600, label="Life in hours")
    renew_before_hours = forms.IntegerField(
        initial=720, min_value=1, max_value=9_600, label="Renewed so many hours before"
    )
    key = forms.ChoiceField(
        choices=[
            (f"{kind} {size}".removesuffix(" 0"), f"{kind} {size}".removesuffix(" 0"))
            for kind, sizes in KEYS.items()
            for size in sizes
        ]
    )

    def service_values(self) -> dict[str, Any]:
        values = super().service_values()
        algorithm, _, size = values.pop("key").partition(" ")
        return values | {"algorithm": algorithm, "size": int(size or 0)}

    def manifest(self) -> Manifest | None:
        """The checked manifest, or None after putting what is wrong beside the fields."""
        return self.run(lambda values: Manifest(**values))
