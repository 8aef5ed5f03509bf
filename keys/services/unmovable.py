"""Cells that cannot be moved, because they do not open or their store refuses to have them written: set aside.

What a store refuses, by a constraint or a trigger, is found by writing ever fewer rows at once; the others go on. What
it leaves as it is without a word is found by reading it again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.db import connection

from keys.datastores.base import NOT_TAKEN, Cell, Page, StoreAdapter, StoreRefused, WriteRefused
from keys.models import FailedItem, ReEncryptionJob

PAGE_ROWS = 100  # where rows are refused
PATIENT_PASSES = 2  # what was not written in so many was not only changed at that moment
MOST_REFUSED = 10_000  # more are not decided on one by one: it is not about single rows any more
_LONGEST = 400  # letters of what a store says

type Found = list[tuple[str, str, str]]
"""Cells by key, column and reason."""


def note(job: ReEncryptionJob, found: Found) -> int:
    """Keep cells that cannot be moved, each once a job; returns how many are new.

    Raises StoreRefused when by now the store refuses so many that a person has to see to what refuses them.
    """
    if not found:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO keys_faileditem (job_id, store_id, item, "column", reason, seen_at, resolution, resolved_by, resolution_note) '
            "SELECT %s, %s, i, c, r, now(), 'open', '', '' FROM unnest(%s::text[], %s::text[], %s::text[]) AS u(i, c, r) "
            "ON CONFLICT ON CONSTRAINT keys_failed_item_once DO NOTHING",
            [job.pk, job.store_id, *[list(column) for column in zip(*found, strict=True)]],
        )
        new = int(cursor.rowcount)
    _check_bound(job)
    return new


def write(
    job: ReEncryptionJob, adapter: StoreAdapter, page: Page, new: Sequence[Sequence[Cell]]
) -> tuple[set[str], dict[str, str]]:
    """`write_apart`; after PATIENT_PASSES rows that stay as they are without a word are among the refused ones, too."""
    written, refused = write_apart(adapter, page, new)
    if job.passes > PATIENT_PASSES:
        refused |= _left_as_read(adapter, page, written | refused.keys())
    return written, refused


def write_apart(adapter: StoreAdapter, page: Page, new: Sequence[Sequence[Cell]]) -> tuple[set[str], dict[str, str]]:
    """Write as much of a page as the store takes; the keys written, and by key what it said of the rows it refuses.

    Raises as `StoreAdapter.write`, but not WriteRefused.
    """
    if not page:
        return set(), {}
    try:
        return adapter.write(page, new), {}
    except WriteRefused as error:
        if len(page) == 1:
            return set(), {page.keys[0]: error.said}
    middle = len(page) // 2
    written, refused = write_apart(adapter, page[:middle], [cells[:middle] for cells in new])
    more, others = write_apart(adapter, page[middle:], [cells[middle:] for cells in new])
    return written | more, refused | others


def _left_as_read(adapter: StoreAdapter, page: Page, told: Collection[str]) -> dict[str, str]:
    """By key what is to be said of the other rows of a page that still are as they were read: a trigger may see to that."""
    before = {key: row for key, *row in _rows(page) if key not in told}
    if not before:
        return {}
    now = adapter.read_rows(sorted(before))
    return {key: NOT_TAKEN for key, *row in _rows(now) if row == before[key]}


def _rows(page: Page) -> Iterable[tuple[Any, ...]]:
    return zip(page.keys, *page.columns, *page.stamps, strict=True)


def refused_cells(names: Sequence[str], page: Page, new: Sequence[Sequence[Cell]], refused: Mapping[str, str]) -> Found:
    """The cells of refused rows that were to move."""
    return [
        (key, name, FailedItem.REFUSED + refused[key][:_LONGEST])
        for name, after, before in zip(names, new, page.columns, strict=bool(page))
        for key, now, was in zip(page.keys, after, before, strict=True)
        if key in refused and now is not was
    ]


def _check_bound(job: ReEncryptionJob) -> None:
    found = FailedItem.objects.filter(job=job, reason__startswith=FailedItem.REFUSED).order_by("pk")
    if beyond := found[MOST_REFUSED : MOST_REFUSED + 1].first():
        said = beyond.reason.removeprefix(FailedItem.REFUSED)
        raise StoreRefused(
            f"The database refuses more than {MOST_REFUSED:,} items ({said}).",
            hint="Lift what refuses them, then try again.",
        )
