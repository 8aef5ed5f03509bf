"""The census: how many items stand on which key version, counted in the stores themselves."""

from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from keys.datastores.base import Cell, StoreAdapter
from keys.models import CensusCount, DataStore, KeyVersion
from keys.services import rewrap
from keys.services.opening import open_store
from keys.services.recoding import Recoder, SetAside, recoder
from keys.services.resolving import Resolver
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError
from keyvault_portal.jobs import enqueue_on_commit
from keyvault_portal.visible import on_rings

SAMPLE = 200
FRESH = timedelta(hours=1)


class Sampled(NamedTuple):
    """A sampled re-read: how many cells were opened, how many could not be, how many stand on the version being left."""

    read: int
    unreadable: int
    left: int


class Standing(NamedTuple):
    """Items of a store that stand on a version, and those that name no version of its key and so may stand on any."""

    on: int
    untold: int


def count_store(store: DataStore, *, adapter: StoreAdapter | None = None) -> dict[tuple[str, int | None], int]:
    """Count the store now: (column, version id or None) to items. Raises StoreUnavailable and kin."""
    opened = adapter or open_store(store)
    try:
        counted = opened.count_by_version()
    finally:
        if adapter is None:
            opened.close()
    resolver = Resolver(store)
    resolver.learn(found.locator for found in counted)
    totals: Counter[tuple[str, int | None]] = Counter()
    for found in counted:
        version = resolver.version(found.locator)
        totals[found.column, version.pk if version else None] += found.items
    return dict(totals)


def standing(store: DataStore, version: KeyVersion, *, adapter: StoreAdapter | None = None) -> Standing:
    """What of the store stands on `version` or on none that can be told, counted now and kept."""
    counts = count_store(store, adapter=adapter)
    keep(store, counts)
    by_version: Counter[int | None] = Counter()
    for (_, version_id), items in counts.items():
        by_version[version_id] += items
    return Standing(by_version[version.pk], by_version[None])


def items_on(store: DataStore, version: KeyVersion) -> int:
    """How many items of the store stand on `version`, counted now and kept."""
    return standing(store, version).on


def lately_to_walk(store: DataStore, version_id: int) -> int:
    """How many items stood on the version or on none when the store was last counted; 0 when that is over an hour ago."""
    fresh = DataStore.objects.filter(pk=store.pk, census_at__gt=timezone.now() - FRESH)
    kept = CensusCount.objects.filter(Q(version_id=version_id) | Q(version=None), store__in=fresh)
    return kept.aggregate(total=Sum("items"))["total"] or 0


def keep(store: DataStore, counts: dict[tuple[str, int | None], int]) -> None:
    """Replace the kept counts of the store by these."""
    now = timezone.now()
    with transaction.atomic():
        if not DataStore.objects.select_for_update().filter(pk=store.pk).exists():
            return  # deregistered meanwhile
        CensusCount.objects.filter(store=store).delete()
        CensusCount.objects.bulk_create(
            [
                CensusCount(store=store, column=column, version_id=version_id, items=items, counted_at=now)
                for (column, version_id), items in sorted(
                    counts.items(), key=lambda entry: (entry[0][0], entry[0][1] or 0)
                )
            ]
        )
        DataStore.objects.filter(pk=store.pk).update(census_at=now, last_error="")


def take(store: DataStore) -> None:
    """Count the store and keep the result, or keep why it could not be counted."""
    try:
        keep(store, count_store(store))
    except PortalError as error:
        DataStore.objects.filter(pk=store.pk).update(last_error=error.detail)


def request_count(*, actor: Actor, store_id: UUID) -> None:
    """Have a worker take the census of one store; raises NotFound, PermissionRefused."""
    from keys.tasks import take_census

    store = DataStore.objects.filter(pk=store_id).first()
    if store is None:
        raise NotFound("There is no such data store.")
    with audit.atomic(
        actor=actor, action="census.request", target=("store", store.pk, store.name), ring_id=store.ring_id
    ) as act:
        authorize(actor, Permission.STORE_VIEW, ring_id=store.ring_id, target=str(store))
        enqueue_on_commit(take_census, str(store.pk))
        act.record()


def live_items(version: KeyVersion) -> int:
    """Everything that stands on `version`, counted now: cells of every store of its key, and keys it wraps."""
    stores = DataStore.objects.filter(key_id=version.key_id)
    return rewrap.count(version.pk) + sum(items_on(store, version) for store in stores)


def sample(
    version: KeyVersion, new: KeyVersion, given_up: Collection[tuple[UUID, str, str]], size: int = SAMPLE
) -> Sampled:
    """Open cells from all over the stores of the version's key, to see that what was moved can be read.

    `given_up` names cells, by store, key and column, that nobody expects to open.
    """
    read = unreadable = left = 0
    for store in DataStore.objects.filter(key_id=version.key_id):
        adapter, reader, resolver = open_store(store), recoder(store, version, new), Resolver(store)
        try:
            for rows in adapter.sample(size):
                reader.prepare(rows)
                for key, column, cell, context, standing_on in resolver.cells(adapter.columns, rows):
                    if (store.pk, key, column) in given_up:
                        continue
                    left += standing_on == version
                    if standing_on and (
                        standing_on.state is VersionState.DESTROYED
                        or (standing_on.state is VersionState.SUSPENDED and standing_on != new)
                    ):
                        continue  # given up with its version, or not to move and not to be read now
                    if opens(reader, cell, context):
                        read += 1
                    else:
                        unreadable += 1
        finally:
            reader.close()
            adapter.close()
    return Sampled(read, unreadable, left)


def opens(reader: Recoder, cell: Cell, context: bytes | None) -> bool:
    """Whether the cell can be read."""
    try:
        reader.open(cell, context)
    except SetAside:
        return False
    return True


def stored_counts(version_ids: Collection[int]) -> dict[int, int]:
    """Items per version as last counted."""
    rows = CensusCount.objects.filter(version_id__in=version_ids).values("version_id").annotate(total=Sum("items"))
    return {row["version_id"]: row["total"] for row in rows}


def stored_for_key(key_id: UUID) -> list[CensusCount]:
    """The last counts of every store of a key; unreadable items are among them."""
    rows = CensusCount.objects.filter(store__key_id=key_id).select_related("store", "version__key")
    return list(rows.order_by("store__name", "column", "-version__key_version")[:200])


def stored_for_store(store_id: UUID) -> list[CensusCount]:
    """The last counts of one store."""
    return list(
        CensusCount.objects.filter(store_id=store_id)
        .select_related("version__key")
        .order_by("column", "-version__key_version")[:200]
    )


def visible_counts(actor: Actor) -> QuerySet[CensusCount]:
    """The counts that `actor` may see."""
    return on_rings(CensusCount.objects.all(), actor.ring_ids(Permission.STORE_VIEW), "store__ring_id")
