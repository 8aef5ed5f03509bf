"""Certificates brought in from elsewhere: by file, by scan, by an agent; never trusted, their private keys never kept."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.cache import cache
from django.db.models import CharField, Count, Exists, F, Func, OuterRef, Q, QuerySet, Value
from django.utils import timezone

from certificates.models import Authority, Certificate, Sighting
from certificates.services import containers
from certificates.services.reading import columns
from certificates.services.weaknesses import weaknesses_of
from keys.models import Key, KeyVersion
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit

MET_OUTSIDE = (Certificate.Source.SCANNED, Certificate.Source.REPORTED)
DUE_DAYS = 30
COUNTED = 1_000  # counts go no further; more reads as "1,000+"
_ADOPTED, _STILL_MADE = "certificates:adopted-keys", 500
# The SHA-256 of a version's public half: a certificate that has the same one has its private key here.
_SPKI = Func(Func(F("public_key"), function="sha256"), Value("hex"), function="encode", output_field=CharField())


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What an upload brought: new rows, how many were known, and how many could not be read."""

    rows: list[Certificate] = field(default_factory=list)
    known: int = 0
    unreadable: int = 0


def upload(*, actor: Actor, ring: KeyRing, content: bytes, password: str = "", owner: Person | None = None) -> Uploaded:
    """Add the certificates of a PEM bundle, a DER file, a PKCS#12 or a Java key store to the inventory of a ring.

    Raises PermissionRefused, and ValidationFailed as `containers.read` does.
    """
    with audit.atomic(
        actor=actor, action="certificate.upload", target=("ring", ring.pk, ring.name), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.CERTIFICATE_UPLOAD, ring_id=ring.pk, target=f"ring {ring.name}")
        found, unreadable = containers.read(content, password)
        raws = [item.public_bytes(Encoding.DER) for item in found]
        taken = take_in(ring.pk, raws, Certificate.Source.UPLOADED, actor.label, owner)
        done = Uploaded(taken.added, len(taken.rows) - len(taken.added), unreadable)
        act.record({"added": [row.fingerprint for row in done.rows], "known": done.known, "unreadable": unreadable})
    return done


@dataclass(frozen=True, slots=True)
class Taken:
    """Certificates as they are known now, by their fingerprint, and those of them that nobody knew before."""

    rows: dict[str, Certificate]
    added: list[Certificate]


def take_in(ring_id: UUID, raws: Sequence[bytes], source: str, label: str, owner: Person | None = None) -> Taken:
    """The rows of these certificates in DER; those nobody knows are added to the ring.

    In the caller's transaction. One that an authority here issued is that authority's row, in whatever ring; what cannot
    be read is left out.
    """
    by_print = {sha256(raw).hexdigest(): raw for raw in raws}
    found, added = _known(ring_id, by_print), []
    if fresh := {fingerprint: raw for fingerprint, raw in by_print.items() if fingerprint not in found}:
        rows = _rows(label, ring_id, owner, fresh.values(), source)
        # Another worker may add the same one at this moment; then its row is the one.
        Certificate.objects.bulk_create(rows, ignore_conflicts=True)
        ours = {row.pk for row in rows}
        now_known = _known(ring_id, fresh)
        found |= now_known
        added = [row for row in now_known.values() if row.pk in ours]
        _link(added, found)
    return Taken(found, added)


def _known(ring_id: UUID, fingerprints: Iterable[str]) -> dict[str, Certificate]:
    wanted = Q(fingerprint__in=list(fingerprints))
    rows = Certificate.objects.defer("crl_entry").filter(
        wanted, Q(ring_id=ring_id) | Q(source=Certificate.Source.ISSUED)
    )
    return {row.fingerprint: row for row in rows}


def _rows(label: str, ring_id: UUID, owner: Person | None, raws: Iterable[bytes], source: str) -> list[Certificate]:
    """New rows for those that can be read, linked to their key where it is in the hierarchy."""
    read = []
    for raw in raws:
        try:
            read.append(columns(raw) | {"weaknesses": weaknesses_of(x509.load_der_x509_certificate(raw))})
        except (ValueError, UnsupportedAlgorithm):
            continue
    here = (
        KeyVersion.objects.filter(key__ring_id=ring_id, public_key__isnull=False)
        .annotate(spki=_SPKI)
        .select_related("key")
    )
    keys: dict[str, Key] = {
        version.spki: version.key for version in here.filter(spki__in={values["spki_sha256"] for values in read})
    }
    return [
        Certificate(
            ring_id=ring_id, source=source, key=keys.get(values["spki_sha256"]), owner=owner, owner_label=str(owner)[:200] if owner else "",
            key_origin=Certificate.KeyOrigin.HIERARCHY if values["spki_sha256"] in keys else Certificate.KeyOrigin.UNKNOWN,
            requested_by=label[:200], **values,
        )
        for values in read
    ]  # fmt: skip


