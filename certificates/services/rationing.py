"""The ration of OCSP answers that are signed because one address asks, counted by all processes together.

A signature costs something, at an HSM much. A process takes a tenth of an address's minute at a time from Valkey and
hands it out from memory, so that a question costs no round trip; what it does not hand out is lost with the minute.
"""

import logging
import threading
import time

from django.conf import settings
from redis import RedisError

from keys.services.cache import BoundedCache
from keys.services.ratelimit import shared_memory

logger = logging.getLogger(__name__)
_MINUTE, _SHARES = 60, 10


class _Lease:
    """What is left in this process of one address's minute, and whether there is no more to take."""

    __slots__ = ("left", "lock", "over")

    def __init__(self) -> None:
        self.left, self.over, self.lock = 0, False, threading.Lock()


_leases: BoundedCache[tuple[str | None, int, int], _Lease] = BoundedCache(max_entries=20_000, max_age=_MINUTE)
_lock = threading.Lock()


def forget() -> None:
    """Give up what this process has taken (it stays counted)."""
    _leases.clear()


def may_sign(address: str | None) -> bool:
    """Whether one more answer may be signed for `address` in this minute."""
    limit, minute = settings.OCSP_SIGNATURES_A_MINUTE, int(time.time()) // _MINUTE
    key = address, minute, limit
    lease = _leases.get(key) or _begun(key)
    with lease.lock:  # one question takes a share for all that wait: each would take its own
        if not lease.left and not lease.over:
            lease.left, lease.over = _take(f"kvp:ocsp:{address}:{minute}", max(1, limit // _SHARES), limit)
        if not lease.left:
            return False
        lease.left -= 1
        return True


def _begun(key: tuple[str | None, int, int]) -> _Lease:
    with _lock:
        lease = _leases.get(key)
        if lease is None:
            lease = _Lease()
            _leases.put(key, lease)
        return lease


def _take(name: str, block: int, limit: int) -> tuple[int, bool]:
    """How many of `block` more are within `limit`, and whether that was the end of it."""
    try:
        with shared_memory().pipeline() as pipe:
            pipe.incrby(name, block)
            pipe.expire(name, 2 * _MINUTE)
            total, _ = pipe.execute()
    except RedisError:
        logger.warning("Valkey does not answer: each process rations OCSP signatures by itself")
        return limit, True
    granted = max(0, min(block, limit - (int(total) - block)))
    return granted, granted < block
