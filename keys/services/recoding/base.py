"""What moves cells promises, and what tells those that cannot be moved."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from keys.crypto.errors import CryptoError
from keys.datastores.base import Cell, Page
from keys.models import KeyVersion
from keys.services import materials
from keyvault_portal.errors import DecryptRefused

UNREADABLE = (CryptoError, DecryptRefused)


class SetAside(Exception):
    """This cell cannot be read; `reason` is a stable word for why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


type Recoded = tuple[list[Cell], list[tuple[int, str]]]
"""The cells of a column as they are to be, and of those that cannot be read the place and the reason."""


class Recoder(Protocol):
    """Moves cells of one store from the version being left to the new one.

    A cell's context comes as associated data, None for none. Every provider call waits for its turn.
    """

    @property
    def provider_calls(self) -> int:
        """How many there were so far."""
        ...

    def prepare(self, page: Page) -> None:
        """Fetch what it takes to open these rows, in bulk."""
        ...

    def reserve(self, page: Page) -> None:
        """Lease the uses of the new version that writing these rows takes, before anything is written."""
        ...

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        """The cell on the new version, or the same object when it does not stand on the old one; raises SetAside."""
        ...

    def recode_column(self, cells: Sequence[Cell], contexts: Sequence[bytes | None]) -> Recoded:
        """`recode` of every cell that is not None; what cannot be read stays as it is and is named."""
        ...

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        """The plaintext, whatever version the cell stands on; raises SetAside."""
        ...

    def close(self) -> None: ...


def one_by_one(
    recode: Callable[[Cell, bytes | None], Cell],
    cells: list[Cell],
    contexts: Sequence[bytes | None],
    places: Iterable[int],
) -> list[tuple[int, str]]:
    """Recode these places of `cells` where they stand; returns those that cannot be read, and why."""
    aside = []
    for place in places:
        try:
            cells[place] = recode(cells[place], contexts[place])
        except SetAside as problem:
            aside.append((place, problem.reason))
    return aside


def version_of(key_id: UUID, number: int) -> KeyVersion:
    """The version of this number; raises SetAside."""
    found = KeyVersion.objects.select_related(*materials.CHAIN).filter(key_id=key_id, key_version=number).first()
    if found is None:
        raise SetAside("unknown_version")
    return found
