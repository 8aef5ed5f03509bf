"""Two-phase issuance: build, lint as if it were signed, and only then sign the very same bytes once.

The lint reads a whole certificate: the to-be-signed bytes under a throw-away signature of the right form. No rule looks at
its value, so all end entities of one template share one, by a key that nobody keeps.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certificates import encoding, lint, pkix_lint, signing
from certificates.csr import plain_key
from certificates.names import Name, NameRules, constraints_of, to_general_name
from certificates.profiles import PROFILES, Profile
from certificates.signing import Signer
from certificates.template import Template
from keyvault_portal.errors import ValidationFailed

# Clocks of relying parties run behind; a certificate begins a little before it is issued.
BACKDATE = timedelta(minutes=5)
MAX_COMMON_NAME = 64  # octets; the library refuses more (RFC 5280, appendix A: ub-common-name)
_SAMPLE_DAY = datetime(2026, 1, 1, tzinfo=UTC)


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
    """A checked certificate that wants nothing but the real signature; `throw_away` is what was linted, whole."""

    algorithm: str
    to_be_signed: bytes
    throw_away: bytes
    linted: x509.Certificate | None = None  # the same, as read
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
    try:
        to_be_signed, throw_away = _throw_away(draft, issuer)
    except (ValueError, TypeError) as error:
        raise ValidationFailed(f"The certificate cannot be built: {error}.") from None
    raw = signing.assemble(to_be_signed, signing.scheme(issuer.algorithm).identifier, throw_away)
    certificate, findings = lint.read(raw, draft.profile, issuer.certificate)
    findings += pkix_lint.lint(raw)
    broken = [finding for finding in findings if finding.severity == lint.ERROR]
    if broken:
        raise LintFailed(
            "; ".join(f"{finding.rule}: {finding.detail}" for finding in broken),
            errors={"certificate": [f"{finding.rule}: {finding.detail}" for finding in broken]},
        )
    warnings = tuple(f"{finding.rule}: {finding.detail}" for finding in findings)
    return Prepared(issuer.algorithm, to_be_signed, raw, certificate, warnings)


def complete(prepared: Prepared, public_key: bytes, signer: Signer) -> bytes:
    """The certificate in DER: exactly the linted bytes, signed by `signer`; raises WrongSignature."""
    return join(prepared, signing.sign(prepared.algorithm, public_key, prepared.to_be_signed, signer))


def join(prepared: Prepared, signature: bytes) -> bytes:
    """The certificate in DER, whose signature nobody has checked."""
    return signing.assemble(prepared.to_be_signed, signing.scheme(prepared.algorithm).identifier, signature)


def _throw_away(draft: Draft, issuer: Issuer) -> tuple[bytes, bytes]:
    """The to-be-signed bytes, and a throw-away signature to lint them with."""
    if draft.profile.ca or draft.subject is not None or len(draft.common_name.encode()) > MAX_COMMON_NAME:
        return _by_library(draft, issuer)
    template, signature = _template(
        issuer, draft.profile, draft.organization, draft.places, bool(draft.common_name), bool(draft.names)
    )
    filled = template.fill(
        serial=draft.serial, not_before=draft.not_before, not_after=draft.not_after, common_name=draft.common_name,
        public_key=plain_key(draft.public_key), key_identifier=key_identifier(draft.public_key), names=draft.names,
    )  # fmt: skip
    return filled, signature


@lru_cache(maxsize=512)
def _template(
    issuer: Issuer, profile: Profile, organization: str, places: Places, common_name: bool, names: bool
) -> tuple[Template, bytes]:
    """What all such drafts share, taken from one that the library builds and signs."""
    public = signing.scheme(issuer.algorithm).throw_away.public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sample = Draft(
        profile, spki, 1, _SAMPLE_DAY, _SAMPLE_DAY, "sample" if common_name else "", organization,
        (("dns", "sample.example"),) if names else (), places=places,
    )  # fmt: skip
    to_be_signed, signature = _by_library(sample, issuer)
    return Template.of(to_be_signed, common_name=common_name), signature


def _by_library(draft: Draft, issuer: Issuer) -> tuple[bytes, bytes]:
    signed = signing.scheme(issuer.algorithm).sign_with_throw_away(_build(draft, issuer))
    return bytes(signed.tbs_certificate_bytes), bytes(signed.signature)


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
