"""Jobs that end by the clock: a slow peer does less in a round instead of making everybody wait."""

import time
from collections.abc import Callable, Iterable

type Job = Callable[[], float]

SECONDS = 1.5


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
