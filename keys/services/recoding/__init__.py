"""Moving one cell from an old key version to a new one: what each format needs to be opened and written again."""

from collections.abc import Callable, Sequence
from itertools import compress
from operator import is_not

from keys.datastores.base import Cell, Page
from keys.models import DataStore, KeyVersion
from keys.services.recoding.base import Recoder, SetAside
from keys.services.recoding.compact import CompactRecoder
from keys.services.recoding.direct import EnvelopeRecoder, SealedValueRecoder, VaultTextRecoder

__all__ = ["CompactRecoder", "Recoder", "SetAside", "VaultTextRecoder", "recode_page", "recoder"]

RECODERS: dict[str, Callable[[DataStore, KeyVersion, KeyVersion], Recoder]] = {
    DataStore.Format.COMPACT: CompactRecoder,
    DataStore.Format.VAULT_TEXT: VaultTextRecoder,
    DataStore.Format.ENVELOPE_JSON: EnvelopeRecoder,
}


def recoder(store: DataStore, old: KeyVersion, new: KeyVersion) -> Recoder:
    """The recoder of a store's format, or that of the portal's own values."""
    if store.kind == DataStore.Kind.SEALED_VALUES:
        return SealedValueRecoder(store, old, new)
    return RECODERS[store.format](store, old, new)


def recode_page(
    recode: Recoder, names: Sequence[str], page: Page
) -> tuple[Page, list[list[Cell]], list[tuple[str, str, str]], int]:
    """The rows of a page that change, what to write over them, the cells that cannot be read (key, column, reason), and
    how many cells move.

    A row with one unreadable cell still moves its readable ones.
    """
    aside: list[tuple[str, str, str]] = []
    news: list[list[Cell]] = []
    moved = 0
    for name, olds, bound in zip(names, page.columns, page.contexts, strict=bool(page)):
        new, unreadable = recode.recode_column(olds, bound)
        aside += [(page.keys[place], name, reason) for place, reason in unreadable]
        moved += sum(map(is_not, new, olds))
        news.append(new)
    if moved < len(page) * len(news):
        differing = [
            any(map(is_not, *cells))
            for cells in zip(zip(*news, strict=True), zip(*page.columns, strict=True), strict=True)
        ]
        page, news = page.pick(differing), [list(compress(new, differing)) for new in news]
    return page, news, aside, moved
