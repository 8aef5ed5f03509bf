"""Two-phase issuance: build and sign with a throw-away key, lint, and only then sign the very same bytes once."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certificates import encoding, lint, pkix_lint, signing
from certificates.names import Name, NameRules, constraints_of, to_general_name
from certificates.profiles import PROFILES, Profile
from certificates.signing import Signer
from keyvault_portal.errors import ValidationFailed

# Clocks of relying parties run behind; a certificate begins a little before it is issued.
BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs: the algorithm of the key and its certificate, which is None while a root signs itself."""

    algorithm: str
    public_key: bytes
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where relying parties find the issuer's certificate, its CRL, its delta CRL and its OCSP responder."""

    issuer: str = ""
    crl: str = ""
    delta: str = ""
    ocsp: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """All that decides the bytes of one certificate."""

    profile: Profile
    public_key: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    common_name: str = ""
    organization: str = ""
    names: tuple[Name, ...] = ()
    subject: x509.Name | None = None  # instead of both: of a CA that has its name already
    path_length: int | None = None
    permitted: NameRules | None = None  # name constraints of a CA
    places: Places = field(default_factory=Places)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked certificate that wants nothing but the real signature; `throw_away` is the one that was linted."""

    algorithm: str
    to_be_signed: bytes
    throw_away: bytes
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the to-be-signed bytes, in hexadecimal."""
        return sha256(self.to_be_signed).hexdigest()


class LintFailed(ValidationFailed):
    """The certificate would break the rules; nothing was signed with the authority's key."""

    code, title = "lint_failed", "The certificate would break the rules"


def new_serial() -> int:
    """159 random bits, positive, at most 20 octets (RFC 5280, 4.1.2.2; BR 7.1 asks for 64)."""
    return x509.random_serial_number()


def key_identifier(public_key: bytes) -> bytes:
    """SHA-1 of the key's bits (RFC 5280, 4.2.1.2, method 1): a name, not a safeguard."""
    bits = encoding.parts(public_key, exactly=2)[1]
    return sha1(encoding.parser.parse(bits)[4][1:], usedforsecurity=False).digest()


def prepare(draft: Draft, issuer: Issuer) -> Prepared:
    """Build and lint; raises LintFailed naming every broken rule."""
    scheme = signing.scheme(issuer.algorithm)
    try:
        signed = scheme.sign_with_throw_away(_build(draft, issuer))
    except (ValueError, TypeError) as error:
        raise ValidationFailed(f"The certificate cannot be built: {error}.") from None
    raw = signed.public_bytes(Encoding.DER)
    findings = [*lint.lint(raw, draft.profile, issuer.certificate, issuer.public_key), *pkix_lint.lint(raw)]
    broken = [finding for finding in findings if finding.severity == lint.ERROR]
    if broken:
        raise LintFailed(
            "; ".join(f"{finding.rule}: {finding.detail}" for finding in broken),
            errors={"certificate": [f"{finding.rule}: {finding.detail}" for finding in broken]},
        )
    warnings = tuple(f"{finding.rule}: {finding.detail}" for finding in findings)
    return Prepared(issuer.algorithm, bytes(signed.tbs_certificate_bytes), raw, warnings)


def complete(prepared: Prepared, public_key: bytes, signer: Signer) -> bytes:
    """The certificate in DER: exactly the linted bytes, signed by `signer`; raises WrongSignature."""
    signature = signing.sign(prepared.algorithm, public_key, prepared.to_be_signed, signer)
    return signing.assemble(prepared.to_be_signed, signing.scheme(prepared.algorithm).identifier, signature)


def _build(draft: Draft, issuer: Issuer) -> x509.CertificateBuilder:
    profile = draft.profile
    subject = draft.subject or subject_of(draft.common_name, draft.organization)
    identifier = x509.SubjectKeyIdentifier(key_identifier(draft.public_key))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer.certificate else subject)
        .public_key(load_der_public_key(draft.public_key))  # type: ignore[arg-type]
        .serial_number(draft.serial)
        .not_valid_before(draft.not_before.astimezone(UTC).replace(microsecond=0))
        .not_valid_after(draft.not_after.astimezone(UTC).replace(microsecond=0))
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(_issuer_identifier(issuer), None, None), critical=False)
        .add_extension(_key_usage(profile), critical=True)
        .add_extension(x509.BasicConstraints(profile.ca, draft.path_length if profile.ca else None), critical=True)
    )
    if profile.extended_key_usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.extended_key_usage), critical=False)
    if draft.names:
        alternative = x509.SubjectAlternativeName([to_general_name(name) for name in draft.names])
        builder = builder.add_extension(alternative, critical=not list(subject))  # RFC 5280, 4.2.1.6
    if profile.ca and draft.permitted and (constraints := constraints_of(draft.permitted)):
        builder = builder.add_extension(constraints, critical=True)
    if profile.extended_key_usage == PROFILES["ocsp-responder"].extended_key_usage:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    return _with_places(builder, draft)


def subject_of(common_name: str, organization: str = "") -> x509.Name:
    """The subject: an organization that the authority vouches for, and a common name; either may be missing."""
    attributes = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes if value])


def _issuer_identifier(issuer: Issuer) -> bytes:
    if issuer.certificate is None:
        return key_identifier(issuer.public_key)
    try:
        return issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return key_identifier(issuer.public_key)


def _key_usage(profile: Profile) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
        "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in profile.key_usage for name in names})


def _with_places(builder: x509.CertificateBuilder, draft: Draft) -> x509.CertificateBuilder:
    if not draft.profile.revocation_info:
        return builder
    places = draft.places
    accesses = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in (
            (AuthorityInformationAccessOID.OCSP, places.ocsp),
            (AuthorityInformationAccessOID.CA_ISSUERS, places.issuer),
        )
        if url
    ]
    if accesses:
        builder = builder.add_extension(x509.AuthorityInformationAccess(accesses), critical=False)
    if places.crl:
        builder = builder.add_extension(x509.CRLDistributionPoints([point(places.crl)]), critical=False)
    if places.delta:
        builder = builder.add_extension(x509.FreshestCRL([point(places.delta)]), critical=False)
    return builder


def point(url: str) -> x509.DistributionPoint:
    """A distribution point that is one URL."""
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
