"""PostgreSQL arrays in their binary form, built in one go: the library's own way asks Python about every element."""

from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

BYTEA, TEXT, TID, XID, UUID = 17, 25, 27, 28, 2950  # types, as PostgreSQL numbers them
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
    head = _HEAD.pack(1, 1, kind, len(items), 1)
    blobs: Sequence[Any] = items
    if kind == TEXT:
        blobs = [item.encode() if isinstance(item, str) else item for item in items]
    try:
        if len(set(map(len, blobs))) == 1:  # as a rule: ciphertexts of values that are alike, and ids
            return pack_even(blobs, kind)
        parts = chain.from_iterable(zip(map(_LENGTH.pack, map(len, blobs)), blobs, strict=True))
        return PackedArray(b"".join(chain((head,), parts)))
    except TypeError:  # a NULL has no length
        return PackedArray(head + b"".join(_NULL if it is None else _LENGTH.pack(len(it)) + it for it in blobs))


def pack_even(items: Sequence[bytes], kind: int) -> PackedArray:
    """An array of `kind` whose elements all have the same number of bytes and are none of them NULL."""
    length = _LENGTH.pack(len(items[0]) if items else 0)
    return PackedArray(_HEAD.pack(1, 0, kind, len(items), 1) + (length + length.join(items) if items else b""))
