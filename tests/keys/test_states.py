"""The state machine of versions under arbitrary acts: the table, the services and the database agree."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from keys.models import Key, KeyVersion
from keys.services import lifecycle
from keys.services.policies import PolicyValues
from keys.states import VERSION_MOVES, VersionState, may_move
from keyvault_portal.errors import WrongState

ACTS = (
    "introduce",
    "introduce_only",
    "activate",
    "suspend",
    "resume",
    "compromise",
    "schedule",
    "cancel",
    "destroy",
    "age",
)


@pytest.mark.django_db
def test_no_sequence_of_acts_leaves_the_table_of_moves(tree):
    class Versions(RuleBasedStateMachine):
        @initialize()
        def make(self) -> None:
            self.outer = transaction.atomic()
            self.outer.__enter__()
            alone = PolicyValues(cryptoperiod_days=90)
            self.key = tree.make("machine", "dek", "AES-256-GCM", tree.kek, policy=alone)
            self.seen = {1: VersionState.ACTIVE}

        def teardown(self) -> None:
            if hasattr(self, "outer"):
                transaction.set_rollback(True)
                self.outer.__exit__(None, None, None)

        @rule(act=st.sampled_from(ACTS), number=st.integers(1, 4))
        def act(self, act: str, number: int) -> None:
            version = KeyVersion.objects.filter(key=self.key, key_version=number).first()
            actor = tree.officer
            if act.startswith("introduce"):
                if KeyVersion.objects.filter(key=self.key).count() < 4:
                    lifecycle.introduce_version(actor=actor, key_id=self.key.pk, activate=act == "introduce")
                return
            if version is None:
                return
            one = {"actor": actor, "version_id": version.pk}
            try:
                if act == "activate":
                    lifecycle.activate_version(**one)
                elif act == "suspend":
                    lifecycle.suspend_version(**one, reason="test")
                elif act == "resume":
                    lifecycle.resume_version(**one)
                elif act == "compromise":
                    lifecycle.mark_compromised(**one, reason_code="key_compromise", occurred_at=timezone.now())
                elif act == "schedule":
                    lifecycle.schedule_deletion(**one)
                elif act == "cancel":
                    lifecycle.cancel_deletion(**one)
                elif act == "destroy":
                    lifecycle.destroy_version(**one)
                else:
                    KeyVersion.objects.filter(pk=version.pk, status="pending_deletion").update(
                        deletion_due_at=timezone.now() - timedelta(days=1)
                    )
            except WrongState:
                after = KeyVersion.objects.get(pk=version.pk)
                assert after.status == version.status

        @invariant()
        def moves_are_in_the_table(self) -> None:
            if not hasattr(self, "key"):
                return
            rows = list(KeyVersion.objects.filter(key=self.key))
            for row in rows:
                old = self.seen.get(row.key_version, VersionState.PRE_ACTIVE)
                # One rule moves a version at most once, except one made and activated in the same act.
                assert row.state is old or may_move(VERSION_MOVES, old, row.state), (old, row.state)
                self.seen[row.key_version] = row.state
                assert (row.wrapped_material is None) == (row.state is VersionState.DESTROYED)
                assert (row.deletion_due_at is not None) == (
                    row.state in {VersionState.PENDING_DELETION, VersionState.DESTROYED} and bool(row.deletion_from)
                )
                if row.compromised_at:
                    assert row.state in {
                        VersionState.COMPROMISED,
                        VersionState.PENDING_DELETION,
                        VersionState.DESTROYED,
                    }
            active = [row for row in rows if row.state is VersionState.ACTIVE]
            assert len(active) <= 1
            if active:
                assert Key.objects.get(pk=self.key.pk).current_id == active[0].pk

    run_state_machine_as_test(
        Versions,
        settings=settings(
            max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [{"status": "active"}, {"status": "retired"}, {"key_version": 1}, {"key_version": 0}, {"status": "destroyed"}],
)
def test_the_database_refuses_what_the_services_never_write(tree, change):
    version = lifecycle.introduce_version(actor=tree.officer, key_id=tree.dek.pk, activate=False)
    with pytest.raises(IntegrityError), transaction.atomic():
        KeyVersion.objects.filter(pk=version.pk).update(**change)


def test_destroyed_is_the_only_state_nobody_leaves():
    assert [state for state, moves in VERSION_MOVES.items() if not moves] == [VersionState.DESTROYED]


def test_every_state_is_reached_from_the_first():
    reached, todo = set(), [VersionState.PRE_ACTIVE]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo.extend(VERSION_MOVES[state])
    assert reached == set(VersionState)
