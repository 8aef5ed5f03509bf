"""Jobs that end by the clock: a slow peer does less in a round instead of making everybody wait."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

type Job = Callable[[], float]

SECONDS = 1.5
CALLERS = 16  # threads of one process, as many as each web process has


def boxed[Item](work: Callable[[Item], object], items: Iterable[Item], each: int = 1) -> Job:
    """A job that works through `items` for a second and a half at most and returns how many it did; one of them counts `each`."""
    listed = list(items)

    def job() -> float:
        until, done = time.perf_counter() + SECONDS, 0
        for item in listed:
            work(item)
            done += 1
            if time.perf_counter() > until:
                break
        return done * each

    return job


def crowded[Item](work: Callable[[Item], object], items: Sequence[Item]) -> Job:
    """As `boxed`, by several threads at the same time, each with its share of `items`."""

    def share(start: int) -> float:
        try:
            return boxed(work, items[start::CALLERS])()
        finally:
            connection.close()

    def job() -> float:
        with ThreadPoolExecutor(CALLERS) as pool:
            return sum(pool.map(share, range(CALLERS)))

    return job
