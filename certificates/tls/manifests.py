"""cert-manager manifests: who issues in a cluster, and one certificate that it keeps renewed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml

from certificates.tls.configuration import is_address, is_host_name
from keyvault_portal.errors import ValidationFailed

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")  # RFC 1123 sub-domain, as Kubernetes names things
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
KEYS = {"ECDSA": (256, 384), "RSA": (2048, 3072, 4096), "Ed25519": (0,)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One ClusterIssuer and one Certificate; raises ValidationFailed by field.

    `directory` is the ACME directory of Let's Encrypt or of an authority of ours, `authority_bundle` the base64 of the
    PEM that its HTTPS is checked with. Wildcards need `dns_project`: http-01 cannot prove them.
    """

    issuer: str
    name: str
    names: tuple[str, ...]
    email: str = ""
    directory: str = LETS_ENCRYPT
    authority_bundle: str = ""
    namespace: str = "default"
    secret: str = ""
    ingress_class: str = "nginx"
    dns_project: str = ""
    dns_secret: str = "clouddns-sa"  # noqa: S105  the name of a Kubernetes Secret
    dns_key: str = "key.json"
    duration_hours: int = 2160
    renew_before_hours: int = 720
    algorithm: str = "ECDSA"
    size: int = 256

    def __post_init__(self) -> None:
        errors: dict[str, list[str]] = {}
        for field, message in self._faults():
            errors.setdefault(field, []).append(message)
        if errors:
            raise ValidationFailed("The manifest cannot be written.", errors=errors)

    def _faults(self) -> Iterator[tuple[str, str]]:
        for field in ("issuer", "name", "secret", "ingress_class", "dns_secret", "dns_key"):
            value = getattr(self, field)
            needed = field in {"issuer", "name"}
            if (value or needed) and not _NAME.fullmatch(value):
                yield field, "Letters in lower case, digits, dots and hyphens only."
        if not _NAMESPACE.fullmatch(self.namespace):
            yield "namespace", "Letters in lower case, digits and hyphens only."
        if self.email and not _MAIL.fullmatch(self.email):
            yield "email", "This is not an e-mail address."
        if not _is_directory(self.directory):
            yield "directory", "Write the https address of an ACME directory."
        if self.authority_bundle and not _BASE64.fullmatch(self.authority_bundle):
            yield "authority_bundle", "Write the PEM file in base64, on one line."
        yield from self._proof_faults()
        if not 1 <= self.duration_hours <= 9_600:
            yield "duration_hours", "Between one hour and 400 days."
        if not 1 <= self.renew_before_hours < self.duration_hours:
            yield "renew_before_hours", "Shorter than the life of the certificate."
        if self.algorithm not in KEYS or self.size not in KEYS[self.algorithm]:
            yield "size", f"Choose one of {'; '.join(f'{kind} {sizes}' for kind, sizes in KEYS.items())}."

    def _proof_faults(self) -> Iterator[tuple[str, str]]:
        """The names, and how the ACME server is to see that they are ours."""
        if not 1 <= len(self.names) <= 100:
            yield "names", "Between 1 and 100 names."
        for name in self.names:
            if not is_host_name(name, wildcard=True):
                yield "names", f"{name!r} is not a host name in lower case."
        if any(name.startswith("*.") for name in self.names) and not self.dns_project:
            yield "names", "A wildcard is proved by dns-01 only: name the DNS project."
        if not self.ingress_class and not self.dns_project:
            yield "ingress_class", "At least one way of proof is needed: an ingress class or a DNS project."
        if self.dns_project and not _PROJECT.fullmatch(self.dns_project):
            yield "dns_project", "This is not the id of a Google Cloud project."


def is_object_name(text: str) -> bool:
    """Whether Kubernetes takes it as the name of an object."""
    return _NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    return _NAMESPACE.fullmatch(text) is not None


def _is_directory(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    plain = re.fullmatch(r"https://[A-Za-z0-9.:\[\]/_~-]{1,300}", text) is not None
    return plain and (is_host_name(host) or is_address(host))


def render(asked: Manifest) -> str:
    """Both objects as one YAML file."""
    return yaml.safe_dump_all([_issuer(asked), _certificate(asked)], sort_keys=False, explicit_start=False, width=120)


def _issuer(asked: Manifest) -> dict[str, Any]:
    acme: dict[str, Any] = {"server": asked.directory}
    if asked.authority_bundle:
        acme["caBundle"] = asked.authority_bundle
    if asked.email:
        acme["email"] = asked.email
    acme["privateKeySecretRef"] = {"name": f"{asked.issuer}-account"}
    acme["solvers"] = list(_solvers(asked))
    return {
        "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": {"name": asked.issuer}, "spec": {"acme": acme},
    }  # fmt: skip


def _solvers(asked: Manifest) -> Iterator[dict[str, Any]]:
    if asked.ingress_class:
        yield {"http01": {"ingress": {"class": asked.ingress_class}}}
    if asked.dns_project:
        account = {"name": asked.dns_secret, "key": asked.dns_key}
        yield {"dns01": {"cloudDNS": {"project": asked.dns_project, "serviceAccountSecretRef": account}}}


def _certificate(asked: Manifest) -> dict[str, Any]:
    key: dict[str, Any] = {"algorithm": asked.algorithm} | ({"size": asked.size} if asked.size else {})
    return {
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": asked.name, "namespace": asked.namespace},
        "spec": {
            "secretName": asked.secret or f"{asked.name}-tls", "issuerRef": {"name": asked.issuer, "kind": "ClusterIssuer"},
            "dnsNames": list(asked.names), "duration": f"{asked.duration_hours}h", "renewBefore": f"{asked.renew_before_hours}h",
            "privateKey": key,
        },
    }  # fmt: skip
