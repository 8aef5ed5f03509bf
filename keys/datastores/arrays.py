"""PostgreSQL arrays in their binary form, built in one go: the library's own way asks Python about every element."""

from collections.abc import Sequence
from struct import Struct

from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from keys.datastores.base import Cell

BYTEA, TEXT = 17, 25  # types, as PostgreSQL numbers them
_HEAD = Struct(">iiIii")  # dimensions, whether there are nulls, type, elements, first index
_LENGTH = Struct(">i")
_NULL = _LENGTH.pack(-1)


class PackedArray:
    """A parameter that holds a whole array; the statement has to say of which type it is."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed


class ArrayDumper(Dumper):
    """Hands a PackedArray to the server as it is."""

    format = Format.BINARY

    def dump(self, obj: PackedArray) -> Buffer | None:
        return obj.packed


def pack(cells: Sequence[Cell]) -> PackedArray:
    """bytea[] of bytes, or text[] of str; None in either is NULL. The first that is not None decides which."""
    kind = TEXT if isinstance(next((cell for cell in cells if cell is not None), None), str) else BYTEA
    length = _LENGTH.pack
    parts = [_HEAD.pack(1, 1, kind, len(cells), 1)]
    for cell in cells:
        if cell is None:
            parts.append(_NULL)
        else:
            blob = cell.encode() if isinstance(cell, str) else cell
            parts += (length(len(blob)), blob)
    return PackedArray(b"".join(parts))
