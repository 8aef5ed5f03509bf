"""What a scan found: plain values that pages, REST and the comparison read."""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def spki_sha256(key: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The pin of a certificate or request: base64 of the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, section 2.4)."""
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b64encode(hashlib.sha256(public).digest()).decode()


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """One certificate of a chain; `key_bits` is 0 where the kind has but one size."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    serial: str
    not_before: datetime
    not_after: datetime
    key_kind: str
    key_bits: int
    signature_hash: str
    pin: str

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        kind, bits = _key(certificate)
        return cls(
            certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string(), names_of(certificate),
            f"{certificate.serial_number:X}", certificate.not_valid_before_utc, certificate.not_valid_after_utc, kind, bits,
            _signature_hash(certificate), spki_sha256(certificate),
        )  # fmt: skip

    @property
    def is_weak(self) -> bool:
        """A key under 112 bits of strength (SP 800-57 Part 1, table 2) or a signature over MD5 or SHA-1."""
        short = {"RSA": 2048, "EC": 224}.get(self.key_kind, 0)
        return self.key_bits < short or self.signature_hash in {"md5", "sha1"}

    @property
    def key(self) -> str:
        return f"{self.key_kind} {self.key_bits}" if self.key_bits else self.key_kind


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and addresses a certificate is for (RFC 9525 looks at nothing else)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *found.get_values_for_type(x509.DNSName),
        *(str(address) for address in found.get_values_for_type(x509.IPAddress)),
    )


def _key(certificate: x509.Certificate) -> tuple[str, int]:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "unknown", 0
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC", key.key_size
    return type(key).__name__.removeprefix("_").removesuffix("PublicKey"), 0


def _signature_hash(certificate: x509.Certificate) -> str:
    try:
        found = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "unknown"
    return found.name if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One endpoint as it answered. `staple` is empty, "good", "revoked", "unknown" or says why it counts for nothing.

    `groups` are those of TLS 1.3: before it, the answer hangs on the certificate's own curve as well. `incomplete` says
    which questions were not answered in time; then nothing is to be concluded from what is missing. `certificates` is the
    chain in DER; `timestamps` are SignedCertificateTimestampLists (RFC 6962, section 3.3) by where they came from; `revoked`
    are the serial numbers of the chain that the portal itself knows to be revoked, whatever the endpoint staples.
    """

    host: str
    port: int
    address: str
    at: datetime
    versions: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    suites13: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    chain: tuple[CertificateFacts, ...] = ()
    name_matches: bool = False
    chain_holds: bool = False
    version: str = ""
    cipher: str = ""
    group: str = ""
    protocol: str = ""
    staple: str = ""
    hsts: str = ""
    asks_for_certificate: bool = False
    incomplete: str = ""
    revoked: tuple[str, ...] = ()
    certificates: tuple[bytes, ...] = ()
    timestamps: tuple[tuple[str, bytes], ...] = ()
