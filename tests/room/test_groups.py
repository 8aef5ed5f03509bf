"""Two groups that must both agree, and a passphrase beside the shares, from the plan to the recovery."""

from typing import Any

import pytest

from ceremonies.errors import NotReady, SealedWrongly, SecretNotRecovered, SplitRefused
from ceremonies.models import ShareGeneration
from ceremonies.quorums import Quorum
from ceremonies.room_errors import NotYours, PlanImpossible
from ceremonies.script import Action
from ceremonies.services import custody, looking, plans
from ceremonies.states import CeremonyState
from keyvault_portal.errors import ValidationFailed, WrongState
from tests.room.cast import Cast, plan

pytestmark = pytest.mark.django_db(transaction=True)
GROUPS = Quorum.parse("Security officers: 2 of 3\nLegal: 1 of 2")
OFFICERS, LAWYERS = ("hana", "igor", "jane"), ("karl", "lucy")
PHRASE = "Correct horse, battery  staple"


@pytest.fixture
def grouped(planner: Any, process: Any) -> Cast:
    made = Cast(planner, plan(planner, groups=GROUPS, with_passphrase=True, iteration_exponent=0))
    made.seat_staff()
    made.seat_holders(*LAWYERS, group="Legal")
    made.seat_holders(*OFFICERS, group="Security officers")
    return made.open()


def part(cast: Cast, name: str) -> looking.Part:
    seat = cast.seat(name)
    return looking.look(cast.now, seat, list(cast.now.participants.all()))["part"]


def test_neither_group_alone_opens_it_and_a_wrong_passphrase_costs_no_share(grouped, recovery_of):
    cast = grouped
    assert [cast.seat(name).share_index for name in (*OFFICERS, *LAWYERS)] == [1, 2, 3, 4, 5]
    cast.gather()
    cast.start()
    cast.until(Action.DEAL)
    assert part(cast, "lena").name == "wait"
    assert part(cast, "otto").name == "begin"
    from ceremonies.services import dealing

    with pytest.raises(WrongState):
        plans.add_person(actor=cast.planner, ceremony_id=cast.id, role="holder", email="late@example.org", name="Late")
    dealing.begin(actor=cast.actor("otto"), ceremony_id=cast.id, step=cast.now.step)
    with pytest.raises(NotReady):
        cast.perform(Action.DEAL)
    assert not cast.now.deviations.exists()
    assert part(cast, "lena").name == "passphrase"
    assert part(cast, "otto").name == "wait"
    with pytest.raises(NotYours):
        cast.give_passphrase(PHRASE, name="otto")
    with pytest.raises(SplitRefused):
        cast.give_passphrase("größer")
    cast.give_passphrase(PHRASE)
    assert part(cast, "otto").name == "perform"
    cast.perform(Action.DEAL)
    cast.sign_all()
    assert part(cast, "hana").name == "show_share"
    cast.hand_out()
    cast.put_in_force()
    cast.close()
    made = ShareGeneration.objects.get()
    assert (made.threshold, made.share_count, made.with_passphrase) == (3, 5, True)
    assert made.public_record.groups == ((2, 3), (1, 2))
    assert custody.health_of(made).words == "5 of 5 proved today, 2 of 3 Security officers and 1 of 2 Legal, spare 1"
    assert str(made.shares.get(index=4).group.name) == "Legal"

    recovery = recovery_of(cast)
    recovery.gather(besides=("karl",))
    recovery.start()
    recovery.until(Action.COLLECT)
    recovery.perform(Action.COLLECT)
    assert [recovery.submit(name, cast.words[name]).missing for name in OFFICERS] == [2, 1, 1]
    assert "Needed: 1 more (1 of Legal)." in part(recovery, "otto").text
    assert recovery.submit("lucy", cast.words["lucy"]).missing == 0
    recovery.sign_all()
    assert part(recovery, "lena").name == "sign"
    recovery.sign_all()
    with pytest.raises(NotReady):
        recovery.perform(Action.RECOVER)
    recovery.give_passphrase(PHRASE.lower())
    with pytest.raises(SecretNotRecovered):
        recovery.perform(Action.RECOVER)
    assert made.state == "active"
    assert recovery.now.committed_at is None
    assert "It was" not in part(recovery, "lena").text
    assert "If it was wrong" in part(recovery, "lena").text
    recovery.give_passphrase(PHRASE)
    recovery.perform(Action.RECOVER)
    assert recovery.now.status is CeremonyState.COMMITTED
    assert recovery.ceremony.result["check_value"] == made.check_value
    said = "".join(str(value) for value in (cast.now.process, recovery.ceremony.process, recovery.ceremony.result))
    assert "horse" not in said


def test_a_passphrase_is_sealed_for_its_step_and_its_leader(grouped):
    from ceremonies.services import dealing, gathering

    cast = grouped
    cast.gather()
    cast.start()
    cast.until(Action.DEAL)
    dealing.begin(actor=cast.actor("otto"), ceremony_id=cast.id, step=cast.now.step)
    for wrong in (cast.seal("lena", PHRASE, step="collect"), cast.seal("otto", PHRASE, step="deal")):
        with pytest.raises(SealedWrongly):
            gathering.seal_passphrase(actor=cast.actor("lena"), ceremony_id=cast.id, step=cast.now.step, sealed=wrong)


def test_a_plan_seats_each_group(planner, people):
    made = Cast(planner, plan(planner, groups=GROUPS))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", group="Security officers")
    with pytest.raises(ValidationFailed) as full:
        made.seat_holders("nora", group="Security officers")
    assert full.value.errors == {"group": ["All shares of this group have their holders."]}
    for unknown in ("", "Finance"):
        with pytest.raises(ValidationFailed):
            made.seat_holders("nora", group=unknown)
    made.seat_holders("karl", group="Legal")
    with pytest.raises(PlanImpossible) as refused:
        made.open()
    assert "5 shares need 5 share holders; the plan has 4." in refused.value.errors["people"]
    plans.remove_person(actor=planner, ceremony_id=made.id, participant_id=made.seat("igor").pk)
    made.seat_holders("nora", group="Security officers")
    assert made.seat("nora").share_index == 2
    made.seat_holders("lucy", group="Legal")
    assert made.open().now.status is CeremonyState.GATHERING


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"groups": Quorum.parse("A: 1 of 2\nB: 1 of 2", 1)}, "groups"),
        ({"threshold": 6, "share_count": 5}, "threshold"),
        ({"threshold": 1, "share_count": 1}, "threshold"),
        ({"iteration_exponent": 11}, "iteration_exponent"),
    ],
)
def test_numbers_that_cannot_be(planner, people, values, field):
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, **values)
    assert field in refused.value.errors
