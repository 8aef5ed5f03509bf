"""The state machine of moves: the table, the services and the database agree, whatever people and providers do."""

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from keys.models import Key, KeyVersion, Move
from keys.services import moving
from keys.services.moving.frame import way
from keys.states import MOVE_MOVES, MoveState
from keyvault_portal.errors import PortalError, WrongState
from tests.moving.conftest import closed, drive, forget, fresh, turn

M = MoveState
OVER = {M.COMPLETED, M.UNDONE}
ACTS = ("turn", "turn", "pause", "resume", "undo", "drop", "keep", "down", "up", "refuse", "trust", "use")
pytestmark = pytest.mark.usefixtures("far", "sealing")


def test_only_the_two_ends_are_never_left_and_every_state_is_reached():
    assert {state for state, moves in MOVE_MOVES.items() if not moves} == OVER
    reached, todo = set(), [M.MAKING]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo.extend(MOVE_MOVES[state])
    assert reached == set(MoveState) == set(MOVE_MOVES)


def test_a_way_is_the_shortest_and_keeps_to_its_states():
    over = frozenset({M.RE_WRAPPING, M.RE_WRAPPED, M.DROPPING, M.PAUSED})
    assert way(M.PAUSED, M.DROPPING, over) == [M.RE_WRAPPING, M.RE_WRAPPED, M.DROPPING]
    assert way(M.DROPPING, M.DROPPING, over) == []
    with pytest.raises(WrongState):
        way(M.RE_WRAPPING, M.UNDONE, over)


def reachable(old: MoveState, new: MoveState) -> bool:
    try:
        return old is new or bool(way(old, new, frozenset(MoveState)))
    except WrongState:
        return False


def test_no_sequence_of_acts_leaves_the_table_or_loses_a_value(tree, kek, start, holdings, officer, there):
    class Moves(RuleBasedStateMachine):
        @initialize(with_material=st.booleans())
        def begin(self, with_material: bool) -> None:
            self.outer = transaction.atomic()
            self.outer.__enter__()
            there.down = there.refuses = False
            there.keys.clear()
            closed()
            forget()
            self.held = holdings(kek)
            self.held.add()
            self.move = start(kek, with_material=with_material)
            self.seen = M.MAKING

        def teardown(self) -> None:
            if not hasattr(self, "outer"):
                return
            try:
                there.down = there.refuses = False
                closed()
                self.finish()
                self.held.check()
            finally:
                transaction.set_rollback(True)
                self.outer.__exit__(None, None, None)
                forget()

        def finish(self) -> None:
            """Whatever happened, it can be resumed or undone."""
            state = M(fresh(self.move).state)
            if state is M.DROPPING:
                moving.keep_old(actor=officer, move_id=self.move.pk, reason="r")
            if state in {M.PAUSED, M.FAILED}:
                moving.resume_move(actor=officer, move_id=self.move.pk)
            if fresh(self.move).state not in {"undone", "undoing"}:
                drive(self.move)
                moving.undo_move(actor=officer, move_id=self.move.pk, reason="r")
            if fresh(self.move).state != "undone":
                drive(self.move, "undone")

        @rule(act=st.sampled_from(ACTS))
        def act(self, act: str) -> None:
            one = {"actor": officer, "move_id": self.move.pk}
            before = fresh(self.move).state
            try:
                with transaction.atomic():
                    match act:
                        case "turn":
                            turn(self.move)
                        case "pause":
                            moving.pause_move(**one)
                        case "resume":
                            moving.resume_move(**one)
                        case "undo":
                            moving.undo_move(**one, reason="r")
                        case "drop":
                            self.held.renew()
                            moving.drop_old(**one, reason="r")
                        case "keep":
                            moving.keep_old(**one, reason="r")
                        case "down" | "up":
                            there.down = act == "down"
                            closed()
                        case "refuse" | "trust":
                            there.refuses = act == "refuse"
                        case "use":
                            self.held.add()
            except PortalError:
                assert fresh(self.move).state == before

        @invariant()
        def the_table_holds(self) -> None:
            if not hasattr(self, "move"):
                return
            move = fresh(self.move)
            state = M(move.state)
            assert reachable(self.seen, state), (self.seen, state)
            self.seen = state
            key = Key.objects.get(pk=kek.pk)
            back = state in {M.UNDOING, M.UNDONE} or move.held_from == "undoing"
            after = move.switched_at is not None and not back
            assert key.current_id == (move.new_version_id if after else move.old_version_id)
            assert key.provider == (move.target if after else move.source)
            assert KeyVersion.objects.filter(key=kek, status="active").count() == 1
            assert move.old_version.status != "destroyed"
            if after:
                assert move.compared >= 1
            if not (there.down or there.refuses) and state is not M.DROPPING:
                self.held.check()

    run_state_machine_as_test(
        Moves,
        settings=settings(
            max_examples=12,
            stateful_step_count=14,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"state": "elsewhere"}, {"state": "paused"}, {"held_from": "making"}, {"target": "local"}, {"state": "completed"},
        {"state": "re_wrapping"}, {"switched_at": "2026-01-01T00:00:00Z"}, {"ended_at": "2026-01-01T00:00:00Z"},
    ],
)  # fmt: skip
def test_the_database_refuses_what_the_services_never_write(kek, start, change):
    move = start(kek)
    with pytest.raises(IntegrityError), transaction.atomic():
        Move.objects.filter(pk=move.pk).update(**change)


def test_the_database_refuses_a_second_move_of_a_key(kek, start, tree):
    move = start(kek)
    other = KeyVersion.objects.create(key=kek, key_version=9, kms_key_arn="x", never_extractable=not kek.exportable)
    with pytest.raises(IntegrityError), transaction.atomic():
        Move.objects.create(
            key=kek, source="local", target="far", old_version=move.old_version, new_version=other, requested_by="t"
        )
