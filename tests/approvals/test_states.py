"""The table of moves, as a property and as the database holds it."""

from itertools import product

import pytest
from django.db import IntegrityError, transaction
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import sampled_from

from keyvault_portal.approvals.errors import AlreadyDecided, RequestExpired
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.approvals.states import MOVES, RequestState, advance

from .conftest import unguarded

TERMINAL = {state for state, moves in MOVES.items() if not moves}


class Requests(RuleBasedStateMachine):
    """Any sequence of wished moves."""

    @initialize()
    def ask(self):
        self.path = [RequestState.PENDING]

    @rule(new=sampled_from(RequestState))
    def move(self, new):
        try:
            self.path.append(RequestState(advance(self.path[-1].value, new)))
        except (AlreadyDecided, RequestExpired):
            assert new not in MOVES[self.path[-1]]

    @invariant()
    def terminal_states_are_never_left(self):
        assert all(state not in TERMINAL for state in self.path[:-1])

    @invariant()
    def nothing_is_executed_without_agreement(self):
        if self.path[-1] == RequestState.EXECUTED:
            assert self.path == [RequestState.PENDING, RequestState.APPROVED, RequestState.EXECUTED]


TestRequests = Requests.TestCase


def test_which_states_are_final():
    assert set(RequestState) - {RequestState.PENDING, RequestState.APPROVED} == TERMINAL


@pytest.mark.parametrize(("old", "new"), [pair for pair in product(RequestState, RequestState) if pair[0] != pair[1]])
def test_the_database_holds_the_same_table(ask, old, new):
    request = ask()
    with unguarded():
        ApprovalRequest.objects.filter(pk=request.pk).update(state=old.value)
    try:
        with transaction.atomic():
            ApprovalRequest.objects.filter(pk=request.pk).update(state=new.value)
        moved = True
    except IntegrityError:
        moved = False
    assert moved == (new in MOVES[old])


def test_no_other_state_is_stored(ask):
    request = ask()
    with pytest.raises(IntegrityError), unguarded():
        ApprovalRequest.objects.filter(pk=request.pk).update(state="agreed")
