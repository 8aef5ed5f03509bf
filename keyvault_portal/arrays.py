"""PostgreSQL arrays in their binary form, built in one go: the library's own way asks Python about every element."""

from collections.abc import Sequence
from struct import Struct

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

BYTEA, TEXT, UUID = 17, 25, 2950  # types, as PostgreSQL numbers them
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


psycopg.adapters.register_dumper(PackedArray, ArrayDumper)


def pack(items: Sequence[bytes | str | None], kind: int) -> PackedArray:
    """An array of `kind`: str for TEXT, bytes for BYTEA, 16 bytes each for UUID; None is NULL."""
    length = _LENGTH.pack
    parts = [_HEAD.pack(1, 1, kind, len(items), 1)]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            blob = item.encode() if isinstance(item, str) else item
            parts += (length(len(blob)), blob)
    return PackedArray(b"".join(parts))
