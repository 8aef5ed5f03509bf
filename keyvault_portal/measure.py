"""Rows that benchmarks return: what was measured, and beside what, in the same run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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
    spread: tuple[float, float] | None = None  # between these lies the middle half of the rounds' ratios

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches its goal; None where there is no ratio or no goal."""
        if self.ratio is None or self.goal is None:
            return None
        return self.ratio <= self.goal if self.at_most else self.ratio >= self.goal


class Rates(dict[str, float]):
    """Median rate of each job, in items a second, and the rates of every round."""

    def __init__(self, rounds: Mapping[str, list[float]]) -> None:
        super().__init__({name: statistics.median(values) for name, values in rounds.items()})
        self.rounds = rounds

    def against(self, name: str, unit: str, job: str, peer: str, **more: Any) -> Measurement:
        """The line that sets `job` beside `peer`: the median of the rounds' ratios, and the middle half of them."""
        ratios = [mine / theirs for mine, theirs in zip(self.rounds[job], self.rounds[peer], strict=True)]
        # The least and the greatest of many short rounds only show when somebody else had the processor.
        low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return Measurement(name, self[job], unit, ratio=ratio, spread=(low, high), **more)


def interleave(
    jobs: Mapping[str, Callable[[], float]], rounds: int = 3, before: Callable[[], object] = lambda: None
) -> Rates:
    """Rates of each job over `rounds` rounds in which every job runs once, so that noise hits all alike.

    A job does its work and returns how many items it did; the rate is items a second of wall time. `before` makes the
    start the same for every job and is not measured.
    """
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            before()
            start = time.perf_counter()
            items = job()
            rates[name].append(items / (time.perf_counter() - start))
    return Rates(rates)
