"""Jobs that end by the clock: a slow peer does less in a round instead of making everybody wait."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

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


def crowded[Item](work: Callable[[Item], object], items: Sequence[Item], pool: ThreadPoolExecutor) -> Job:
    """As `boxed`, by all callers at the same time, each with its share of `items`."""
    shares = [boxed(work, items[start::CALLERS]) for start in range(CALLERS)]
    return lambda: sum(pool.map(lambda share: share(), shares))
