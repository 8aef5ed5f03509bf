"""How many rows are read at once: few enough that their cells fit in memory, however large they are."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from uuid import UUID

from keys.datastores.base import Page

FIRST_ROWS = 10  # before anything is known of the cells
MOST_BYTES = 4 << 20  # of cells in a page; a worker holds a few pages at a time


class PageSize:
    """Bounds pages to about `MOST_BYTES`, judged by the mean row of the page read last."""

    def __init__(self) -> None:
        self._rows = FIRST_ROWS

    def learn(self, page: Page) -> None:
        """Judge by this page from now on; one without rows says nothing."""
        if page:
            size = sum(sum(map(len, filter(None, column))) for column in page.columns)
            self._rows = max(1, MOST_BYTES * len(page) // max(size, 1))

    def at_most(self, rows: int) -> int:
        """How many of so many rows may be read at once; at least one."""
        return min(rows, self._rows)

    def parts[Item](self, items: Iterable[Item], most: int) -> Iterator[list[Item]]:
        """The items, at most `most` at a time, of which a row each is read; the caller lets it learn in between."""
        left = iter(items)
        while part := list(islice(left, self.at_most(most))):
            yield part


@lru_cache(maxsize=256)
def page_size_of(store_id: UUID) -> PageSize:
    """What this process knows of a store's rows, so that not every short walk begins with a page of few."""
    return PageSize()
