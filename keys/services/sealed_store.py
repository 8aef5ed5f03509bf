"""The portal's own sealed values as a data store: the same walk, in our own table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import transaction

from keys.crypto.envelope import context_aad
from keys.datastores.base import Answer, Cell, Counted, Page, Row
from keys.datastores.formats import FORMATS
from keys.models import SealedValue
from keys.services.sealing import value_context


class SealedValues:
    """A StoreAdapter over all sealed values, which stand on one key; there are never many."""

    columns: Sequence[str] = ("ciphertext",)

    def check(self) -> None:
        return

    def close(self) -> None:
        return

    def count_by_version(self) -> list[Counted]:
        blobs = SealedValue.objects.values_list("ciphertext", flat=True)
        counts = Counter(FORMATS["compact"].locate_group(bytes(blob)) for blob in blobs)
        return [Counted("ciphertext", locator, items) for locator, items in counts.items()]

    def boundaries(self, parts: int) -> list[str]:
        names = [str(pk) for pk in SealedValue.objects.order_by("pk").values_list("pk", flat=True)]
        step = max(1, len(names) // parts)
        return names[step - 1 :: step]

    def ask_page(self, after: str | None, upto: str | None, limit: int) -> Answer[Page]:
        rows = SealedValue.objects.all()
        rows = rows.filter(pk__gt=after) if after else rows
        rows = rows.filter(pk__lte=upto) if upto else rows
        found = _page(rows.order_by("pk")[:limit])
        return lambda: found

    def read_rows(self, keys: Sequence[str]) -> Page:
        return _page(SealedValue.objects.filter(pk__in=[UUID(key) for key in keys]))

    def sample(self, limit: int) -> list[Page]:
        return [_page(SealedValue.objects.order_by("pk")[:limit])]

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


def _page(found: Iterable[SealedValue]) -> Page:
    return Page.of([Row(str(it.pk), (bytes(it.ciphertext),), (context_aad(value_context(it)),)) for it in found])
