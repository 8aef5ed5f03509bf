"""What every data store offers: count by version, read a page by key, write back if unchanged."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, Protocol, Self, overload
from uuid import UUID

from keyvault_portal.errors import PortalError, StoreUnavailable, ValidationFailed

Cell = bytes | str | None
NOT_TAKEN = "the table did not take the new value"  # what is said of a refusal that the store itself does not tell


class StoreRefused(ValidationFailed):
    """The store was reached and is not what was described: no such table, a wrong column type, a forbidden host."""

    code, title = "store_refused", "The data store cannot be used like this"


class WriteRefused(StoreRefused):
    """What stands in a row was refused, by a constraint, a trigger or a type; `said` is the store's own word for why."""

    def __init__(self, said: str) -> None:
        super().__init__(f"The database refused a value ({said}).")
        self.said = said


class StoreGone(PortalError):
    """The table or a column disappeared: waiting does not help, a person must."""

    status, code, title = 409, "store_gone", "The table is not there any more"


class Locator(NamedTuple):
    """Which key a cell says it stands on; just the fields of its form are set."""

    form: str  # "direct", "segment", "vault" or "envelope"
    key_id: UUID | None = None
    version: int | None = None
    data_key_id: UUID | None = None
    arn: str | None = None


class Row(NamedTuple):
    """One row: its primary key as text, its cells in the order of the store's columns, and what each is bound to.

    A context is the associated data (`context_aad`), None where the store has no template.
    """

    pk: str
    cells: tuple[Cell, ...]
    contexts: tuple[bytes | None, ...]


class Page(Sequence[Row]):
    """Rows kept as columns: bulk code that goes along columns does a fraction of the work of going along rows.

    `columns` and `contexts` hold one sequence for each column of the store, `stamps` whatever the store needs to tell
    a row as it was read from the row as somebody wrote it since: any number of sequences. `cut` is true of a page that
    ends before what was asked for because more would not fit in memory.
    """

    __slots__ = ("columns", "contexts", "cut", "keys", "stamps")

    def __init__(
        self,
        keys: Sequence[str],
        columns: Sequence[Sequence[Cell]],
        contexts: Sequence[Sequence[bytes | None]],
        stamps: Sequence[Sequence[bytes]] = (),
        *,
        cut: bool = False,
    ) -> None:
        self.keys, self.columns, self.contexts, self.stamps, self.cut = keys, columns, contexts, stamps, cut

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """The same rows as columns."""
        if not rows:
            return cls((), (), ())
        keys, cells, contexts = zip(*rows, strict=True)
        return cls(keys, tuple(zip(*cells, strict=True)), tuple(zip(*contexts, strict=True)))

    def pick(self, wanted: Sequence[bool]) -> Self:
        """Only the rows that are wanted."""
        return type(self)(
            tuple(compress(self.keys, wanted)),
            [tuple(compress(column, wanted)) for column in self.columns],
            [tuple(compress(column, wanted)) for column in self.contexts],
            [tuple(compress(column, wanted)) for column in self.stamps],
        )

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Row | Self:
        if isinstance(place, int):
            cells = tuple(column[place] for column in self.columns)
            return Row(self.keys[place], cells, tuple(column[place] for column in self.contexts))
        return type(self)(
            self.keys[place],
            [column[place] for column in self.columns],
            [column[place] for column in self.contexts],
            [column[place] for column in self.stamps],
        )

    def __iter__(self) -> Iterator[Row]:
        return map(Row, self.keys, zip(*self.columns, strict=True), zip(*self.contexts, strict=True))


class Counted(NamedTuple):
    """Items of one column that carry the same locator; None where the form cannot be read."""

    column: str
    locator: Locator | None
    items: int


type Answer[Value] = Callable[[], Value]
"""Waits for what was asked and gives it, once; what the store does meanwhile is done beside the caller's own work."""


class StoreAdapter(Protocol):
    """A store opened by one worker; not for sharing between threads. Raises StoreUnavailable, StoreGone, StoreRefused.

    No error quotes what stands in a row.

    What is asked is done in the order in which it was asked, and all of it is answered before anything else is begun.
    """

    columns: Sequence[str]

    def check(self) -> None:
        """Return if the store is as described; raises StoreRefused with the reason."""
        ...

    def count_by_version(self) -> list[Counted]:
        """One full count, by column and locator."""
        ...

    def boundaries(self, parts: int) -> list[str]:
        """Ascending primary keys that cut the store into about `parts` ranges."""
        ...

    def ask_page(self, after: str | None, upto: str | None, limit: int) -> Answer[Page]:
        """At most `limit` rows with `after` < key <= `upto`, in the order of the key; None is no bound.

        Fewer only where there are no more, or the page is `cut`.
        """
        ...

    def read_rows(self, keys: Sequence[str]) -> Page:
        """Just these rows, those that exist."""
        ...

    def sample(self, limit: int) -> Iterable[Page]:
        """At most about `limit` rows from all over the store, by pages that fit in memory."""
        ...

    def ask_write(self, page: Page, new: Sequence[Sequence[Cell]]) -> Answer[set[str]]:
        """Write `new`, a sequence for each column, over the rows of `page` that nobody wrote since they were read.

        All in one transaction; answers with the keys of those rows. A cell that stays is the same in `new`. When a row
        is refused, or would hold something else than `new` afterwards, none is written, nothing asked after it is done,
        and any of the answers raises WriteRefused.
        """
        ...

    def write(self, page: Page, new: Sequence[Sequence[Cell]]) -> set[str]:
        """`ask_write` and its answer, with nothing else under way: WriteRefused is about one of these rows."""
        ...

    def settle(self) -> None:
        """Return once all that was written before would outlast a crash of the store."""
        ...

    def close(self) -> None: ...


__all__ = [
    "NOT_TAKEN",
    "Answer",
    "Cell",
    "Counted",
    "Locator",
    "Page",
    "Row",
    "StoreAdapter",
    "StoreGone",
    "StoreRefused",
    "StoreUnavailable",
    "WriteRefused",
]
