"""The shared budget: never more in any second, in Valkey's own time, and what came late is made up for."""

import random
import threading
import time
import uuid
from types import SimpleNamespace

import pytest

from keys.services import ratelimit
from keys.services.ratelimit import RateLimiter


def granted(rate: float, parts: list[int], callers: int, pause: float) -> list[float]:
    """When each item may start by Valkey's clock, asked by several callers that wait their turn and dawdle now and then."""
    name, found, chance = uuid.uuid4().hex, [], random.Random(1)

    def ask(share: list[int]) -> None:
        limiter = RateLimiter(name, rate)
        for part in share:
            wait, now = limiter._asked(part / limiter._effective)
            found.extend([now + wait] * part)
            time.sleep(wait + (chance.random() * pause))

    threads = [threading.Thread(target=ask, args=(parts[number::callers],)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return sorted(found)


@pytest.mark.parametrize(("rate", "parts", "callers", "pause"), [
    (100, [1] * 130, 1, 0.012), (100, [1, 2] * 60, 3, 0.04), (400, [8] * 60, 2, 0.05), (7, [1] * 9, 2, 0.2),
])  # fmt: skip
def test_no_second_holds_more_than_the_budget(rate, parts, callers, pause):
    starts = granted(rate, parts, callers, pause)
    assert len(starts) == sum(parts)
    assert len(starts) > rate
    assert all(later - first >= 1 for first, later in zip(starts, starts[rate:], strict=False))


def test_what_comes_late_is_made_up_for():
    limiter = RateLimiter(uuid.uuid4().hex, 10)
    limiter._asked(1 / 9)
    time.sleep(0.15)  # 39 ms after the next turn was due
    assert limiter._asked(1 / 9)[0] == 0
    assert limiter._asked(1 / 9)[0] < 1 / 9 - 0.03


def test_a_long_pause_is_not_saved_up():
    limiter = RateLimiter(uuid.uuid4().hex, 10)
    limiter._asked(1 / 9)
    time.sleep(0.6)
    starts = [sum(limiter._asked(1 / 9)) for _ in range(4)]
    assert starts[3] - starts[0] >= 2 / 9 - 0.001


@pytest.mark.parametrize(("late", "turns"), [(0.0, 1), (0.004, 1), (0.03, 2)])
def test_a_turn_that_was_overslept_is_let_go(late, turns, monkeypatch):
    """At 100 items a second a turn may be used some 10 ms late; later its item would fall among those of others."""
    limiter = RateLimiter(uuid.uuid4().hex, 100)
    clock, slept, asked = [0.0], [], []

    def sleep(seconds):
        clock[0] += seconds + (late if not slept else 0)
        slept.append(seconds)

    def answer(length):
        asked.append(length)
        clock[0] += 0.002  # of the network
        return 0.02, clock[0]

    monkeypatch.setattr(limiter, "_asked", answer)
    monkeypatch.setattr(ratelimit, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    assert limiter.acquire() == pytest.approx(0.02 * turns)
    assert len(asked) == turns


def test_a_slow_network_keeps_nobody_from_their_turn(monkeypatch):
    limiter, clock = RateLimiter(uuid.uuid4().hex, 100), [0.0]

    def answer(length):
        clock[0] += 0.3
        return 0.0, clock[0]

    monkeypatch.setattr(limiter, "_asked", answer)
    monkeypatch.setattr(ratelimit, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=None))
    for _ in range(3):
        assert limiter.acquire() == 0
