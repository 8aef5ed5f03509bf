"""Certificates that agents report: what stands in files of hosts and in secrets of clusters."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import connection

from certificates.csr import refused
from certificates.models import Certificate, Sighting
from certificates.services import inventory, sightings
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit

MAX_ITEMS, MAX_CERTIFICATES, MAX_PEM = 1_000, 5_000, 100_000
KINDS = (Sighting.Kind.HOST.value, Sighting.Kind.KUBERNETES.value)


@dataclass(frozen=True, slots=True)
class Found:
    """One file or secret: its path, and its certificates in PEM, the own one first."""

    path: str
    pem: str


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report changed."""

    added: int
    known: int
    changed: int
    unreadable: tuple[str, ...]


def report(
    *, actor: Actor, ring: KeyRing, host: str, found: Sequence[Found], kind: str = KINDS[0], complete: bool = False
) -> Reported:
    """Take a host's or cluster's report of at most 1,000 places; the same report again changes nothing.

    A `complete` one names all there is: what is not in it stands there no more. A place whose PEM cannot be read is
    named in the answer and left as it was. Raises PermissionRefused, ValidationFailed (too much, a place twice).
    """
    target = ("host", host[:100], host[:200])
    with audit.atomic(actor=actor, action="certificate.report", target=target, ring_id=ring.pk) as act:
        authorize(actor, Permission.CERTIFICATE_REPORT, ring_id=ring.pk, target=f"ring {ring.name}")
        _check(host, found, kind)
        chains = {item.path: _read(item.pem) for item in found}
        raws = [raw for chain in chains.values() for raw in chain]
        if len(raws) > MAX_CERTIFICATES:
            raise refused("found", f"At most {MAX_CERTIFICATES:,} certificates a report.")
        _one_at_a_time(str(ring.pk), host)
        taken = inventory.take_in(ring.pk, raws, Certificate.Source.REPORTED, actor.label)
        rows = taken.rows
        prints = {path: [sha256(raw).hexdigest() for raw in chain] for path, chain in chains.items()}
        seen = {path: [rows[item] for item in found_there if item in rows] for path, found_there in prints.items()}
        unreadable = tuple(path for path, chain in seen.items() if not chain)
        readable = {path: chain for path, chain in seen.items() if chain}
        changed = sightings.note(ring.pk, kind, host, readable, actor.label)
        if complete:
            sightings.end_others(ring.pk, kind, host, chains)
        done = Reported(len(taken.added), len(rows) - len(taken.added), changed, unreadable)
        act.record(
            {"kind": kind, "places": len(found), "added": done.added, "changed": changed, "unreadable": len(unreadable)}
        )
    return done


def _check(host: str, found: Sequence[Found], kind: str) -> None:
    if kind not in KINDS:
        raise refused("kind", f"One of: {', '.join(KINDS)}.")
    if not host.isprintable() or not 1 <= len(host) <= 253:
        raise refused("host", "From 1 to 253 characters.")
    if not 1 <= len(found) <= MAX_ITEMS:
        raise refused("found", f"From 1 to {MAX_ITEMS:,} places a report.")
    times: dict[str, int] = defaultdict(int)
    for item in found:
        times[item.path] += 1
        if not item.path.isprintable() or not 1 <= len(item.path) <= 400:
            raise refused("found", "A path has from 1 to 400 characters that can be printed.")
        if len(item.pem) > MAX_PEM:
            raise refused("found", f"{item.path} has more than {MAX_PEM:,} characters.")
    if twice := next((path for path, number in times.items() if number > 1), ""):
        raise refused("found", f"{twice} is named twice.")


def _read(pem: str) -> list[bytes]:
    """The certificates of one place in DER; private keys beside them are never looked at."""
    found = []
    for block in pem.split("-----BEGIN CERTIFICATE-----")[1:11]:
        body, end, _ = block.partition("-----END CERTIFICATE-----")
        try:
            text = f"-----BEGIN CERTIFICATE-----{body}{end}".encode("ascii")
            found.append(x509.load_pem_x509_certificate(text).public_bytes(Encoding.DER))
        except (ValueError, UnsupportedAlgorithm):
            continue
    return found


def _one_at_a_time(ring_id: str, host: str) -> None:
    """Two agents of one host wait for each other, so that what stands at a place is decided by one of them at a time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"report {ring_id} {host}"])
