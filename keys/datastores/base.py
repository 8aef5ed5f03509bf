"""What every data store offers: count by version, read a page by key, write back if unchanged."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from keyvault_portal.errors import PortalError, StoreUnavailable, ValidationFailed

Cell = bytes | str | None


class StoreRefused(ValidationFailed):
    """The store was reached and is not what was described: no such table, a wrong column type, a forbidden host."""

    code, title = "store_refused", "The data store cannot be used like this"


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

    A context is the associated data (`context_aad`), None where the store has no template. `stamp` changes whenever
    anybody writes the row.
    """

    pk: str
    cells: tuple[Cell, ...]
    contexts: tuple[bytes | None, ...]
    stamp: str = ""


class Change(NamedTuple):
    """Write `new` over the cells of `row`, as it was read; columns that stay have the same cell in both."""

    row: Row
    new: tuple[Cell, ...]


class Counted(NamedTuple):
    """Items of one column that carry the same locator; None where the form cannot be read."""

    column: str
    locator: Locator | None
    items: int


type Answer[Value] = Callable[[], Value]
"""Waits for what was asked and gives it, once; what the store does meanwhile is done beside the caller's own work."""


class StoreAdapter(Protocol):
    """A store opened by one worker; not for sharing between threads. Raises StoreUnavailable, StoreGone, StoreRefused.

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

    def ask_page(self, after: str | None, upto: str | None, limit: int) -> Answer[list[Row]]:
        """At most `limit` rows with `after` < key <= `upto`, in the order of the key; None is no bound."""
        ...

    def read_rows(self, keys: Sequence[str]) -> list[Row]:
        """Just these rows, those that exist."""
        ...

    def sample(self, limit: int) -> list[Row]:
        """Some rows from all over the store."""
        ...

    def ask_write(self, changes: Sequence[Change]) -> Answer[set[str]]:
        """Write the rows that nobody wrote since they were read, in one transaction; answers with their keys."""
        ...

    def settle(self) -> None:
        """Return once all that was written before would outlast a crash of the store."""
        ...

    def close(self) -> None: ...


__all__ = [
    "Answer",
    "Cell",
    "Change",
    "Counted",
    "Locator",
    "Row",
    "StoreAdapter",
    "StoreGone",
    "StoreRefused",
    "StoreUnavailable",
]
