"""Counting people into groups: the matching agrees with trying everything."""

from itertools import product
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from keyvault_portal.approvals.quorum import Group, assign, missing, satisfied

OFFICER, CUSTODIAN = Group("security_officer", 1), Group("custodian", 1)


def by_trying_everything(groups: list[Group], people: dict[UUID, set[int]]) -> bool:
    choices = [[None, *sorted(fits)] for fits in people.values()]
    return any(
        all(choice.count(index) >= group.threshold for index, group in enumerate(groups))
        for choice in product(*choices)
    )


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.lists(st.sets(st.integers(0, 2)), max_size=6))
def test_satisfied_means_some_assignment_fills_every_group(thresholds, fits):
    groups = [Group("security_officer", threshold) for threshold in thresholds]
    people = {uuid4(): {index for index in indexes if index < len(groups)} for indexes in fits}
    assert satisfied(groups, people) == by_trying_everything(groups, people)
    assert satisfied(groups, people) == (missing(groups, people) == [])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.lists(st.sets(st.integers(0, 2)), max_size=6))
def test_nobody_counts_twice(thresholds, fits):
    groups = [Group("security_officer", threshold) for threshold in thresholds]
    people = {uuid4(): {index for index in indexes if index < len(groups)} for indexes in fits}
    counted = assign(groups, people)
    assert sum(counted) <= sum(1 for indexes in people.values() if indexes)
    assert all(count <= group.threshold for count, group in zip(counted, groups, strict=True))


def test_somebody_in_both_groups_counts_where_needed():
    both, officer = uuid4(), uuid4()
    for people in ({both: {0, 1}, officer: {0}}, {officer: {0}, both: {0, 1}}):
        assert satisfied([OFFICER, CUSTODIAN], people)
    assert missing([OFFICER, CUSTODIAN], {both: {0, 1}}) in (["1 × custodian"], ["1 × security officer"])
