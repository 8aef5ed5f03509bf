"""The tables of moves, and that the database holds the same."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from ceremonies.models import Ceremony
from ceremonies.states import (
    BEFORE_COMMIT,
    CEREMONY_MOVES,
    ENDED,
    GENERATION_MOVES,
    OPEN,
    PLANNING,
    SHARE_MOVES,
    CeremonyState,
    GenerationState,
    ShareState,
)
from tests.room.cast import plan


@pytest.mark.parametrize(
    ("moves", "ends"),
    [
        (CEREMONY_MOVES, {CeremonyState.CLOSED, CeremonyState.ABORTED}), (GENERATION_MOVES, {GenerationState.DEAD}), (SHARE_MOVES, {ShareState.DEAD}),
    ],
)  # fmt: skip
def test_every_state_is_in_the_table_and_only_the_ends_cannot_be_left(moves, ends):
    states = set(type(next(iter(moves))))
    assert set(moves) == states
    assert {state for state, after in moves.items() if not after} == ends
    assert set().union(*moves.values()) | {next(iter(moves))} == states


def test_from_everywhere_before_the_commit_there_is_a_way_out_without_effect():
    for state in CeremonyState:
        before = state not in {CeremonyState.COMMITTED, CeremonyState.CLOSED, CeremonyState.ABORTED}
        assert (CeremonyState.ABORTED in CEREMONY_MOVES[state]) is before


def test_the_moves_are_these():
    said = {}
    for moves in (CEREMONY_MOVES, GENERATION_MOVES, SHARE_MOVES):
        for old, after in moves.items():
            said[f"{type(old).__name__} {old}"] = " ".join(sorted(after))
    assert said == {
        "CeremonyState planned": "aborted awaiting_approval gathering",
        "CeremonyState awaiting_approval": "aborted gathering planned",
        "CeremonyState gathering": "aborted running",
        "CeremonyState running": "aborted committed paused",
        "CeremonyState paused": "aborted running",
        "CeremonyState committed": "closed",
        "CeremonyState closed": "",
        "CeremonyState aborted": "",
        "GenerationState dealing": "active dead",
        "GenerationState active": "dead",
        "GenerationState dead": "",
        "ShareState dealt": "dead shown",
        "ShareState shown": "dead held",
        "ShareState held": "dead lost",
        "ShareState lost": "dead held",
        "ShareState dead": "",
    }
    sets = {"open": OPEN, "before": BEFORE_COMMIT, "planning": PLANNING, "ended": ENDED}
    assert {name: " ".join(sorted(states)) for name, states in sets.items()} == {
        "open": "committed gathering paused running",
        "before": "awaiting_approval gathering paused planned running",
        "planning": "planned",
        "ended": "aborted closed",
    }


@pytest.mark.parametrize(
    "values",
    [
        {"state": "open"}, {"state": "aborted"}, {"state": "aborted", "abort_reason": "x", "committed_at": timezone.now()}, {"state": "committed"},
        {"threshold": 4, "share_count": 3}, {"threshold": 1}, {"kind": "party"},
    ],
)  # fmt: skip
def test_the_database_refuses_what_the_tables_do(people, planner, values):
    ceremony = plan(planner)
    with pytest.raises(IntegrityError), transaction.atomic():
        Ceremony.objects.filter(pk=ceremony.pk).update(**values)
