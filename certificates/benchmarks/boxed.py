"""Jobs that end by the clock: a slow peer does less in a round instead of making everybody wait."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier

from django.db import connection

from keys.benchmarks import JOBS

type Job = Callable[[], float]

CALLERS = 16  # threads of one process, as many as each web process has


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done: seconds of a job at most, entries of the long lists."""

    seconds: float
    entries: int

    @classmethod
    def of(cls, size: int) -> "Effort":
        """A second and a half a job and lists of 100,000; for fewer certificates than usual, their share of both."""
        share = min(1.0, size / JOBS["certificates"].size)
        return cls(1.5 * share, max(1, round(100_000 * share)))


def boxed[Item](work: Callable[[Item], object], items: Iterable[Item], seconds: float, each: int = 1) -> Job:
    """A job that works through `items` for so many seconds at most and returns how many it did; one of them counts `each`."""
    listed = list(items)

    def job() -> float:
        until, done = time.perf_counter() + seconds, 0
        for item in listed:
            work(item)
            done += 1
            if time.perf_counter() > until:
                break
        return done * each

    return job


@contextmanager
def crowd() -> Iterator[ThreadPoolExecutor]:
    """The callers, each with the connection that it opens at its first use."""
    together = Barrier(CALLERS)

    def leave(_: int) -> None:
        together.wait()  # so that every thread closes its own
        connection.close()

    with ThreadPoolExecutor(CALLERS) as pool:
        yield pool
        list(pool.map(leave, range(CALLERS)))


def crowded[Item](
    work: Callable[[Item], object], items: Sequence[Item], callers: ThreadPoolExecutor, seconds: float
) -> Job:
    """As `boxed`, by all callers at the same time, each with its share of `items`."""
    shares = [boxed(work, items[start::CALLERS], seconds) for start in range(CALLERS)]
    return lambda: sum(callers.map(lambda share: share(), shares))
