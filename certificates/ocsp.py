"""OCSP (RFC 6960; RFC 5019 for its usual case, one certificate): requests read, answers built and signed by a delegate."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property, lru_cache
from hashlib import sha1, sha256
from urllib.parse import unquote

from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from certificates import encoding, signing
from certificates.issuance import key_identifier
from certificates.signing import Signer
from certificates.states import Reason

MAX_REQUEST, MAX_QUESTIONS = 4096, 20
_BASIC, _NONCE = "1.3.6.1.5.5.7.48.1.1", "1.3.6.1.5.5.7.48.1.2"
_DIGESTS = {"sha1": (sha1, "1.3.14.3.2.26"), "sha256": (sha256, "2.16.840.1.101.3.4.2.1")}
DIGESTS = tuple(_DIGESTS)

# OCSPResponseStatus (RFC 6960, 4.2.1) as whole answers; they carry no signature.
MALFORMED, INTERNAL_ERROR, TRY_LATER, UNAUTHORIZED = (
    encoding.sequence(encoding.enumerated(status)) for status in (1, 2, 3, 6)
)


class MalformedRequest(ValueError):
    """The bytes are no OCSP request that we answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which certificate of which issuer somebody asks about; the hashes are of the issuer's name and key (CertID)."""

    digest: str
    name_hash: bytes
    key_hash: bytes
    serial: int
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a certificate: good while `revoked_at` is None; not `known`, when it is none of the issuer's."""

    revoked_at: datetime | None = None
    reason: Reason = Reason.UNSPECIFIED
    known: bool = True


@dataclass(frozen=True)
class Responder:
    """Who signs answers: the issuer itself, or a delegate whose certificate travels with every answer."""

    algorithm: str
    public_key: bytes
    certificate: bytes = b""

    @cached_property
    def identity(self) -> bytes:
        """ResponderID by the hash of the key (RFC 6960, 4.2.1)."""
        return encoding.tagged(2, encoding.octets(key_identifier(self.public_key)))

    @cached_property
    def identifier(self) -> bytes:
        """The AlgorithmIdentifier of the signature."""
        return signing.scheme(self.algorithm).identifier

    @cached_property
    def chain(self) -> bytes:
        """What stands behind the signature."""
        return encoding.tagged(0, encoding.sequence(self.certificate)) if self.certificate else b""


def from_path(text: str) -> bytes:
    """The request in the path of a GET: base64, URL-encoded (RFC 6960, A.1.1); raises MalformedRequest."""
    try:
        # A proxy may have decoded "%2B" and the client "+" as a space on the way.
        raw = unquote(text).replace(" ", "+")
        return base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedRequest("not base64") from None


def read(raw: bytes) -> list[Asked]:
    """The questions of a request, one as a rule; raises MalformedRequest, also for more than 20 of them."""
    if len(raw) > MAX_REQUEST:
        raise MalformedRequest("too large")
    try:
        request = ocsp.load_der_ocsp_request(raw)
        asked = [_one(request, _nonce(request))]
    except NotImplementedError:  # the library reads requests for one certificate only
        asked = _many(raw)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedRequest("no OCSP request") from None
    if any(item.digest not in _DIGESTS for item in asked):
        raise MalformedRequest("a digest that nobody uses in CertID")
    return asked


def _one(request: ocsp.OCSPRequest, nonce: bytes | None) -> Asked:
    digest = request.hash_algorithm.name
    return Asked(digest, request.issuer_name_hash, request.issuer_key_hash, request.serial_number, nonce)


def _many(raw: bytes) -> list[Asked]:
    """RFC 6960, 4.1.1: requestList; a single request's own extensions change nothing about its answer."""
    try:
        request = asn1_ocsp.OCSPRequest.load(raw, strict=True)
        nonce = None if request.nonce_value is None else _fitting(request.nonce_value.native)
        ids = [item["req_cert"] for item in request["tbs_request"]["request_list"]]
        found = [
            Asked(
                one["hash_algorithm"]["algorithm"].native, one["issuer_name_hash"].native, one["issuer_key_hash"].native,
                one["serial_number"].native, nonce,
            )
            for one in ids[: MAX_QUESTIONS + 1]
        ]  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError):
        raise MalformedRequest("no OCSP request") from None
    if not 1 <= len(found) <= MAX_QUESTIONS:
        raise MalformedRequest(f"more than {MAX_QUESTIONS} questions")
    return found


