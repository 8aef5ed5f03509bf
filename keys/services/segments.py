"""Segment data keys in use: one per at most 10,000 records, made as needed, counted so that the count is never too low."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.compact import seal_compact, segment_header
from keys.models import DataKey, KeyVersion
from keys.services import key_views, materials
from keys.services.ratelimit import ProviderCalls

SEGMENT_RECORDS = 10_000


class SegmentWriter:
    """Encrypts records under segment keys of one data key version; for one worker, closed at the end.

    A new data key row is committed before anything encrypted under it can be, so no ciphertext is ever without its key.
    """

    def __init__(self, version: KeyVersion, segment: str) -> None:
        self.version, self.segment = version, segment
        self.calls = ProviderCalls((version.key.parent or version.key).provider)
        self._row: DataKey | None = None
        self._cipher: Aead | None = None
        self._header = b""
        self._used = 0

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """The compact SEGMENT form of `plaintext`, bound to `context` (the output of `context_aad`)."""
        if self._cipher is None or self._used >= SEGMENT_RECORDS:
            self._next()
        assert self._cipher is not None
        self._used += 1
        return seal_compact(self._cipher, self._header, plaintext, context)

    def seal_all(self, plaintexts: Sequence[bytes], contexts: Sequence[bytes]) -> list[bytes]:
        """`seal` of each, many in one go."""
        sealed: list[bytes] = []
        while len(sealed) < len(plaintexts):
            if self._cipher is None or self._used >= SEGMENT_RECORDS:
                self._next()
            assert self._cipher is not None
            part = slice(len(sealed), len(sealed) + SEGMENT_RECORDS - self._used)
            bound = [self._header + context for context in contexts[part]]
            self._used += len(bound)  # before they are made: never an under-count
            sealed += self._cipher.encrypt_all(plaintexts[part], bound, self._header)
        return sealed

    def close(self) -> None:
        """Write down how many records the current segment really got."""
        if self._row is not None and self._used < SEGMENT_RECORDS:
            DataKey.objects.filter(pk=self._row.pk).update(records=self._used)
        self._row = self._cipher = None

    def _next(self) -> None:
        self.close()
        self.calls.take(1)
        parent = self.version.key.parent_id
        wrapper = key_views.view(parent).active if parent else None
        # Reserved in full at once: a worker that dies leaves an upper bound, not an under-count.
        row, secret = materials.new_data_key(self.version, self.segment, records=SEGMENT_RECORDS, wrapper=wrapper)
        algorithm = ALGORITHMS[self.version.key.algorithm]
        self._row, self._used = row, 0
        self._cipher, self._header = Aead(algorithm, secret), segment_header(algorithm, row.pk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
