"""Certificate Transparency (RFC 6962): promises of logs read and verified, and how many of them a certificate needs."""

import hashlib
import struct
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from certificates import encoding

MAX_LIST, MAX_LOGS = 4_000_000, 2_000
X509_ENTRY, PRECERT_ENTRY = 0, 1
# What browsers ask of a certificate that lives at most so many days (Chrome's and Apple's policies alike since 2022).
_NEEDED = ((180, 2), (10_000, 3))
_COUNTED = frozenset({"usable", "qualified", "readonly"})
_SHA256, _RSA, _ECDSA = 4, 1, 3  # RFC 5246, section 7.4.1.4.1


class MalformedTimestamp(ValueError):
    """The bytes are no list of SCTs."""


class MalformedLogList(ValueError):
    """The JSON is no list of logs in the v3 format."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A signed certificate timestamp; `source` is where it was found: embedded, tls or ocsp."""

    log_id: bytes
    milliseconds: int
    extensions: bytes
    algorithms: tuple[int, int]  # hash and signature, by their TLS numbers
    signature: bytes
    source: str

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)


@dataclass(frozen=True, slots=True)
class Log:
    """One log of the list; `state` is pending, qualified, usable, readonly, retired or rejected."""

    log_id: bytes
    public_key: bytes
    description: str
    operator: str
    state: str
    until: datetime | None = None  # of a log that was retired: what it promised before still counts


@dataclass(frozen=True, slots=True)
class Checked:
    """One timestamp with its log; `fault` is empty when it counts."""

    timestamp: Timestamp
    log: Log | None
    fault: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the timestamps of one certificate are worth together."""

    checked: tuple[Checked, ...]
    needed: int

    @property
    def counted(self) -> int:
        """How many distinct logs vouch for it."""
        return len({item.timestamp.log_id for item in self.checked if not item.fault})

    @property
    def operators(self) -> int:
        return len({item.log.operator for item in self.checked if not item.fault and item.log is not None})

    @property
    def enough(self) -> bool:
        return self.counted >= self.needed and self.operators > 1


def read_timestamps(raw: bytes, source: str) -> list[Timestamp]:
    """A SignedCertificateTimestampList (RFC 6962, section 3.3), without versions nobody knows; raises MalformedTimestamp."""
    body, rest = _vector(raw, 2)
    if rest:
        raise MalformedTimestamp("bytes after the list")
    found = []
    while body:
        one, body = _vector(body, 2)
        if one[:1] == b"\x00":  # v1; a reader passes over what it does not know
            found.append(_timestamp(one, source))
    return found


def _timestamp(raw: bytes, source: str) -> Timestamp:
    if len(raw) < 43:
        raise MalformedTimestamp("it ends too early")
    extensions, rest = _vector(raw[41:], 2)
    if len(rest) < 4:
        raise MalformedTimestamp("it ends too early")
    signature, rest_of_it = _vector(rest[2:], 2)
    if rest_of_it:
        raise MalformedTimestamp("bytes after the signature")
    return Timestamp(raw[1:33], int.from_bytes(raw[33:41]), extensions, (rest[0], rest[1]), signature, source)


def _vector(raw: bytes, size: int) -> tuple[bytes, bytes]:
    length = int.from_bytes(raw[:size])
    if len(raw) < size + length:
        raise MalformedTimestamp("it ends too early")
    return raw[size : size + length], raw[size + length :]


def embedded(certificate: x509.Certificate) -> list[Timestamp]:
    """The timestamps in a certificate; none when it has no such extension or it cannot be read."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
        return read_timestamps(encoding.content(found.public_bytes()), "embedded")
    except (x509.ExtensionNotFound, ValueError):
        return []


def read_logs(content: Mapping[str, Any]) -> dict[bytes, Log]:
    """The logs of a list in Google's v3 format by their id; raises MalformedLogList."""
    found: dict[bytes, Log] = {}
    try:
        for operator in content["operators"]:
            for entry in [*operator.get("logs", ()), *operator.get("tiled_logs", ())]:
                log = _log(entry, str(operator["name"])[:200])
                found[log.log_id] = log
    except MalformedLogList:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedLogList(f"a log in it cannot be read: {type(error).__name__}") from None
    if not found or len(found) > MAX_LOGS:
        raise MalformedLogList(f"from 1 to {MAX_LOGS:,} logs")
    return found


