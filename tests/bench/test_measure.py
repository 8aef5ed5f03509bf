"""Ratios are those of rounds, so that what slows a whole round down slows both sides of it."""

import itertools

import pytest

from keyvault_portal import measure
from keyvault_portal.measure import Measurement, Rates, interleave


def test_a_ratio_is_the_median_of_the_rounds_with_its_middle_half():
    # The machine is slower in every later round; each round's ratio stays what it is.
    rates = Rates({"ours": [100.0, 60.0, 40.0, 22.0], "theirs": [10.0, 5.0, 4.0, 2.0]})
    row = rates.against("work", "items/s", "ours", "theirs", against="them", goal=11)
    assert row.value == 50
    assert row.ratio == 10.5
    assert row.spread == (10.0, 11.25)
    assert row.met is False


def test_one_round_has_no_spread_but_a_ratio():
    row = Rates({"a": [3.0], "b": [2.0]}).against("work", "items/s", "a", "b", goal=1.5)
    assert (row.ratio, row.spread, row.met) == (1.5, (1.5, 1.5), True)


def test_every_round_runs_every_job_in_turn(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(clock)))
    order: list[str] = []
    jobs = {name: lambda name=name: order.append(name) or 6.0 for name in ("a", "b")}
    rates = interleave(jobs, 3)
    assert order == ["a", "b"] * 3
    assert rates == {"a": 6.0, "b": 6.0}
    assert rates.rounds == {"a": [6.0] * 3, "b": [6.0] * 3}


@pytest.mark.parametrize(("ratio", "at_most", "met"), [(1.0, False, True), (1.1, True, False), (0.9, True, True)])
def test_a_goal_is_a_least_or_a_greatest_ratio(ratio, at_most, met):
    assert Measurement("x", 1.0, "s", "y", ratio, 1.0, at_most=at_most).met is met
