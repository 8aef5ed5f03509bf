"""Our own lint of a certificate before it is signed: RFC 5280 and, for TLS servers, the CA/Browser Forum's BR.

It reads the built bytes, not the request, so that a fault of the builder is found as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID as Oid
from cryptography.x509.oid import NameOID

from certificates.csr import check_public_key
from certificates.names import complaint, forbidden_by, from_general_names
from certificates.profiles import Profile
from keyvault_portal.errors import ValidationFailed

ERROR, WARNING = "error", "warning"
_KNOWN = {
    Oid.SUBJECT_KEY_IDENTIFIER, Oid.AUTHORITY_KEY_IDENTIFIER, Oid.KEY_USAGE, Oid.BASIC_CONSTRAINTS, Oid.EXTENDED_KEY_USAGE,
    Oid.SUBJECT_ALTERNATIVE_NAME, Oid.NAME_CONSTRAINTS, Oid.OCSP_NO_CHECK, Oid.AUTHORITY_INFORMATION_ACCESS,
    Oid.CRL_DISTRIBUTION_POINTS, Oid.FRESHEST_CRL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule, named after its clause."""

    rule: str
    detail: str
    severity: str = ERROR


@dataclass(frozen=True, slots=True)
class _Issuer:
    """What the rules want to know of an issuer's certificate; an extension that it has not is None."""

    subject: x509.Name
    not_after: datetime
    identifier: bytes | None
    constraints: x509.NameConstraints | None
    basic: x509.BasicConstraints | None


@lru_cache(maxsize=128)
def _issuer(certificate: x509.Certificate) -> _Issuer:
    found = {extension.oid: extension.value for extension in certificate.extensions}
    identifier: Any = found.get(Oid.SUBJECT_KEY_IDENTIFIER)
    constraints: Any = found.get(Oid.NAME_CONSTRAINTS)
    basic: Any = found.get(Oid.BASIC_CONSTRAINTS)
    digest = identifier.digest if identifier is not None else None
    return _Issuer(certificate.subject, certificate.not_valid_after_utc, digest, constraints, basic)


@dataclass(frozen=True, slots=True)
class _Case:
    certificate: x509.Certificate
    profile: Profile
    issuer: _Issuer | None
    extensions: dict[x509.ObjectIdentifier, Any]  # with their criticality

    def extension(self, oid: x509.ObjectIdentifier) -> Any:
        """The extension with its criticality, or None."""
        return self.extensions.get(oid)


def lint(raw: bytes, profile: Profile, issuer: x509.Certificate | None) -> list[Finding]:
    """All findings on a certificate in DER; `issuer` is None for a root."""
    return read(raw, profile, issuer)[1]


def read(
    raw: bytes, profile: Profile, issuer: x509.Certificate | None
) -> tuple[x509.Certificate | None, list[Finding]]:
    """As `lint`, with the certificate as it was read, if it can be."""
    certificate = None
    try:
        certificate = x509.load_der_x509_certificate(raw)
        extensions = {extension.oid: extension for extension in certificate.extensions}
        case = _Case(certificate, profile, _issuer(issuer) if issuer is not None else None, extensions)
        return certificate, [finding for rule in _RULES for finding in rule(case)]
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        return certificate, [Finding("RFC 5280, 4.1", f"the certificate cannot be read: {error}")]


def _form(case: _Case) -> Iterator[Finding]:
    certificate = case.certificate
    if certificate.version is not x509.Version.v3:
        yield Finding("RFC 5280, 4.1.2.1", "not version 3")
    if not 0 < certificate.serial_number < 2**159:
        yield Finding("RFC 5280, 4.1.2.2", "the serial number is not positive or longer than 20 octets")
    elif certificate.serial_number < 2**64:
        yield Finding("BR 7.1", "the serial number has fewer than 64 bits")
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in {"md5", "sha1"}:
        yield Finding("BR 7.1.3.2", f"signed with {digest.name}")
    for oid in case.extensions:
        if oid not in _KNOWN:
            yield Finding("RFC 5280, 4.2", f"the extension {oid.dotted_string} belongs to no profile")


def _validity(case: _Case) -> Iterator[Finding]:
    start, end = case.certificate.not_valid_before_utc, case.certificate.not_valid_after_utc
    if end <= start:
        yield Finding("RFC 5280, 4.1.2.5", "it ends before it begins")
    days = case.profile.most_days(start.date())
    if end - start + timedelta(seconds=1) > timedelta(days=days):  # both ends count (RFC 5280, 4.1.2.5)
        yield Finding("BR 6.3.2", f"it lives longer than the {days} days that its profile allows on its first day")
    if case.issuer is not None and end > case.issuer.not_after:
        yield Finding("RFC 5280, 6.1.3", "it outlives its issuer")


