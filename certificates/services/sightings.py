"""Where certificates stand: places noted as they are seen, ended when something else stands there, linked as renewals."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from certificates.models import Certificate, Sighting
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.visible import on_rings


def note(ring_id: UUID, kind: str, host: str, chains: Mapping[str, Sequence[Certificate]], by: str) -> int:
    """Write down which chains, their own certificate first, stand now at these paths of a host; returns at how many it is another.

    In the caller's transaction, which lets nobody else write about the host. What stood at a path before is gone from
    it; a certificate for the same names that took its place renews it.
    """
    now = timezone.now()
    here = Sighting.objects.filter(ring_id=ring_id, kind=kind, host=host, path__in=chains, gone_at=None)
    before: dict[str, list[Sighting]] = defaultdict(list)
    for row in here.select_related("certificate"):
        before[row.path].append(row)
    gone, rows, changed = [], [], 0
    for path, chain in chains.items():
        ids = {row.pk for row in chain}
        gone += [row.pk for row in before[path] if row.certificate_id not in ids]
        rows += [
            Sighting(
                certificate=row, ring_id=ring_id, kind=kind, host=host, path=path, position=position, reported_by=by[:200],
                first_seen_at=now, last_seen_at=now,
            )
            for position, row in enumerate(dict.fromkeys(chain))
        ]  # fmt: skip
        old = next((row.certificate for row in before[path] if row.position == 0), None)
        if old is not None and chain and old.pk != chain[0].pk:
            _renewed(old, chain[0])
            changed += 1
    Sighting.objects.filter(pk__in=gone).update(gone_at=now)
    Sighting.objects.bulk_create(
        rows, batch_size=1_000, update_conflicts=True, unique_fields=["certificate", "ring", "kind", "host", "path"],
        update_fields=["last_seen_at", "gone_at", "position", "reported_by"],
    )  # fmt: skip
    return changed


def visible_places(actor: Actor, row: Certificate) -> QuerySet[Sighting]:
    """Where a certificate stands and stood, in rings that `actor` may see; what stands there now first."""
    rows = Sighting.objects.filter(certificate=row).order_by(F("gone_at").desc(nulls_first=True), "-last_seen_at")
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW))


def end(ring_id: UUID, kind: str, host: str, path: str) -> int:
    """Nobody looks there any more; returns how many certificates that concerns."""
    rows = Sighting.objects.filter(ring_id=ring_id, kind=kind, host=host, path=path, gone_at=None)
    return rows.update(gone_at=timezone.now())


def end_others(ring_id: UUID, kind: str, host: str, paths: Iterable[str]) -> int:
    """Nothing stands at the other paths of a host any more; returns how many certificates that concerns."""
    rows = Sighting.objects.filter(ring_id=ring_id, kind=kind, host=host, gone_at=None).exclude(path__in=list(paths))
    return rows.update(gone_at=timezone.now())


def _renewed(old: Certificate, new: Certificate) -> None:
    """The new one renews the old one when it lives on longer, stands for all its names, and renews nothing else."""
    if new.renews_id is None and new.not_after > old.not_after and set(old.names) <= set(new.names):
        Certificate.objects.filter(~Q(pk=old.pk), pk=new.pk, renews=None).update(renews=old)