def _nonce(request: ocsp.OCSPRequest) -> bytes | None:
    try:
        nonce = request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None
    return _fitting(nonce)


def _fitting(nonce: bytes) -> bytes:
    if not 1 <= len(nonce) <= 32:  # RFC 8954, 2.1
        raise MalformedRequest("a nonce has 1 to 32 octets")
    return nonce


def issuer_hashes(subject: bytes, public_key: bytes, digest: str) -> tuple[bytes, bytes]:
    """issuerNameHash and issuerKeyHash of an issuer with this name (DER) and SubjectPublicKeyInfo."""
    function = _DIGESTS[digest][0]
    bits = encoding.parser.parse(encoding.parts(public_key, exactly=2)[1])[4][1:]
    return function(subject).digest(), function(bits).digest()


def single(asked: Asked, status: Status, *, this_update: datetime, next_update: datetime) -> bytes:
    """What is said of one certificate (SingleResponse); it can be part of any number of answers."""
    times = encoding.generalized_time(this_update), encoding.tagged(0, encoding.generalized_time(next_update))
    return encoding.sequence(_cert_id(asked), _cert_status(status), *times)


def build(
    singles: Sequence[bytes], responder: Responder, signer: Signer, *, now: datetime, nonce: bytes | None = None
) -> bytes:
    """A whole successful answer in DER around what `single` made; raises as `signer` does, which checks its signatures."""
    extensions = b"" if nonce is None else _before_nonce(len(nonce)) + nonce
    produced = encoding.generalized_time(now)
    data = encoding.sequence(responder.identity, produced, encoding.sequence(*singles), extensions)
    content = b"".join((data, responder.identifier, encoding.bits(signer(data)), responder.chain))
    return _before_basic(len(content)) + content


@lru_cache(maxsize=1024)
def _before_basic(size: int) -> bytes:
    """What stands before the contents of a basic response: of them it depends on nothing but their length."""
    basic = encoding.octets(encoding.sequence(bytes(size)))
    body = encoding.sequence(encoding.object_identifier(_BASIC), basic)
    whole = encoding.sequence(encoding.enumerated(0), encoding.tagged(0, body))
    return whole[: len(whole) - size]


@cache
def _before_nonce(size: int) -> bytes:
    """What stands before the octets of a nonce of this size in responseExtensions."""
    value = encoding.octets(encoding.octets(bytes(size)))
    nonce = encoding.sequence(encoding.object_identifier(_NONCE), value)
    whole = encoding.tagged(1, encoding.sequence(nonce))
    return whole[: len(whole) - size]


def _cert_id(asked: Asked) -> bytes:
    oid = encoding.object_identifier(_DIGESTS[asked.digest][1])
    return encoding.sequence(
        encoding.sequence(oid, b"\x05\x00"),
        encoding.octets(asked.name_hash),
        encoding.octets(asked.key_hash),
        encoding.integer(asked.serial),
    )


def _cert_status(status: Status) -> bytes:
    if not status.known:
        return encoding.tagged(2, b"", constructed=False)
    if status.revoked_at is None:
        return encoding.tagged(0, b"", constructed=False)
    reason = b""
    if status.reason is not Reason.UNSPECIFIED:
        reason = encoding.tagged(0, encoding.enumerated(status.reason.code))
    return encoding.tagged(1, encoding.generalized_time(status.revoked_at) + reason)


def responder_of(certificate: x509.Certificate, algorithm: str, public_key: bytes, *, delegated: bool) -> Responder:
    """The responder behind a certificate."""
    raw = certificate.public_bytes(Encoding.DER) if delegated else b""
    return Responder(algorithm, public_key, raw)
