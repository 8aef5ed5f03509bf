"""Cells of a data key in the compact form: those of segments by whole columns, the others one by one."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.compact import (
    DIRECT_HEADER_SIZE,
    SEGMENT,
    SEGMENT_HEADER_SIZE,
    direct_key,
    open_compact,
    segment_key,
)
from keys.crypto.errors import DecryptFailed, MalformedEnvelope
from keys.datastores.base import Cell, Page
from keys.models import DataKey, DataStore, KeyVersion
from keys.services import key_views, materials
from keys.services.cache import BoundedCache
from keys.services.recoding.base import UNREADABLE, Recoded, SetAside, one_by_one, version_of
from keys.services.recoding.cell_heads import by_head, heads
from keys.services.segments import SegmentWriter
from keys.states import MAY_PROCESS

_SEGMENT = bytes([SEGMENT])


class CompactRecoder:
    """DIRECT and SEGMENT cells of a data key; everything new is written to segments."""

    def __init__(self, store: DataStore, old: KeyVersion, new: KeyVersion) -> None:
        self._old, self._old_pk, self._key = old, old.pk, old.key
        self._writer = SegmentWriter(new, f"store:{store.name}")
        self._cache: BoundedCache[bytes, tuple[int, Aead | None]] = BoundedCache(max_entries=2_000, max_age=3600)
        self._data_keys: dict[bytes, tuple[int, Aead | None]] = {}  # of the page at hand

    @property
    def provider_calls(self) -> int:
        return self._writer.calls.made

    def prepare(self, page: Page) -> None:
        begun = {head for column in page.columns for head in set(heads(column))}
        names = {head[2:] for head in begun if len(head) == SEGMENT_HEADER_SIZE and head[0] == SEGMENT}
        known = {name: self._cache.get(name) for name in names}
        self._data_keys = {name: found for name, found in known.items() if found is not None}
        wanted = [UUID(bytes=name) for name in names - self._data_keys.keys()]
        if not wanted:
            return
        # Another key's segment is left out: reading it under this one would be a mistake.
        found = DataKey.objects.filter(pk__in=wanted, version__key=self._key.pk).values_list(
            "pk", "wrapped", "version__key_version", "wrapped_by__key", "wrapped_by__key_version"
        )
        for name, wrapped, number, key_id, wrapper in found:
            self._writer.calls.take(1)
            version = key_views.version(self._key.pk, number)
            if version.state not in MAY_PROCESS and version.pk != self._old_pk:
                self._data_keys[name.bytes] = version.pk, None  # suspended or gone: what stays on it stops no walk
                continue
            secret = materials.data_key_material(name, bytes(wrapped), version, key_views.version(key_id, wrapper))
            held = version.pk, Aead(ALGORITHMS[self._key.algorithm], secret)
            self._data_keys[name.bytes] = held
            self._cache.put(name.bytes, held)

    def reserve(self, page: Page) -> None:
        """Nothing: segments are counted by their own bound, and each takes one use of the key that wraps it."""

    def recode_column(self, cells: Sequence[Cell], contexts: Sequence[bytes | None]) -> Recoded:
        """What a store mostly holds by the shortest way: all are opened, then all are sealed."""
        bound = [context or b"" for context in contexts]
        opened: list[bytes] = []
        places: list[int] = []
        others: list[int] = []
        for head, where in by_head(cells):
            held = self._data_keys.get(head[2:]) if head[:1] == _SEGMENT else None
            if held is None:
                others += [place for place in where if cells[place] is not None]
            elif held[0] == self._old_pk and held[1] is not None:
                payloads, aads = [cells[place] for place in where], [head + bound[place] for place in where]
                try:
                    opened += held[1].decrypt_all(cast("list[bytes]", payloads), aads, SEGMENT_HEADER_SIZE)
                    places += where
                except DecryptFailed:
                    others += where  # one by one, to see which
        new = list(cells)
        for place, sealed in zip(
            places, self._writer.seal_all(opened, [bound[place] for place in places]), strict=True
        ):
            new[place] = sealed
        return new, one_by_one(self.recode, new, contexts, others)

    def recode(self, cell: Cell, context: bytes | None) -> Cell:
        version, plaintext = self.read(cell, context, only=self._old_pk)
        if plaintext is None or version != self._old_pk:
            return cell
        return self._writer.seal(plaintext, context or b"")

    def open(self, cell: Cell, context: bytes | None) -> bytes:
        plaintext = self.read(cell, context)[1]
        assert plaintext is not None
        return plaintext

    def read(self, cell: Cell, context: bytes | None, only: int | None = None) -> tuple[int, bytes | None]:
        """Version id and plaintext; the plaintext is left out when the cell stands on another version than `only`.

        Raises SetAside.
        """
        if not isinstance(cell, bytes) or not cell:
            raise SetAside("malformed")
        try:
            if cell[0] == SEGMENT:
                known = self._data_keys.get(segment_key(cell)[1])
                if known is None:
                    raise SetAside("unknown_data_key")
                version, cipher = known
                if only is not None and version != only:
                    return version, None
                if cipher is None:
                    raise SetAside("unusable_version")
                return version, open_compact(cipher, cell, SEGMENT_HEADER_SIZE, context or b"")
            _, key_id, number = direct_key(cell)
            if key_id != self._key.pk.bytes:
                raise SetAside("other_key")
            found = self._old if number == self._old.key_version else version_of(self._key.pk, number)
            if only is not None and found.pk != only:
                return found.pk, None
            aad = cell[:DIRECT_HEADER_SIZE] + (context or b"")
            return found.pk, materials.cipher(found).decrypt(cell[DIRECT_HEADER_SIZE:], aad)
        except MalformedEnvelope:
            raise SetAside("malformed") from None
        except UNREADABLE:
            raise SetAside("decrypt_failed") from None

    def close(self) -> None:
        self._writer.close()
