"""CRLs (RFC 5280, 5): entries are made once as DER and joined, so a list costs one signature whatever its length."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from certificates import encoding, signing
from certificates.issuance import Issuer, key_identifier, point
from certificates.signing import Signer
from certificates.states import REMOVE_FROM_CRL, Reason

_REASON, _INVALIDITY = "2.5.29.21", "2.5.29.24"


@dataclass(frozen=True, slots=True)
class Plan:
    """One list to be signed: `scope` is the URL of its partition, `base` the number a delta CRL builds on."""

    number: int
    this_update: datetime
    next_update: datetime
    scope: str = ""
    freshest: str = ""
    base: int | None = None


def pem(raw: bytes) -> bytes:
    """A list as text (RFC 7468, 6), unread: it may hold a hundred thousand entries."""
    text = b64encode(raw)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN X509 CRL-----", *lines, b"-----END X509 CRL-----", b""])


def entry(serial: int, revoked_at: datetime, reason: Reason, invalid_since: datetime | None = None) -> bytes:
    """One member of revokedCertificates in DER (RFC 5280, 5.3); no reason code for `unspecified`, as 5.3.1 asks."""
    extensions = b""
    if reason is not Reason.UNSPECIFIED:
        extensions += _entry_extension(_REASON, encoding.enumerated(reason.code))
    if invalid_since is not None:
        extensions += _entry_extension(_INVALIDITY, encoding.generalized_time(invalid_since))
    return _entry(serial, revoked_at, extensions)


def removal(serial: int, at: datetime) -> bytes:
    """The entry of a delta CRL that takes a hold back: removeFromCRL (RFC 5280, 5.3.1)."""
    return _entry(serial, at, _entry_extension(_REASON, encoding.enumerated(REMOVE_FROM_CRL)))


def _entry(serial: int, at: datetime, extensions: bytes) -> bytes:
    more = encoding.sequence(extensions) if extensions else b""
    return encoding.sequence(encoding.integer(serial), encoding.time(at), more)


def _entry_extension(oid: str, value: bytes) -> bytes:
    return encoding.sequence(encoding.object_identifier(oid), encoding.octets(value))


def build(plan: Plan, issuer: Issuer, entries: Iterable[bytes], signer: Signer) -> bytes:
    """The signed CRL in DER; raises WrongSignature."""
    to_be_signed = _to_be_signed(plan, issuer, entries)
    signature = signing.sign(issuer.algorithm, issuer.public_key, to_be_signed, signer)
    return signing.assemble(to_be_signed, signing.scheme(issuer.algorithm).identifier, signature)


def _to_be_signed(plan: Plan, issuer: Issuer, entries: Iterable[bytes]) -> bytes:
    assert issuer.certificate is not None
    joined = b"".join(entries)
    return encoding.sequence(
        encoding.integer(1),  # v2
        signing.scheme(issuer.algorithm).identifier,
        issuer.certificate.subject.public_bytes(),
        encoding.time(plan.this_update),
        encoding.time(plan.next_update),
        encoding.sequence(joined) if joined else b"",  # absent when nothing is revoked (5.1.2.6)
        encoding.tagged(0, encoding.sequence(*_extensions(plan, issuer))),
    )


def _extensions(plan: Plan, issuer: Issuer) -> Iterable[bytes]:
    yield encoding.extension(x509.AuthorityKeyIdentifier(_identifier(issuer), None, None))
    yield encoding.extension(x509.CRLNumber(plan.number))
    if plan.base is not None:
        yield encoding.extension(x509.DeltaCRLIndicator(plan.base), critical=True)
    if plan.scope:
        scope = x509.IssuingDistributionPoint(
            [x509.UniformResourceIdentifier(plan.scope)], None, False, False, None, False, False
        )
        yield encoding.extension(scope, critical=True)
    if plan.freshest and plan.base is None:
        yield encoding.extension(x509.FreshestCRL([point(plan.freshest)]))


def _identifier(issuer: Issuer) -> bytes:
    assert issuer.certificate is not None
    try:
        return issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return key_identifier(issuer.public_key)