def _key(case: _Case) -> Iterator[Finding]:
    try:
        check_public_key(case.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except ValidationFailed as error:
        yield Finding("BR 6.1.5", error.detail)


def _identifiers(case: _Case) -> Iterator[Finding]:
    authority = case.extension(Oid.AUTHORITY_KEY_IDENTIFIER)
    if authority is None or not authority.value.key_identifier:
        yield Finding("RFC 5280, 4.2.1.1", "no authority key identifier")
    if case.extension(Oid.SUBJECT_KEY_IDENTIFIER) is None:
        yield Finding("RFC 5280, 4.2.1.2", "no subject key identifier")
    if case.issuer is None:
        if case.certificate.issuer != case.certificate.subject:
            yield Finding("RFC 5280, 3.2", "a root is issued by itself")
        return
    if case.certificate.issuer != case.issuer.subject:
        yield Finding("RFC 5280, 4.1.2.4", "the issuer's name is not the issuer's subject")
    theirs = case.issuer.identifier
    if theirs is not None and authority is not None and authority.value.key_identifier != theirs:
        yield Finding("RFC 5280, 4.2.1.1", "the authority key identifier is not the issuer's")


def _usage(case: _Case) -> Iterator[Finding]:
    basic, usage = case.extension(Oid.BASIC_CONSTRAINTS), case.extension(Oid.KEY_USAGE)
    if basic is None or not basic.critical:
        yield Finding("RFC 5280, 4.2.1.9", "basic constraints are missing or not critical")
    elif basic.value.ca != case.profile.ca:
        yield Finding("RFC 5280, 4.2.1.9", "the CA flag is not that of the profile")
    if usage is None or not usage.critical:
        yield Finding("RFC 5280, 4.2.1.3", "key usage is missing or not critical")
    elif usage.value.key_cert_sign != case.profile.ca or usage.value.crl_sign != case.profile.ca:
        yield Finding("RFC 5280, 4.2.1.3", "keyCertSign and cRLSign are for CAs, and CAs have them")
    extended = case.extension(Oid.EXTENDED_KEY_USAGE)
    purposes = tuple(extended.value) if extended is not None else ()
    if set(purposes) != set(case.profile.extended_key_usage):
        yield Finding("RFC 5280, 4.2.1.12", "the extended key usage is not that of the profile")
    if "ocsp" in case.profile.name and case.extension(Oid.OCSP_NO_CHECK) is None:
        yield Finding("RFC 6960, 4.2.2.2.1", "a responder's certificate has no id-pkix-ocsp-nocheck")


def _names(case: _Case) -> Iterator[Finding]:
    alternative = case.extension(Oid.SUBJECT_ALTERNATIVE_NAME)
    names, others = from_general_names(alternative.value) if alternative is not None else ([], [])
    subject = list(case.certificate.subject)
    if not subject and case.profile.ca:
        yield Finding("RFC 5280, 4.1.2.6", "a CA has a subject")
    if not subject and (alternative is None or not alternative.critical):
        yield Finding("RFC 5280, 4.2.1.6", "without a subject the alternative names are there and critical")
    if case.profile.san_required and not names:
        yield Finding("BR 7.1.2.7.12", "no alternative name")
    if others:
        yield Finding("BR 7.1.2.7.12", f"a name of the kind {others[0]}")
    if len(set(names)) != len(names):
        yield Finding("RFC 5280, 4.2.1.6", "a name is listed twice")
    for kind, value in names:
        if kind not in case.profile.san_kinds:
            yield Finding("profile", f"{kind} names are not for {case.profile.title}")
        if wrong := complaint((kind, value)):
            yield Finding("RFC 5280, 4.2.1.6", f"{kind}:{value[:80]} is {wrong}")
    for attribute in case.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if case.profile.subject == "first_name" and attribute.value not in {value for _, value in names}:
            yield Finding("BR 7.1.4.3", "the common name is not among the alternative names")
    if case.issuer is None or case.issuer.constraints is None:
        return
    for kind, value in forbidden_by(case.issuer.constraints, names):
        yield Finding("RFC 5280, 4.2.1.10", f"{kind}:{value} is outside the issuer's name constraints")


def _path(case: _Case) -> Iterator[Finding]:
    if case.issuer is None:
        return
    above = case.issuer.basic
    if above is None or not above.ca:
        yield Finding("RFC 5280, 6.1.4", "the issuer is no CA")
        return
    if not case.profile.ca or above.path_length is None:
        return
    own = case.extension(Oid.BASIC_CONSTRAINTS)
    if above.path_length == 0:
        yield Finding("RFC 5280, 4.2.1.9", "the issuer's path length allows no CA below it")
    elif own is None or own.value.path_length is None or own.value.path_length >= above.path_length:
        yield Finding("RFC 5280, 4.2.1.9", f"the path length must be below the issuer's {above.path_length}")


def _revocation(case: _Case) -> Iterator[Finding]:
    if not case.profile.revocation_info:
        return
    if case.extension(Oid.CRL_DISTRIBUTION_POINTS) is None and case.extension(Oid.AUTHORITY_INFORMATION_ACCESS) is None:
        yield Finding("BR 7.1.2.7.7", "nobody can look up whether it is revoked", WARNING)


_RULES: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    _form, _validity, _key, _identifiers, _usage, _names, _path, _revocation,
)  # fmt: skip
