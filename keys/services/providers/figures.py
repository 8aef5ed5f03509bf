"""How fast a provider answers and what it last complained of: histograms and a short list in Valkey, for the pages.

Figures are for people: when Valkey does not answer they are missing, and nothing else fails.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import orjson
from redis import RedisError

from keys.services.ratelimit import shared_memory
from keyvault_portal.errors import PortalError

BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
SLICE_SECONDS, SLICES = 300, 12
ERRORS_KEPT, ERRORS_SECONDS = 20, 7 * 86_400


@dataclass(frozen=True, slots=True)
class Complaint:
    """One error of a provider: when, at which operation, its code and its sentence."""

    at: datetime
    operation: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The last hour: calls, how many found an error, and within how many milliseconds 50, 95 and 99 of a hundred ended."""

    calls: int
    errors: int
    p50: int | None
    p95: int | None
    p99: int | None


def _slice(back: int, alias: str) -> str:
    return f"kvp:latency:{alias}:{int(time.time()) // SLICE_SECONDS - back}"


def note(alias: str, operation: str, seconds: float, error: PortalError | None) -> None:
    """Count one call."""
    bound = BOUNDS_MS[min(bisect_left(BOUNDS_MS, seconds * 1000), len(BOUNDS_MS) - 1)]
    try:
        with shared_memory().pipeline(transaction=False) as pipe:
            now = _slice(0, alias)
            pipe.hincrby(now, str(bound), 1)
            pipe.expire(now, SLICE_SECONDS * (SLICES + 1))
            if error is not None:
                pipe.hincrby(now, "errors", 1)
                said = {"at": time.time(), "operation": operation, "code": error.code, "detail": error.detail[:500]}
                pipe.lpush(f"kvp:complaints:{alias}", orjson.dumps(said))
                pipe.ltrim(f"kvp:complaints:{alias}", 0, ERRORS_KEPT - 1)
                pipe.expire(f"kvp:complaints:{alias}", ERRORS_SECONDS)
            pipe.execute()
    except RedisError:
        return


def of(alias: str) -> Figures:
    """The figures of the last hour."""
    counted: Counter[int] = Counter()
    errors = 0
    try:
        with shared_memory().pipeline(transaction=False) as pipe:
            for back in range(SLICES):
                pipe.hgetall(_slice(back, alias))
            slices = pipe.execute()
    except RedisError:
        slices = []
    for part in slices:
        for name, number in part.items():
            if name == b"errors":
                errors += int(number)
            else:
                counted[int(name)] += int(number)
    p50, p95, p99 = (_percentile(counted, share) for share in (50, 95, 99))
    return Figures(counted.total(), errors, p50, p95, p99)


def _percentile(counted: Counter[int], share: int) -> int | None:
    wanted, seen = counted.total() * share / 100, 0
    for bound in sorted(counted):
        seen += counted[bound]
        if seen >= wanted:
            return bound
    return None


def complaints(alias: str) -> Sequence[Complaint]:
    """The last errors, newest first."""
    try:
        kept = cast("list[bytes]", shared_memory().lrange(f"kvp:complaints:{alias}", 0, ERRORS_KEPT - 1))
    except RedisError:
        return []
    rows = [orjson.loads(item) for item in kept]
    return [
        Complaint(datetime.fromtimestamp(row["at"], UTC), row["operation"], row["code"], row["detail"]) for row in rows
    ]
