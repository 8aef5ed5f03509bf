"""Data keys that serve several messages, where wrapping each one would be a call of a provider.

A data key is bound to its encryption context and to the version that wrapped it, and bounded by age, messages and bytes.
What may be done is asked for every message before this is: a version that was suspended serves nothing from here. Threads
that miss at once cause one call. Keys that callers are given in the clear are always fresh.
"""

import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass

from django.conf import settings
from redis import RedisError

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.library import MAX_MESSAGES, EnvelopeCache
from keys.crypto.secret import SecretBytes
from keys.models import KeyVersion
from keys.providers.base import OperationUnsupported
from keys.providers.registry import LOCAL, provider
from keys.services import materials, seal_watch
from keys.services.cache import BoundedCache
from keys.services.providers.figures import SLICE_SECONDS, SLICES
from keys.services.ratelimit import shared_memory

VERSIONS, ENTRIES = 100, 1_000  # caches a process, and data keys in each
FLUSH_SECONDS, GAUGE_SECONDS = 1.0, 600

_caches: BoundedCache[tuple[int, str, str], EnvelopeCache] = BoundedCache(max_entries=VERSIONS, max_age=86_400)
_lock = threading.Lock()
_counts: dict[str, Counter[str]] = {}
_of: dict[str, set[tuple[int, str, str]]] = {}
_flushed = [0.0]


def _after_fork() -> None:
    """A data key is one process's: two would each seal as many messages as one may. The parent's locks may be held."""
    global _lock, _caches
    _lock, _caches = threading.Lock(), BoundedCache(max_entries=VERSIONS, max_age=86_400)
    _of.clear()
    _counts.clear()


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """The last hour of a provider over all processes; `kept` and `oldest_seconds` are of the data keys in use now."""

    messages: int
    calls: int
    kept: int
    oldest_seconds: int

    @property
    def saved(self) -> int:
        """Calls that were not made."""
        return max(0, self.messages - self.calls)

    @property
    def hit_rate(self) -> float | None:
        """The share of messages that needed no call, in percent; None without messages."""
        return round(100 * self.saved / self.messages, 1) if self.messages else None


@seal_watch.forgets
def forget() -> None:
    """Drop every data key held by this process."""
    with _lock:
        for names in _of.values():
            for name in names:
                found = _caches.get(name)
                if found is not None:
                    found.clear()
        _caches.clear()
        _of.clear()


os.register_at_fork(after_in_child=_after_fork)


def serves(version: KeyVersion, algorithm: str) -> bool:
    """Whether data keys of this algorithm under this version are kept: only where a provider would be asked for each."""
    row = ALGORITHMS.get(algorithm)
    suitable = row is not None and row.kind is Kind.AEAD and row.unique_nonce_suffices
    return suitable and version.provider != LOCAL and settings.DATA_KEY_CACHE_SECONDS > 0


def sealing(version: KeyVersion, context: dict[str, str], size: int, algorithm: str) -> tuple[Aead, bytes]:
    """A cipher for one message of `size` bytes in this context, and its data key as `version` wrapped it.

    Raises Sealed and as `materials.wrap_under` does, CryptoError for a context or a size that cannot be.
    """
    seal_watch.require_open()
    answer = _cache(version, algorithm).sealing(context, size)
    _count(version.provider, "messages")
    return answer


def opening(version: KeyVersion, wrapped: bytes, context: dict[str, str], algorithm: str) -> Aead:
    """The cipher of a data key that `version` wrapped; raises as `materials.unwrap_under` does, CryptoError."""
    seal_watch.require_open()
    cipher = _cache(version, algorithm).opening(wrapped, context)
    _count(version.provider, "messages")
    return cipher


def _cache(version: KeyVersion, algorithm: str) -> EnvelopeCache:
    # While its key moves, what a version seals depends on the state of the version at the old place, too.
    before = f" from {version.moved_from.status}" if version.moved_from else ""
    name = (version.pk, algorithm, version.status + before)
    found = _caches.get(name)
    if found is None:
        with _lock:
            found = _caches.get(name)
            if found is None:
                found = _new(version, algorithm)
                _caches.put(name, found)
                _of.setdefault(version.provider, set()).add(name)
    return found


