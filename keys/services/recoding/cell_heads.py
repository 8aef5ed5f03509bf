"""What compact cells begin with, by which they are taken together."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from keys.crypto.compact import SEGMENT_HEADER_SIZE
from keys.datastores.base import Cell


def heads(cells: Sequence[Cell]) -> list[bytes]:
    """What each cell begins with: the same for all SEGMENT cells of a data key."""
    return [cell[:SEGMENT_HEADER_SIZE] if isinstance(cell, bytes) else b"" for cell in cells]


def by_head(cells: Sequence[Cell]) -> Iterator[tuple[bytes, Sequence[int]]]:
    """The places of cells that begin alike, together wherever they stand: applications write with many data keys."""
    found, order = heads(cells), range(len(cells))
    if len(set(found)) == 1:
        yield found[0], order
        return
    for head, where in groupby(sorted(order, key=found.__getitem__), key=found.__getitem__):
        yield head, list(where)
