"""What was set aside and is still as it was found: only that is left out of account, never another item in its stead."""

from collections.abc import Iterable
from contextlib import closing

from django.db.models import QuerySet

from keys.datastores.base import StoreAdapter
from keys.datastores.page_size import PageSize
from keys.models import DataStore, FailedItem, KeyVersion, Rotation
from keys.services import census
from keys.services.census import Standing, opens
from keys.services.opening import open_store
from keys.services.recoding import recoder
from keys.services.resolving import Resolver

PAGE_ROWS = 1_000


def given_up(rotation: Rotation) -> QuerySet[FailedItem]:
    """The items of a rotation that people gave up, in stores that are still followed."""
    items = FailedItem.objects.filter(job__rotation=rotation, store__deregistered_at=None)
    return items.filter(resolution=FailedItem.Resolution.GIVEN_UP).order_by("pk")


def undecided(store: DataStore, old: KeyVersion, new: KeyVersion, decided: QuerySet[FailedItem]) -> Standing:
    """What of the store stands on `old` or names no version, counted now and kept.

    What was decided on, and is still as it was, is left out. Raises StoreUnavailable and kin.
    """
    with closing(open_store(store)) as adapter:
        standing = census.standing(store, old, adapter=adapter)
        kept = still_there(decided.filter(store=store).iterator(), store, old, new, adapter)
    return Standing(max(0, standing.on - kept.on), max(0, standing.untold - kept.untold))


def still_there(
    items: Iterable[FailedItem], store: DataStore, old: KeyVersion, new: KeyVersion, adapter: StoreAdapter
) -> Standing:
    """Of these items of the store, those that stay on `old`, and those that name no version.

    What stays there cannot be read, or its store refuses to have it written. They are read again: one that was repaired,
    overwritten or deleted since does not count. Raises StoreUnavailable and kin.
    """
    on = untold = 0
    reader, resolver, size = recoder(store, old, new), Resolver(store), PageSize()
    try:
        for part in size.parts(items, PAGE_ROWS):
            wanted = {(item.item, item.column): item.reason.startswith(FailedItem.REFUSED) for item in part}
            page = adapter.read_rows(sorted({key for key, _ in wanted}))
            size.learn(page)
            reader.prepare(page)
            for key, column, cell, context, version in resolver.cells(adapter.columns, page):
                if (key, column) in wanted:
                    untold += version is None
                    on += version == old and (wanted[key, column] or not opens(reader, cell, context))
    finally:
        reader.close()
    return Standing(on, untold)