def _new(version: KeyVersion, algorithm: str) -> EnvelopeCache:
    alias = version.provider

    def generate(context: dict[str, str]) -> tuple[SecretBytes, bytes]:
        _count(alias, "calls")
        material = provider(LOCAL).generate(algorithm).material
        if material is None:
            raise OperationUnsupported(f"{algorithm} is not for data keys.")
        return material, materials.wrap_under(version, material, context=context)

    def unwrap(wrapped: bytes, context: dict[str, str]) -> SecretBytes:
        _count(alias, "calls")
        return materials.unwrap_under(version, wrapped, context=context)

    return EnvelopeCache(
        generate, unwrap, max_age_s=settings.DATA_KEY_CACHE_SECONDS, max_messages=min(settings.DATA_KEY_CACHE_MESSAGES, MAX_MESSAGES),
        max_bytes=settings.DATA_KEY_CACHE_BYTES, max_entries=ENTRIES, algorithm=algorithm,
    )  # fmt: skip


def _count(alias: str, what: str) -> None:
    with _lock:
        _counts.setdefault(alias, Counter())[what] += 1
        due = time.monotonic() - _flushed[0] >= FLUSH_SECONDS
        if due:
            _flushed[0] = time.monotonic()
    if due:
        flush()


def flush() -> None:
    """Add what this process counted to what all have counted; figures are for people, and may be lost."""
    with _lock:
        counted = {alias: dict(counts) for alias, counts in _counts.items()}
        _counts.clear()
        caches = {alias: [found for name in names if (found := _caches.get(name))] for alias, names in _of.items()}
    now = int(time.time())
    try:
        with shared_memory().pipeline(transaction=False) as pipe:
            for alias, counts in counted.items():
                for what, number in counts.items():
                    pipe.hincrby(_slice(alias, now, 0), what, number)
                pipe.expire(_slice(alias, now, 0), SLICE_SECONDS * (SLICES + 1))
            for alias, held in caches.items():
                gauge = f"{now} {sum(map(len, held))} {int(max((one.oldest() for one in held), default=0))}"
                pipe.hset(f"kvp:datakeys:{alias}:kept", f"{socket.gethostname()}:{os.getpid()}", gauge)
                pipe.expire(f"kvp:datakeys:{alias}:kept", GAUGE_SECONDS)
            pipe.execute()
    except RedisError:
        return


def _slice(alias: str, now: int, back: int) -> str:
    return f"kvp:datakeys:{alias}:{now // SLICE_SECONDS - back}"


def figures_of(alias: str) -> CacheFigures:
    """What all processes counted in the last hour."""
    now, counted, kept, oldest = int(time.time()), Counter[str](), 0, 0
    try:
        with shared_memory().pipeline(transaction=False) as pipe:
            for back in range(SLICES):
                pipe.hgetall(_slice(alias, now, back))
            pipe.hgetall(f"kvp:datakeys:{alias}:kept")
            *slices, gauges = pipe.execute()
    except RedisError:
        return CacheFigures(0, 0, 0, 0)
    for part in slices:
        for name, number in part.items():
            counted[name.decode()] += int(number)
    for gauge in gauges.values():
        at, entries, age = (int(word) for word in gauge.split())
        if at + settings.DATA_KEY_CACHE_SECONDS > now:  # older: what that process held has expired by now
            kept, oldest = kept + entries, max(oldest, age + now - at)
    return CacheFigures(counted["messages"], counted["calls"], kept, min(oldest, int(settings.DATA_KEY_CACHE_SECONDS)))


def bounds() -> str:
    """What holds here, in one line."""
    if not settings.DATA_KEY_CACHE_SECONDS:
        return "Off: every envelope is a call."
    return (
        f"A data key serves one context for at most {settings.DATA_KEY_CACHE_SECONDS:,} s, {settings.DATA_KEY_CACHE_MESSAGES:,} messages "
        f"and {settings.DATA_KEY_CACHE_BYTES // 1_048_576:,} MiB."
    )
