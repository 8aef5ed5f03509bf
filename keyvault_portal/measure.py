"""Rows that benchmarks return: what was measured, and beside what, in the same run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of a benchmark: `value` in `unit`; `ratio` to the thing named in `against`, and the ratio aimed at.

    The goal is a least ratio, or a greatest one with `at_most`. `value` is None when nothing could be measured: `note`
    then says why.
    """

    name: str
    value: float | None
    unit: str
    against: str = ""
    ratio: float | None = None
    goal: float | None = None
    note: str = ""
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches its goal; None where there is no ratio or no goal."""
        if self.ratio is None or self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


def interleave(jobs: Mapping[str, Callable[[], float]], rounds: int = 3) -> dict[str, float]:
    """Median rate of each job over `rounds` rounds in which every job runs once, so that noise hits all alike.

    A job does its work and returns how many items it did; the rate is items a second of wall time.
    """
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            items = job()
            rates[name].append(items / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}
