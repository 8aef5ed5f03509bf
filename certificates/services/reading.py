"""What an actor may see of authorities and certificates, and what a certificate says, as columns."""

from hashlib import sha256
from typing import Any
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db.models import Q, QuerySet
from django.utils import timezone

from certificates.issuance import Issuer
from certificates.models import Authority, Certificate
from certificates.names import from_general_names
from certificates.services.signers import public_key_of
from certificates.states import CertificateState
from keys.models import KeyVersion
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.visible import found, on_rings

MAX_CHAIN = 8


def visible_authorities(actor: Actor) -> QuerySet[Authority]:
    """The authorities `actor` may see."""
    return on_rings(Authority.objects.all(), actor.ring_ids(Permission.CERTIFICATE_VIEW))


def visible_certificates(actor: Actor) -> QuerySet[Certificate]:
    """The certificates `actor` may see, without their DER."""
    rows = Certificate.objects.defer("der", "crl_entry")
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW))


def visible_authority(actor: Actor, authority_id: UUID) -> Authority:
    """One authority; raises NotFound when it does not exist or may not be seen: the two look alike."""
    related = ("ring", "parent", "key", "key_version__key", "certificate", "responder")
    return found(visible_authorities(actor).select_related(*related), authority_id, "authority")


def visible_certificate(actor: Actor, certificate_id: UUID) -> Certificate:
    """One certificate; raises NotFound as `visible_authority` does."""
    related = ("ring", "authority", "issued_under", "owner", "key")
    return found(visible_certificates(actor).select_related(*related), certificate_id, "certificate")


def search(rows: QuerySet[Certificate], text: str) -> QuerySet[Certificate]:
    """Those whose names or subject hold `text`, or whose serial number or fingerprint begins with it, with or without colons."""
    text = text.strip().lower()
    found, bare = Q(search__contains=text), text.replace(":", "")
    if len(bare) >= 4 and set(bare) <= set("0123456789abcdef"):
        found |= Q(fingerprint__startswith=bare)
        if number := bare.lstrip("0"):  # serial numbers are kept without them
            found |= Q(serial__startswith=number)
    return rows.filter(found)


def issuer_of(authority: Authority) -> Issuer:
    """The authority as the pure part knows it."""
    certificate = parse(authority.certificate) if authority.certificate is not None else None
    return Issuer(authority.key.algorithm, public_key_of(authority.key_version), certificate)


def parse(row: Certificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes(row.der))


def chain_of(row: Certificate) -> list[Certificate]:
    """The certificates above one, the nearest first, the root last where it is known; none are above a root."""
    found: list[Certificate] = []
    above = row.issued_under if row.issued_under_id != row.pk else None
    while above is not None and len(found) < MAX_CHAIN and above.pk not in {item.pk for item in found}:
        found.append(above)
        above = above.issued_under if above.issued_under_id != above.pk else None
    return found


def signing_chain(version: KeyVersion) -> list[bytes]:
    """The newest valid certificate of a key that may sign documents (RFC 9336), and those above it, in DER."""
    digest = sha256(public_key_of(version)).hexdigest()
    rows = Certificate.objects.filter(
        key_id=version.key_id, spki_sha256=digest, profile="document-signing", state=CertificateState.VALID.value, not_after__gt=timezone.now()
    )  # fmt: skip
    found = rows.order_by("-not_before").first()
    return [bytes(row.der) for row in (found, *chain_of(found))] if found is not None else []


def pem(*rows: Certificate) -> str:
    return "".join(parse(row).public_bytes(Encoding.PEM).decode() for row in rows)


def columns(raw: bytes, read: x509.Certificate | None = None) -> dict[str, Any]:
    """The columns of a certificate row that its DER decides; `read` is one with the same to-be-signed bytes, if known."""
    certificate = read or x509.load_der_x509_certificate(raw)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [without_nul(f"{kind}:{value}") for kind, value in from_general_names(alternative)[0]]
    except (x509.ExtensionNotFound, ValueError):
        names = []
    serial = f"{certificate.serial_number:x}"
    fingerprint = sha256(raw).hexdigest()
    subject = without_nul(certificate.subject.rfc4514_string())[:300]
    public = certificate.public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "der": raw, "serial": serial[:40], "fingerprint": fingerprint, "subject": subject, "names": names,
        "issuer": without_nul(certificate.issuer.rfc4514_string())[:300],
        "spki_sha256": sha256(spki).hexdigest(),
        "key_algorithm": key_algorithm(public),
        "signature_algorithm": signature_algorithm(certificate),
        "not_before": certificate.not_valid_before_utc, "not_after": certificate.not_valid_after_utc,
        "search": " ".join([subject, *names]).lower()[:20_000],
    }  # fmt: skip


def signature_algorithm(certificate: x509.Certificate) -> str:
    """Words for the algorithm, with the digest where its own name does not say it (RSASSA-PSS)."""
    name, digest = certificate.signature_algorithm_oid._name, certificate.signature_hash_algorithm
    return name if digest is None or digest.name in name.lower() else f"{name} {digest.name}"


def without_nul(text: str) -> str:
    """The text without NUL, which a hostile certificate may hold and PostgreSQL does not."""
    return text.replace("\0", "\ufffd")


def spki_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_algorithm(key: object) -> str:
    """Words for a public key: its kind and size."""
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name}"
    return _KINDS.get(type(key).__name__.removesuffix("PublicKey"), type(key).__name__)


_KINDS = {
    "MLDSA44": "ML-DSA-44",
    "MLDSA65": "ML-DSA-65",
    "MLDSA87": "ML-DSA-87",
    "Ed25519": "Ed25519",
    "Ed448": "Ed448",
}
