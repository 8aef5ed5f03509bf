"""From what a cell names to the key version it stands on."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from keys.datastores.base import Cell, Locator, Page
from keys.datastores.formats import located
from keys.models import DataKey, DataStore, KeyVersion


class Placed(NamedTuple):
    """A cell with where it stands: its row's key, its column, what it is bound to, and its version, None where it names none."""

    key: str
    column: str
    cell: Cell
    context: bytes | None
    version: KeyVersion | None


class Resolver:
    """Turns locators into versions of a store's key, asking the database once a name."""

    def __init__(self, store: DataStore) -> None:
        self._format = store.format
        self._key_id, self._versions = (
            store.key_id,
            {v.key_version: v for v in KeyVersion.objects.filter(key=store.key)},
        )
        self._arns = {version.kms_key_arn: version for version in self._versions.values()}
        self._data_keys: dict[UUID, int] = {}
        self._by_pk = {version.pk: version for version in self._versions.values()}

    def learn(self, locators: Iterable[Locator | None]) -> None:
        """Look the data keys among these up, in one query for each 10,000."""
        names = list({found.data_key_id for found in locators if found and found.data_key_id} - self._data_keys.keys())
        for start in range(0, len(names), 10_000):
            part = names[start : start + 10_000]
            self._data_keys |= dict(DataKey.objects.filter(pk__in=part).values_list("pk", "version_id"))

    def version(self, locator: Locator | None) -> KeyVersion | None:
        """The version a cell stands on, or None when it names none of this store's key."""
        if locator is None:
            return None
        if locator.form == "segment":
            return self._by_pk.get(self._data_keys.get(locator.data_key_id, -1))  # type: ignore[arg-type]
        if locator.form == "envelope":
            return self._arns.get(locator.arn or "")
        if locator.form == "direct" and locator.key_id != self._key_id:
            return None
        return self._versions.get(locator.version or 0)

    def cells(self, columns: Sequence[str], page: Page) -> Iterator[Placed]:
        """The cells of a page that hold something, row by row."""
        self.learn(located(self._format, cell) for column in page.columns for cell in column)
        for row in page:
            for column, cell, context in zip(columns, row.cells, row.contexts, strict=True):
                if cell is not None:
                    yield Placed(row.pk, column, cell, context, self.version(located(self._format, cell)))
