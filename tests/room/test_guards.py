"""Guards between the steps of a ceremony that are met only when two things happen at once."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from ceremonies.models import ShareGeneration
from ceremonies.script import Action
from ceremonies.services import dealing, gathering, looking, plans
from ceremonies.states import GenerationState
from keyvault_portal.errors import Conflict, WrongState
from tests.keys.conftest import officer, tree
from tests.room.cast import Cast, plan

__all__ = ["officer", "tree"]
pytestmark = pytest.mark.django_db


def test_nobody_is_taken_out_of_a_plan_before_their_deputy(people: Any, planner: Any) -> None:
    made = Cast(planner, plan(planner))
    made.seat_staff()
    principal = made.seat("lena")
    made.seat_deputy("dora", "lena")
    with pytest.raises(Conflict) as refused:
        plans.remove_person(actor=planner, ceremony_id=made.id, participant_id=principal.pk)
    assert "Take the deputy out first" in refused.value.hint
    assert made.seat("dora").deputy_for == principal
    plans.remove_person(actor=planner, ceremony_id=made.id, participant_id=made.seat("dora").pk)
    plans.remove_person(actor=planner, ceremony_id=made.id, participant_id=principal.pk)
    assert not made.now.participants.filter(role="leader").exists()


def test_no_passphrase_is_taken_before_the_operator_began(people: Any, planner: Any) -> None:
    made = Cast(planner, plan(planner, with_passphrase=True))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", "karl", "lucy")
    made.open().gather()
    made.start()
    made.until(Action.DEAL)
    with pytest.raises(WrongState, match="The operator has not begun yet"):
        gathering.seal_passphrase(actor=made.actor("lena"), ceremony_id=made.id, step=made.now.step, sealed="AA==")


@pytest.mark.parametrize(("share", "notes"), [("held", "held"), ("dead", "held"), ("lost", "dealt"), ("lost", "shown")])
def test_a_share_that_was_found_or_not_confirmed_gets_no_new_custodian(planner: Any, share: str, notes: str) -> None:
    source = ShareGeneration.objects.create(
        ceremony=plan(planner), number=1, set_id=7, record={}, threshold=2, share_count=3, state=GenerationState.ACTIVE.value,
        practice=True, activated_at=timezone.now(), package_bag="B-1",
    )  # fmt: skip
    source.shares.create(index=1, custodian="Karl", state=share, bag="TB-1", confirmed_at=timezone.now())
    ceremony = plan(planner, title="Issued again")
    ceremony.source, ceremony.process = source, {"shares": {"1": {"index": 1, "custodian": "Kurt", "state": notes}}}
    scene: Any = SimpleNamespace(ceremony=ceremony, now=timezone.now(), me=SimpleNamespace(name="Lena"))
    with pytest.raises(WrongState):
        gathering._reseated(scene, {})
    assert source.shares.get().custodian == "Karl"


def test_the_version_in_use_is_dealt_and_nothing_else(tree: Any, planner: Any) -> None:
    real: Any = SimpleNamespace(practice=False, key=tree.master)
    assert dealing._version_in_use(real) == tree.master.current
    assert dealing._version_in_use(SimpleNamespace(practice=True, key=tree.master)) is None  # type: ignore[arg-type]
    for key in (None, SimpleNamespace(current=None)):
        with pytest.raises(WrongState, match="no version in use"):
            dealing._version_in_use(SimpleNamespace(practice=False, key=key))  # type: ignore[arg-type]


def test_one_share_is_and_two_are() -> None:
    assert looking._shares_are(1) == "1 share is"
    assert looking._shares_are(1, " more") == "1 more share is"
    assert looking._shares_are(2) == "2 shares are"
