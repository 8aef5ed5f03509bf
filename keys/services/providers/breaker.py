"""A circuit breaker per provider, shared by all processes through Valkey.

Closed, until a number of calls in a row found nobody there; then open for a while, in which nobody waits for what will
not answer; then half-open: one call may try, and its answer closes or opens it again. Without Valkey every call may go.
"""

import logging
from enum import StrEnum

from redis import RedisError

from keys.services.ratelimit import shared_memory

logger = logging.getLogger(__name__)
FAILURES = 5
OPEN_MS = 15_000
PROBE_MS = 30_000  # longer than any deadline: a probe that died is followed by another

_ADMIT = """
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if failures < tonumber(ARGV[1]) then return failures end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = tonumber(redis.call('HGET', KEYS[1], 'due') or '0')
if now < due then return now - due end
redis.call('HSET', KEYS[1], 'due', string.format('%.0f', now + tonumber(ARGV[2])))
return failures
"""
_FAILED = """
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
if failures >= tonumber(ARGV[1]) then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], 'due', string.format('%.0f', now + tonumber(ARGV[2])))
end
redis.call('PEXPIRE', KEYS[1], 3600000)
return failures
"""
_LOOK = """
local failures = tonumber(redis.call('HGET', KEYS[1], 'failures') or '0')
if failures < tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now < tonumber(redis.call('HGET', KEYS[1], 'due') or '0') then return 2 end
return 1
"""


class Circuit(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


def _name(alias: str) -> str:
    return f"kvp:breaker:{alias}"


def _run(script: str, alias: str, *values: int) -> int:
    try:
        return int(shared_memory().eval(script, 1, _name(alias), *[str(value) for value in values]))
    except RedisError:
        logger.warning("the circuit breakers do not answer; calls go on without them")
        return 0


def admit(alias: str) -> int:
    """Negative: nobody is called for so many milliseconds more. Otherwise the failures in a row so far: the call may go."""
    return _run(_ADMIT, alias, FAILURES, PROBE_MS)


def failed(alias: str) -> None:
    """Nobody was there."""
    _run(_FAILED, alias, FAILURES, OPEN_MS)


def answered(alias: str) -> None:
    """Somebody was there, whatever was said: close it."""
    try:
        shared_memory().delete(_name(alias))
    except RedisError:
        return


def look(alias: str) -> Circuit:
    """Its state, for people; changes nothing."""
    return (Circuit.CLOSED, Circuit.HALF_OPEN, Circuit.OPEN)[_run(_LOOK, alias, FAILURES)]
