"""Certificates brought in from elsewhere: PEM and PKCS#12, never trusted, their private keys never kept."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from asn1crypto import core as asn1
from asn1crypto import pkcs12 as asn1_pkcs12
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from django.db.models import Count, Exists, OuterRef, QuerySet

from certificates.csr import refused
from certificates.models import Authority, Certificate
from certificates.services.reading import columns, spki_of
from certificates.services.weaknesses import weaknesses_of
from keys.models import Key, KeyVersion
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit

MAX_BYTES, MAX_CERTIFICATES = 2**20, 500
MAX_ROUNDS = 2_000_000  # of a PKCS#12's key derivation: a file may ask for billions and so keep a worker busy for hours
_ROUND_FIELDS = {"iterations", "iteration_count"}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload brought: new rows, how many were known, and how many could not be read."""

    rows: list[Certificate] = field(default_factory=list)
    known: int = 0
    unreadable: int = 0


def upload(*, actor: Actor, ring: KeyRing, content: bytes, password: str = "", owner: Person | None = None) -> Uploaded:
    """Add the certificates of a PEM bundle, a DER file or a PKCS#12 to the inventory of a ring.

    Raises PermissionRefused, ValidationFailed (too large, no certificate in it, wrong password, a PKCS#12 whose key
    derivation would take too long).
    """
    with audit.atomic(
        actor=actor, action="certificate.upload", target=("ring", ring.pk, ring.name), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.CERTIFICATE_UPLOAD, ring_id=ring.pk, target=f"ring {ring.name}")
        if len(content) > MAX_BYTES:
            raise refused("file", f"At most {MAX_BYTES // 2**20} MiB.")
        found, unreadable = _read(content, password)
        if len(found) > MAX_CERTIFICATES:
            raise refused("file", f"At most {MAX_CERTIFICATES} certificates at a time.")
        raws = {sha256(raw).hexdigest(): raw for raw in (item.public_bytes(Encoding.DER) for item in found)}
        known = set(Certificate.objects.filter(ring=ring, fingerprint__in=raws).values_list("fingerprint", flat=True))
        keys = _keys_of_hierarchy(ring)
        rows = [_row(actor, ring, owner, raw, keys) for fingerprint, raw in raws.items() if fingerprint not in known]
        Certificate.objects.bulk_create(rows)
        _link(rows)
        act.record({"added": [row.fingerprint for row in rows], "known": len(known), "unreadable": unreadable})
    return Uploaded(rows, len(known), unreadable)


def _read(content: bytes, password: str) -> tuple[list[x509.Certificate], int]:
    if b"-----BEGIN CERTIFICATE-----" in content:
        return _read_pem(content)
    try:
        return [x509.load_der_x509_certificate(content)], 0
    except (ValueError, UnsupportedAlgorithm):
        return _read_pkcs12(content, password), 0


def _read_pem(content: bytes) -> tuple[list[x509.Certificate], int]:
    found, unreadable = [], 0
    for block in content.split(b"-----BEGIN CERTIFICATE-----")[1:]:
        body, end, _ = block.partition(b"-----END CERTIFICATE-----")
        try:
            if not end:
                raise ValueError
            found.append(x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----" + body + end))
        except (ValueError, UnsupportedAlgorithm):
            unreadable += 1
    if not found:
        raise refused("file", "None of the certificates in the file can be read.")
    return found, unreadable


def _read_pkcs12(content: bytes, password: str) -> list[x509.Certificate]:
    _refuse_bombs(content)
    try:
        _, leaf, others = pkcs12.load_key_and_certificates(content, password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise refused(
            "file", "This is no certificate in PEM, DER or PKCS#12, or the password does not open it."
        ) from None
    found = [item for item in (leaf, *others) if item is not None]
    if not found:
        raise refused("file", "There is no certificate in the file.")
    return found


def _refuse_bombs(content: bytes) -> None:
    """Raise ValidationFailed when some key derivation in the file asks for too many rounds, before one is begun."""
    try:
        pfx = asn1_pkcs12.Pfx.load(content, strict=True)
        rounds = [pfx["mac_data"]["iterations"].native or 1] if pfx["mac_data"].native else []
        for info in asn1_pkcs12.AuthenticatedSafe.load(pfx["auth_safe"]["content"].native):
            rounds += _rounds(info)
            if info["content_type"].native == "data":
                rounds += _rounds(asn1_pkcs12.SafeContents.load(info["content"].native))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise refused("file", "This is no certificate in PEM, DER or PKCS#12.") from None
    if any(not isinstance(number, int) or number > MAX_ROUNDS for number in rounds):
        raise refused("file", f"The file's key derivation asks for more than {MAX_ROUNDS:,} rounds; it is not opened.")


def _rounds(value: object) -> list[int]:
    """Every iteration count below an ASN.1 value."""
    found: list[int] = []
    if isinstance(value, asn1.Sequence):
        for name in [item[0] for item in value._fields] if value._fields else []:
            member = value[name]
            if name in _ROUND_FIELDS:
                found.append(member.native)
            else:
                found += _rounds(member)
    elif isinstance(value, asn1.SequenceOf | asn1.SetOf):
        for member in value:
            found += _rounds(member)
    elif isinstance(value, asn1.Choice):
        found += _rounds(value.chosen)
    elif isinstance(value, asn1.Any):
        found += _rounds(value.parsed) if value.contents is not None else []
    return found


def _keys_of_hierarchy(ring: KeyRing) -> dict[str, Key]:
    """Public keys of the hierarchy by the SHA-256 of their SPKI: a certificate of one of them has its private key here."""
    versions = KeyVersion.objects.filter(key__ring=ring, public_key__isnull=False).select_related("key")
    return {sha256(bytes(version.public_key or b"")).hexdigest(): version.key for version in versions.iterator()}


def _row(actor: Actor, ring: KeyRing, owner: Person | None, raw: bytes, keys: dict[str, Key]) -> Certificate:
    certificate = x509.load_der_x509_certificate(raw)
    key = keys.get(sha256(spki_of(certificate)).hexdigest())
    return Certificate(
        ring=ring, source=Certificate.Source.UPLOADED, key=key, owner=owner, owner_label=str(owner)[:200] if owner else "",
        key_origin=Certificate.KeyOrigin.HIERARCHY if key else Certificate.KeyOrigin.UNKNOWN, requested_by=actor.label[:200],
        weaknesses=weaknesses_of(certificate), **columns(raw),
    )  # fmt: skip


def _link(rows: list[Certificate]) -> None:
    """Find the next one up of each chain, among what came along and what is known; names only: nothing is trusted by it."""
    for row in rows:
        above = next((other for other in rows if other is not row and other.subject == row.issuer), None)
        if above is None and (ours := Authority.objects.filter(certificate__subject=row.issuer).first()):
            above = ours.certificate
        if above is not None and above.subject != row.subject:
            row.issued_under = above
    Certificate.objects.bulk_update([row for row in rows if row.issued_under_id], ["issued_under"])


def with_shared_keys(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Those whose key stands in another certificate too that is no renewal of theirs."""
    others = Certificate.objects.filter(spki_sha256=OuterRef("spki_sha256")).exclude(pk=OuterRef("pk"))
    return rows.filter(Exists(others))


def figures(rows: QuerySet[Certificate]) -> dict[str, Any]:
    """Counts by source for the head of the inventory."""
    return dict(rows.order_by().values_list("source").annotate(number=Count("pk")))
