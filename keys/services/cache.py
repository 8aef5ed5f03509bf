"""A small bounded cache for unwrapped material and bound ciphers: by age and by number, never by hope."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic


class BoundedCache[Key: Hashable, Value]:
    """Holds at most `max_entries`, each for at most `max_age` seconds; the least recently used goes first."""

    def __init__(self, *, max_entries: int, max_age: float) -> None:
        self.max_entries, self.max_age = max_entries, max_age
        self._entries: OrderedDict[Key, tuple[float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] < monotonic():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: Key, value: Value) -> None:
        with self._lock:
            self._entries[key] = (monotonic() + self.max_age, value)
            self._entries.move_to_end(key)
            while len(self._entries) > self.max_entries:
                self._entries.popitem(last=False)

    def discard(self, key: Key) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