def _log(entry: Mapping[str, Any], operator: str) -> Log:
    key = b64decode(entry["key"], validate=True)
    log_id = b64decode(entry["log_id"], validate=True)
    if hashlib.sha256(key).digest() != log_id:  # RFC 6962, section 3.2
        raise MalformedLogList("a log whose id is not the hash of its key")
    [(state, detail)] = entry.get("state", {"pending": {}}).items()
    until = datetime.fromisoformat(detail["timestamp"]) if state == "retired" else None
    return Log(log_id, key, str(entry.get("description", ""))[:200], operator, str(state), until)


def check(
    certificate: x509.Certificate,
    issuer_key: bytes | None,
    timestamps: Sequence[Timestamp],
    logs: Mapping[bytes, Log],
) -> Verdict:
    """Every timestamp against its log's key, and how many a certificate of this life needs.

    `issuer_key` is the issuer's SubjectPublicKeyInfo; without it an embedded one cannot be verified, for its signature
    covers the hash of that key.
    """
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    needed = next(count for days, count in _NEEDED if life.days < days)
    checked = []
    for timestamp in timestamps:
        log = logs.get(timestamp.log_id)
        checked.append(Checked(timestamp, log, _fault(certificate, issuer_key, timestamp, log)))
    return Verdict(tuple(checked), needed)


def _fault(certificate: x509.Certificate, issuer_key: bytes | None, timestamp: Timestamp, log: Log | None) -> str:
    if log is None:
        return "its log is not on the list"
    entry = entry_of(certificate, issuer_key, embedded=timestamp.source == "embedded")
    if entry is None:
        return "without the issuer's certificate it cannot be verified"
    if not verify(log.public_key, timestamp.algorithms, timestamp.signature, _signed(timestamp, entry)):
        return "the signature is not the log's"
    if timestamp.at > datetime.now(UTC):
        return "it is of the future"
    if log.state not in _COUNTED and not (log.until is not None and timestamp.at < log.until):
        return f"its log is {log.state}"
    return ""


def entry_of(certificate: x509.Certificate, issuer_key: bytes | None, *, embedded: bool) -> bytes | None:
    """The entry type and signed entry of a certificate (RFC 6962, section 3.2); None for a precertificate of unknown issuer."""
    if not embedded:
        return struct.pack("!H", X509_ENTRY) + _long(certificate.public_bytes(Encoding.DER))
    if issuer_key is None:
        return None
    body = hashlib.sha256(issuer_key).digest() + _long(certificate.tbs_precertificate_bytes)
    return struct.pack("!H", PRECERT_ENTRY) + body


def _long(body: bytes) -> bytes:
    return len(body).to_bytes(3) + body


def _signed(timestamp: Timestamp, entry: bytes) -> bytes:
    head = struct.pack("!BBQ", 0, 0, timestamp.milliseconds)  # v1, certificate_timestamp
    return head + entry + struct.pack("!H", len(timestamp.extensions)) + timestamp.extensions


def verify(public_key: bytes, algorithms: tuple[int, int], signature: bytes, message: bytes) -> bool:
    """A log's signature: ECDSA over P-256 or RSA, with SHA-256 (RFC 6962, section 2.1.4)."""
    try:
        key = load_der_public_key(public_key)
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithms == (_SHA256, _ECDSA):
            key.verify(signature, message, ec.ECDSA(SHA256()))
        elif isinstance(key, rsa.RSAPublicKey) and algorithms == (_SHA256, _RSA):
            key.verify(signature, message, PKCS1v15(), SHA256())
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def names_within(names: Iterable[str], domains: Iterable[str]) -> list[str]:
    """Which of these DNS names are one of the domains or stand below it; a wildcard counts as its domain."""
    wanted = [domain.lower().rstrip(".") for domain in domains]
    plain = {name: name.lower().removeprefix("*.").rstrip(".") for name in names}
    return [name for name, bare in plain.items() if any(bare == one or bare.endswith("." + one) for one in wanted)]
