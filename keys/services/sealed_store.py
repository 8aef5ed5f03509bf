"""The portal's own sealed values as a data store: the same walk, in our own table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from keys.crypto.envelope import context_aad
from keys.datastores.base import Answer, Cell, Counted, Locator, Page, Row
from keys.datastores.formats import FORMATS
from keys.models import DataStore, SealedValue
from keys.services.sealing import value_context


class SealedValues:
    """A StoreAdapter over the sealed values that stand on the store's key; there are never many."""

    columns: Sequence[str] = ("ciphertext",)

    def __init__(self, store: DataStore) -> None:
        self._key_bytes = store.key_id.bytes

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    def count_by_version(self) -> list[Counted]:
        counts: Counter[Locator] = Counter(FORMATS["compact"].locate(bytes(blob)) for blob in self._blobs())
        return [Counted("ciphertext", locator, items) for locator, items in counts.items()]

    def boundaries(self, parts: int) -> list[str]:
        names = [str(pk) for pk in self._mine().order_by("pk").values_list("pk", flat=True)]
        step = max(1, len(names) // parts)
        return names[step - 1 :: step]

    def ask_page(self, after: str | None, upto: str | None, limit: int) -> Answer[Page]:
        rows = self._mine()
        rows = rows.filter(pk__gt=after) if after else rows
        rows = rows.filter(pk__lte=upto) if upto else rows
        found = _page(rows.order_by("pk")[:limit])
        return lambda: found

    def read_rows(self, keys: Sequence[str]) -> Page:
        return _page(self._mine().filter(pk__in=[UUID(key) for key in keys]))

    def sample(self, limit: int) -> Page:
        return _page(self._mine().order_by("pk")[:limit])

    def ask_write(self, page: Page, new: Sequence[Sequence[Cell]]) -> Answer[set[str]]:
        with transaction.atomic():
            written = {
                row.pk
                for row, cells in zip(page, zip(*new, strict=True), strict=True)
                if SealedValue.objects.filter(pk=row.pk, ciphertext=row.cells[0]).update(ciphertext=cells[0])
            }
        return lambda: written

    def write(self, page: Page, new: Sequence[Sequence[Cell]]) -> set[str]:
        return self.ask_write(page, new)()

    def settle(self) -> None:
        return

    def _mine(self) -> QuerySet[SealedValue]:
        return SealedValue.objects.extra(where=["substr(ciphertext, 3, 16) = %s"], params=[self._key_bytes])

    def _blobs(self) -> Iterable[bytes]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT ciphertext FROM sealed_values WHERE substr(ciphertext, 3, 16) = %s", [self._key_bytes]
            )
            return [bytes(row[0]) for row in cursor.fetchall()]


def _page(found: Iterable[SealedValue]) -> Page:
    return Page.of([Row(str(it.pk), (bytes(it.ciphertext),), (context_aad(value_context(it)),)) for it in found])
