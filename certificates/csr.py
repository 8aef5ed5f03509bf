"""Certification requests (RFC 2986): read, checked, and reduced to what a profile may take from them."""

import re
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from certificates.names import Name, complaint, from_general_names
from certificates.profiles import Profile
from keyvault_portal.errors import ValidationFailed

MAX_BYTES = 64 * 1024
_PEM = re.compile(
    rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----.{20,}?-----END (?:NEW )?CERTIFICATE REQUEST-----", re.S
)
_WEAK_DIGESTS = {"md5", "sha1"}
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants certified: a public key (SubjectPublicKeyInfo), names, and a common name if one was given."""

    public_key: bytes
    names: tuple[Name, ...] = ()
    common_name: str = ""


def refused(field: str, sentence: str) -> ValidationFailed:
    """The error of one field; the sentence is also the detail, so that no caller has to look for it."""
    return ValidationFailed(sentence, errors={field: [sentence]})


def read(raw: bytes | str) -> Wanted:
    """The content of a PEM or DER request whose signature proves possession of the key; raises ValidationFailed."""
    data = raw.encode() if isinstance(raw, str) else raw
    if len(data) > MAX_BYTES:
        raise refused("csr", f"The request is larger than {MAX_BYTES // 1024} KiB.")
    request = _parse(data)
    try:
        digest = request.signature_hash_algorithm
        valid = request.is_signature_valid
        public = request.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise refused("csr", "The request uses an algorithm that is not supported.") from None
    if digest is not None and digest.name in _WEAK_DIGESTS:
        raise refused("csr", f"The request is signed with {digest.name.upper()}; use SHA-256 or better.")
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    check_public_key(spki, field="csr")
    if not valid:
        raise refused("csr", "The request's signature does not fit its key: possession is not proved.")
    return Wanted(spki, _names(request), _common_name(request))


def _parse(data: bytes) -> x509.CertificateSigningRequest:
    found = _PEM.search(data)
    try:
        if found:
            return x509.load_pem_x509_csr(found.group())
        return x509.load_der_x509_csr(data)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refused("csr", "This is no certification request (PKCS#10) in PEM or DER.") from None


def check_public_key(spki: bytes, *, field: str = "key") -> None:
    """Raise ValidationFailed for a key that is too weak or of a kind that is not certified (BR 6.1.5, 6.1.6)."""
    if wrong := _examined(spki)[0]:
        raise refused(field, wrong)


def plain_key(spki: bytes) -> bytes:
    """The key as the library writes it: in DER, whatever was read; raises ValueError for what is no key."""
    wrong, plain = _examined(spki)
    if not plain:
        raise ValueError(wrong)
    return plain


@lru_cache(maxsize=1024)
def _examined(spki: bytes) -> tuple[str, bytes]:
    """What is wrong with a public key, or nothing, and its plain form: an order, its draft and the built certificate ask of the same."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return "The public key cannot be read.", b""
    return _kind_complaint(key), key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _kind_complaint(key: object) -> str:
    match key:
        case rsa.RSAPublicKey():
            return _rsa_complaint(key)
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in _CURVES:
                return f"The curve {key.curve.name} is not certified; use P-256, P-384 or P-521."
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            pass
        case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey():
            pass
        case _:
            return "Keys of this kind are not certified."
    return ""


def _rsa_complaint(key: rsa.RSAPublicKey) -> str:
    if key.key_size < 2048:
        return f"RSA with {key.key_size} bits is too weak; at least 2048 bits."
    if key.key_size > 8192:
        return "RSA keys of more than 8192 bits are not certified."
    exponent = key.public_numbers().e
    if exponent < 65537 or exponent >= 2**256 or exponent % 2 == 0:
        return "The RSA exponent is below 65537, too large or even (BR 6.1.6)."
    return ""


def _names(request: x509.CertificateSigningRequest) -> tuple[Name, ...]:
    try:
        asked = {extension.oid: extension.value for extension in request.extensions}
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm):
        raise refused("csr", "The request's extensions cannot be read.") from None
    constraints, usage = asked.get(ExtensionOID.BASIC_CONSTRAINTS), asked.get(ExtensionOID.KEY_USAGE)
    alternative = asked.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise refused(
            "csr", "The request asks for a CA certificate (basicConstraints CA:TRUE); ask for a subordinate CA."
        )
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or usage.crl_sign):
        raise refused("csr", "The request asks to sign certificates or CRLs; ask for a subordinate CA.")
    if not isinstance(alternative, x509.SubjectAlternativeName):
        return ()
    names, others = from_general_names(alternative)
    if others:
        raise refused("csr", f"Names of the kind {others[0]} are not certified.")
    return tuple(names)


def _common_name(request: x509.CertificateSigningRequest) -> str:
    try:
        found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        raise refused("csr", "The request's subject cannot be read.") from None
    return str(found[0].value) if found else ""


def check_names(names: tuple[Name, ...], profile: Profile, *, field: str = "names") -> None:
    """Raise ValidationFailed for names that `profile` does not take, whatever any policy says."""
    if profile.san_required and not names:
        raise refused(field, f"A certificate for {profile.title} needs at least one name of: {_kinds(profile)}.")
    if len(names) > profile.max_names:
        raise refused(
            field, f"{len(names)} names; a certificate for {profile.title} holds at most {profile.max_names}."
        )
    if len(set(names)) != len(names):
        raise refused(field, "A name is listed twice.")
    for kind, value in names:
        if kind not in profile.san_kinds:
            raise refused(field, f"{kind}:{value} is not for {profile.title}; only {_kinds(profile)}.")
        if wrong := complaint((kind, value)):
            raise refused(field, f"{kind}:{value[:100]}: {wrong}.")
    if profile.name == "spiffe" and len(names) != 1:
        raise refused(field, "A SPIFFE certificate holds exactly one SPIFFE ID.")


def _kinds(profile: Profile) -> str:
    return ", ".join(sorted(profile.san_kinds)) or "none"


def common_name_of(wanted: Wanted, profile: Profile) -> str:
    """The common name the certificate will carry under `profile`; raises ValidationFailed."""
    match profile.subject:
        case "none":
            return ""
        case "first_name":
            # Never an address: clients read a common name as a name in DNS.
            first = next((value for kind, value in wanted.names if kind == "dns"), "")
            return first if len(first) <= 64 else ""
    if not re.fullmatch(profile.common_name, wanted.common_name):
        raise refused(
            "common_name", f"A certificate for {profile.title} needs a common name of letters, digits and . _ @ ' -"
        )
    return wanted.common_name
