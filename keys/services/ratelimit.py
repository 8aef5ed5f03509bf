"""One budget for all workers: turns are handed out in order from Valkey, evenly spaced, so that no second exceeds it."""

import logging
import math
import time

from django.conf import settings
from redis import Redis, RedisError

from keys.models import KeyProvider
from keys.providers.quotas import BUDGETS, OTHER_BUDGET
from keys.providers.registry import LOCAL

logger = logging.getLogger(__name__)

# KEYS[1]: when the next turn is due, in microseconds. ARGV: length of these turns, and by how much a turn that is taken
# late is made up for by the next, in microseconds. Redis scripts run one at a time, so two workers never get the same
# turn. Returns how long to wait, and the time it was asked.
_TAKE = """
local now = redis.call('TIME')
local micros = now[1] * 1000000 + now[2]
local due = tonumber(redis.call('GET', KEYS[1]) or '0')
local earliest = micros - tonumber(ARGV[2])
if due < earliest then due = earliest end
redis.call('SET', KEYS[1], string.format('%.0f', due + tonumber(ARGV[1])), 'PX', 600000)
return {string.format('%.0f', math.max(due - micros, 0)), string.format('%.0f', micros)}
"""
_FALLBACK_SHARE = 10  # without Valkey each process takes this fraction of the budget by itself
_client: dict[str, Redis] = {}


class RateLimiter:
    """`acquire(n)` waits until `n` items may go; at most `rate` items start in any one second, over all processes.

    Turns of at most `chunk` items are spaced by their length at a slightly lower rate. What a caller asks late is made up for
    by up to `grace` items, and a turn may be used late by as many; whoever wakes up later than that lets it go and asks again,
    because its items would fall among those of others. A window of one second then holds less than
    (rate - chunk - 2 * grace + 1) + 2 * grace items in turns before its last one, and that has at most `chunk`.
    """

    def __init__(self, name: str, rate: float) -> None:
        self.name, self.rate = f"kvp:rate:{name}", rate
        self.chunk = max(1, int(rate // 100))
        grace = max(0.5, rate / 100)
        self._effective = max(rate - self.chunk - 2 * grace + 1, rate / 2)
        self._grace = grace / self._effective  # in seconds
        self._latency = math.inf  # of Valkey, at its quickest: a steady delay moves all starts alike
        self._local_next = 0.0

    def acquire(self, items: int = 1) -> float:
        """Wait for the turns of `items`; returns the seconds waited."""
        waited = 0.0
        while items > 0:
            part = min(items, self.chunk)
            waited += self._wait(part / self._effective)
            items -= part
        return waited

    def _wait(self, length: float) -> float:
        waited = 0.0
        while True:
            begun = time.monotonic()
            try:
                delay, _ = self._asked(length)
            except RedisError:
                return waited + self._alone(length)
            self._latency = min(self._latency, time.monotonic() - begun)
            if delay > 0:
                time.sleep(delay)
            waited += delay
            if time.monotonic() - begun - self._latency - delay <= self._grace:
                return waited

    def _alone(self, length: float) -> float:
        logger.warning("the shared rate limit does not answer; this process goes on at a tenth of it")
        now = time.monotonic()
        start = max(self._local_next, now)
        self._local_next = start + length * _FALLBACK_SHARE
        time.sleep(start - now)
        return start - now

    def _asked(self, length: float) -> tuple[float, float]:
        """The seconds to wait for turns of so many seconds, and Valkey's time of the question."""
        turn, made_up = math.ceil(length * 1_000_000), int(self._grace * 1_000_000)
        wait, now = shared_memory().eval(_TAKE, 1, self.name, str(turn), str(made_up))
        return int(wait) / 1_000_000, int(now) / 1_000_000


def shared_memory() -> Redis:
    """Valkey, where all workers count together; every user of it says what happens when it does not answer."""
    url = settings.BROKER_URL
    if url not in _client:
        _client[url] = Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    return _client[url]


def first_in(seconds: int, name: str) -> bool:
    """Whether nobody else, in any process, asked this under `name` within so many seconds: a tick sends no work twice."""
    return bool(shared_memory().set(f"kvp:sent:{name}", 1, nx=True, ex=seconds))


class ProviderCalls:
    """Counts the calls that one walk makes of a provider, each after its turn where the provider has a budget."""

    def __init__(self, alias: str) -> None:
        self.made = 0
        self._limiter = provider_limiter(alias)

    def take(self, calls: int) -> None:
        """Wait until `calls` calls may be made."""
        if self._limiter is not None:
            self._limiter.acquire(calls)
        self.made += calls


def provider_budget(alias: str) -> int | None:
    """Calls a second that background work may make of a provider; None where they cost nothing (`local`)."""
    chosen = settings.PROVIDER_BUDGETS.get(alias)
    if chosen or alias == LOCAL:
        return chosen
    row = KeyProvider.objects.filter(alias=alias).values_list("kind", "calls_per_second").first()
    return OTHER_BUDGET if row is None else row[1] or BUDGETS.get(row[0], OTHER_BUDGET)


def provider_limiter(alias: str) -> RateLimiter | None:
    """The limiter of a provider's calls for background work; None where they cost nothing."""
    budget = provider_budget(alias)
    return RateLimiter(f"provider:{alias}", budget) if budget else None