def _link(rows: list[Certificate], along: dict[str, Certificate]) -> None:
    """Find the next one up of each chain, among what came along and what is known; names only: nothing is trusted by it."""
    ours = Authority.objects.filter(certificate__subject__in={row.issuer for row in rows}).select_related("certificate")
    by_subject = {item.certificate.subject: item.certificate for item in ours if item.certificate is not None}
    by_subject |= {row.subject: row for row in along.values()}
    for row in rows:
        above = by_subject.get(row.issuer)
        if above is not None and above.subject != row.subject:
            row.issued_under = above
    Certificate.objects.bulk_update([row for row in rows if row.issued_under_id], ["issued_under"])


def with_shared_keys(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Those whose key stands in another certificate too."""
    twice = Certificate.objects.values("spki_sha256").annotate(number=Count("pk")).filter(number__gt=1)
    return rows.filter(spki_sha256__in=twice.order_by().values("spki_sha256"))


def with_places(rows: QuerySet[Certificate], *, present: bool = True) -> QuerySet[Certificate]:
    """Those that are in use somewhere now, or (`present` False) that were and are no more."""
    seen = Sighting.objects.filter(certificate=OuterRef("pk"))
    here = Exists(seen.filter(gone_at=None))
    return rows.filter(here) if present else rows.filter(~here, Exists(seen))


def standing(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Without those that were only ever met outside and stand nowhere any more."""
    here = Sighting.objects.filter(certificate=OuterRef("pk"), gone_at=None)
    return rows.filter(~Q(source__in=MET_OUTSIDE) | Exists(here))


def due(rows: QuerySet[Certificate]) -> QuerySet[Certificate]:
    """Those that end within 30 days and nothing renews yet, and that still stand somewhere as far as is known."""
    now = timezone.now()
    renewed = Certificate.objects.filter(renews=OuterRef("pk"), state="valid")
    soon = rows.filter(state="valid", not_after__gt=now, not_after__lte=now + timedelta(days=DUE_DAYS))
    return standing(soon).filter(~Exists(renewed)).exclude(profile="ocsp-responder")


def figures(rows: QuerySet[Certificate]) -> dict[str, int]:
    """What stands on the head of the inventory; no count goes beyond 1,001."""
    wanted = {
        "due": due(rows), "weak": rows.exclude(weaknesses=[]), "shared": with_shared_keys(rows),
        "keyless": rows.filter(key_origin=Certificate.KeyOrigin.UNKNOWN),
    }  # fmt: skip
    return {name: found.order_by()[: COUNTED + 1].count() for name, found in wanted.items()}


def adopt_keys() -> int:
    """Note for certificates from elsewhere whose private key came into the hierarchy since; returns for how many.

    Only key versions younger than those of the last call are looked at, and some before: a provider that was asked for a
    key may be slow. A day after a whole look, or when the cache forgot, all are looked at again.
    """
    done, before = 0, cache.get(_ADOPTED, 0)
    unknown = Certificate.objects.filter(key_origin=Certificate.KeyOrigin.UNKNOWN)
    newest = KeyVersion.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    versions = KeyVersion.objects.filter(pk__gt=before - _STILL_MADE, public_key__isnull=False).annotate(spki=_SPKI)
    here = versions.filter(spki__in=unknown.values("spki_sha256"))
    for spki, key_id, ring_id in here.values_list("spki", "key_id", "key__ring_id"):
        rows = unknown.filter(spki_sha256=spki, ring_id=ring_id)
        done += rows.update(key_id=key_id, key_origin=Certificate.KeyOrigin.HIERARCHY)
    if not before:
        cache.set(_ADOPTED, newest, timeout=86_400)
    else:
        with suppress(ValueError):  # forgotten meanwhile
            cache.incr(_ADOPTED, newest - before)  # it ends a day after the whole look all the same
    return done
