"""What goes wrong in a room, one test each: nothing of it changes the old state, and everything of it is on the sheet."""

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from ceremonies.errors import (
    SealedWrongly,
    SessionOver,
    ShareMistyped,
    ShareOfAnotherPerson,
    ShareRefused,
)
from ceremonies.models import Ceremony, ScriptTemplate, Share, ShareGeneration
from ceremonies.room_errors import AlreadyDone, ClockChanged, NotYours, PlanImpossible, QuorumLost, RehearsalNeeded
from ceremonies.script import Action, parse
from ceremonies.services import dealing, endings, frame, gathering, plans, room
from ceremonies.services.work import ceremony_process
from ceremonies.states import CeremonyState
from keyvault_portal.errors import PortalError, ValidationFailed, WrongState
from tests.api.conftest import build_place, make_person
from tests.mistyped import mistyped
from tests.room.cast import Cast, agree, plan

VISITING = """
name: {name}
version: 1
kind: rekey
title: A seal made on its page
steps:
  - {{id: open, title: Open, text: Hello., who: leader, expected: All are here., sign_off: [leader, internal_witness]}}
  - {{id: act, title: Act, text: There., who: operator, action: visit, page: "keys:seal-list", expected: Done., sign_off: [leader, internal_witness]}}
  - {{id: close, title: Close, text: Bye., who: everybody, expected: Attested., sign_off: [leader, internal_witness]}}
"""
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dealt(cast: Cast) -> Cast:
    """A ceremony in which the shares wait to be shown."""
    cast.deal()
    return cast


def happened(cast: Cast) -> str:
    return " | ".join(cast.now.deviations.values_list("happened", flat=True))


def test_a_share_is_shown_to_its_holder_only_and_confirmed_by_its_holder_only(dealt):
    dealt.see("hana")
    with pytest.raises(NotYours):
        dealt.see("otto")
    dealt.see("igor")
    dealt.words["jane"] = dealt.words["hana"]
    with pytest.raises(WrongState):
        dealt.confirm("jane", dealt.words["hana"])
    with pytest.raises(ShareRefused):
        dealt.confirm("igor", dealt.words["hana"])
    assert Share.objects.get(index=dealt.seat("igor").share_index).state == "shown"
    dealt.confirm("igor", dealt.words["igor"])  # all of them will do


def test_a_browser_closed_mid_share_leads_to_new_shares_for_everybody(dealt):
    old = dealt.see("hana")
    dealt.confirm("hana")
    dealt.see("igor")  # and igor's browser is gone before he wrote anything
    with pytest.raises(AlreadyDone):
        dealt.see("igor")
    with pytest.raises(NotYours):
        dealing.deal_again(actor=dealt.actor("igor"), ceremony_id=dealt.id, reason="I saw nothing.")
    dealing.deal_again(actor=dealt.actor("lena"), ceremony_id=dealt.id, reason="Igor's browser closed.")
    assert dealt.now.read_script().steps[dealt.ceremony.step].action is Action.DEAL
    dealing.deal(actor=dealt.actor("otto"), ceremony_id=dealt.id, step=dealt.now.step)
    dealt.sign_all()
    assert dealt.see("hana") != old
    assert "Igor's browser closed." in happened(dealt)


def test_of_two_people_at_once_one_performs(cast):
    cast.gather()
    cast.start()
    cast.until(Action.DEAL)
    step, actor, outcomes = cast.now.step, cast.actor("otto"), []
    start = threading.Barrier(4)

    def race() -> None:
        try:
            start.wait()
            dealing.deal(actor=actor, ceremony_id=cast.id, step=step)
            outcomes.append("done")
        except PortalError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["already_done", "already_done", "already_done", "done"]
    assert Share.objects.count() == 5


def test_a_page_that_was_overtaken_signs_nothing(cast):
    cast.gather()
    cast.start()
    room.sign_off(actor=cast.actor("lena"), ceremony_id=cast.id, step=0)
    with pytest.raises(AlreadyDone):
        room.sign_off(actor=cast.actor("lena"), ceremony_id=cast.id, step=0)
    cast.sign("wilma")
    with pytest.raises(WrongState):
        room.sign_off(actor=cast.actor("wilma"), ceremony_id=cast.id, step=0)
    with pytest.raises(NotYours):
        room.sign_off(actor=cast.actor("hana"), ceremony_id=cast.id, step=cast.now.step)


def test_after_an_abort_nothing_is_taken_and_the_old_state_is_proven_intact(dealt):
    dealt.see("hana")
    key = dealt.now.process["public_key"]  # her page still has it
    endings.abort(actor=dealt.actor("karl"), ceremony_id=dealt.id, reason="The door was open.")
    ceremony = dealt.now
    assert (ceremony.status, ceremony.aborted_by) == (CeremonyState.ABORTED, "Karl")
    assert ceremony.result["intact"] is True
    assert ceremony.result["before"] == ceremony.result["after"]
    assert ShareGeneration.objects.get().state == "dead"
    assert not ceremony_process().status(ceremony_id=dealt.id).begun
    for act in (
        lambda: dealt.confirm("hana", key=key),
        lambda: dealt.sign("wilma"),
        lambda: dealt.see("igor"),
        dealt.start,
    ):
        with pytest.raises(WrongState):
            act()


def test_nobody_aborts_after_the_commit(cast):
    cast.hold_escrow(attest=False)
    with pytest.raises(WrongState):
        endings.abort(actor=cast.actor("lena"), ceremony_id=cast.id, reason="Too late.")
    room.attest(actor=cast.actor("hana"), ceremony_id=cast.id, agrees=False, reason="I left the room twice.")
    with pytest.raises(ValidationFailed):
        room.attest(actor=cast.actor("igor"), ceremony_id=cast.id, agrees=False)
    assert cast.seat("hana").attests is False


@pytest.mark.parametrize("shift", [timedelta(minutes=-5), timedelta(hours=3)])
def test_a_clock_that_changes_pauses_the_ceremony(cast, monkeypatch, shift):
    cast.gather()
    cast.start()
    there = timezone.now() + shift
    with monkeypatch.context() as patch:
        patch.setattr(frame, "timezone", SimpleNamespace(now=lambda: there))
        with pytest.raises(ClockChanged):
            cast.sign("lena")
    assert cast.now.status is CeremonyState.PAUSED
    assert "clock" in happened(cast).lower()
    room.resume(actor=cast.actor("lena"), ceremony_id=cast.id)
    cast.sign("lena", "wilma")


def test_without_its_leader_a_ceremony_waits_for_the_deputy(people, process, planner):
    made = Cast(planner, plan(planner))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", "karl", "lucy")
    made.seat_deputy("dora", "lena")
    made.open()
    made.gather()
    made.start()
    with pytest.raises(WrongState):
        room.stand_in(actor=made.actor("dora"), ceremony_id=made.id)
    room.leave(actor=made.actor("lena"), ceremony_id=made.id, reason="A phone call.")
    assert made.now.status is CeremonyState.PAUSED
    with pytest.raises(NotYours):
        room.resume(actor=made.actor("lena"), ceremony_id=made.id)
    room.stand_in(actor=made.actor("dora"), ceremony_id=made.id)
    room.resume(actor=made.actor("dora"), ceremony_id=made.id)
    made.sign("dora", "wilma")
    assert "Dora stands in." in happened(made)


def test_a_quorum_out_of_reach_stops_the_ceremony(cast, recovery_of):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    with pytest.raises(WrongState):
        recovery.start()
    recovery.gather(besides=("hana", "igor", "jane"))
    with pytest.raises(QuorumLost):
        recovery.start()
    recovery.gather(besides=("igor", "jane", "karl", "lucy", "lena", "otto", "wilma"))
    recovery.start()
    room.send_away(
        actor=recovery.actor("wilma"),
        ceremony_id=recovery.id,
        participant_id=recovery.seat("karl").pk,
        reason="Taken ill.",
    )
    assert recovery.now.status is CeremonyState.PAUSED
    with pytest.raises(QuorumLost):
        room.resume(actor=recovery.actor("lena"), ceremony_id=recovery.id)
    assert ShareGeneration.objects.get().state == "active"


def test_wrong_shares_are_named_and_change_nothing(cast, recovery_of):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    recovery.gather()
    recovery.start()
    recovery.until(Action.COLLECT)
    gathering.open_attempt(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    words = cast.words
    for error, name, text, more in (
        (ShareOfAnotherPerson, "hana", words["igor"], {}),
        (ShareMistyped, "hana", mistyped(words["hana"]), {}),
        (SealedWrongly, "hana", words["hana"], {"ceremony": uuid4()}),
        (SealedWrongly, "hana", words["hana"], {"script": "0" * 64}),
        (SealedWrongly, "jane", words["jane"], {"custodian": str(recovery.seat("igor").pk)}),  # the fifth of one waits
    ):
        with pytest.raises(error):
            recovery.submit(name, text, **more)
    assert recovery.now.process["given"] == []
    assert happened(recovery).count("The share of Hana was refused") == 4
    assert happened(recovery).count("The share of Jane was refused") == 1
    recovery.submit("hana", words["hana"])
    with pytest.raises(AlreadyDone):
        recovery.submit("hana", words["hana"])
    for text in words.values():
        assert " ".join(text.split()[6:9]) not in happened(recovery)


def test_a_share_handed_in_after_an_abort_is_not_taken(cast, recovery_of):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    recovery.gather()
    recovery.start()
    recovery.collect("hana", "igor")
    process, sealed = recovery.now.process, recovery.seal("jane", cast.words["jane"])
    recovery.abort()
    with pytest.raises(WrongState):
        gathering.submit_share(
            actor=recovery.actor("jane"), ceremony_id=recovery.id, step=recovery.now.step, sealed=sealed
        )
    with pytest.raises(SessionOver):
        ceremony_process().take_share(
            ceremony_id=recovery.id, attempt=process["attempt"], custodian_id=str(recovery.seat("jane").pk), step="collect",
            ciphertext=gathering.unpacked(sealed),
        )  # fmt: skip
    assert ShareGeneration.objects.get().state == "active"
    again = recovery_of(cast)  # and what was sealed for the one ceremony is nothing in the next
    again.gather()
    again.start()
    again.collect("hana")
    with pytest.raises(SealedWrongly):
        gathering.submit_share(actor=again.actor("jane"), ceremony_id=again.id, step=again.now.step, sealed=sealed)
    with pytest.raises(AlreadyDone):
        again.submit("hana", cast.words["hana"])


def test_a_place_that_refuses_the_key_leaves_it_for_another(people, planner, process):
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    root = build_place("payments").keys["root"]
    made = Cast(planner, plan(planner, key=root, practice=False))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", "karl", "lucy")
    agree(made, *officers).hold_escrow()
    recovery = Cast(planner, plan(planner, "recovery:2", title="Recovery", key=root, practice=False, provider="local"), made.words)  # fmt: skip
    Ceremony.objects.filter(pk=recovery.id).update(provider="hsm-3")  # as when it is gone by the day of the ceremony
    recovery.seat_staff()
    agree(recovery, *officers).gather()
    recovery.start()
    recovery.collect("hana", "igor", "jane")
    recovery.sign_all()
    recovery.sign_all()
    with pytest.raises(PortalError):
        recovery.perform(Action.RECOVER)
    assert (recovery.now.status, recovery.ceremony.committed_at) == (CeremonyState.RUNNING, None)
    assert ShareGeneration.objects.get().state == "active"
    assert "Recover:" in happened(recovery)
    Ceremony.objects.filter(pk=recovery.id).update(provider="local")  # as when the HSM takes it at the next try
    recovery.perform(Action.RECOVER)
    assert recovery.now.status is CeremonyState.COMMITTED
    assert ShareGeneration.objects.get().state == "dead"


def test_a_plan_that_cannot_be_held_opens_no_room(people, planner):
    ceremony = plan(planner, threshold=5)
    made = Cast(planner, ceremony)
    made.seat_staff()
    made.seat_holders("hana", "igor")
    with pytest.raises(PlanImpossible) as refused:
        made.open()
    assert "All shares would be needed: one that is lost loses the key." in refused.value.errors["people"][0]
    with pytest.raises(ValidationFailed):
        plans.add_person(actor=planner, ceremony_id=ceremony.pk, role="operator", email="hana@example.org")


def test_a_policy_may_ask_for_a_rehearsal_of_the_very_script(people, planner, process):
    text = VISITING.format(name="our-rekey")
    ScriptTemplate.objects.create(
        name="our-rekey", version=1, kind="rekey", title="Ours", text=text, sha256=parse(text).sha256, uploaded_by="test",
        approved_at=timezone.now(), approval_id=uuid4(),
    )  # fmt: skip

    def real() -> Any:
        made = Cast(
            planner,
            plan(
                planner, "our-rekey:1", practice=False, policy={"rehearsed_within_days": 30}, threshold=0, share_count=0
            ),
        )
        made.seat_staff()
        return made

    with pytest.raises(RehearsalNeeded):
        real().open()
    rehearsal = Cast(planner, plan(planner, "our-rekey:1", threshold=0, share_count=0))
    rehearsal.seat_staff()
    rehearsal.open()
    rehearsal.gather()
    rehearsal.start()
    rehearsal.sign_all()
    rehearsal.sign_all()
    endings.visited(
        actor=rehearsal.actor("otto"), ceremony_id=rehearsal.id, step=rehearsal.now.step, outcome="It opened."
    )
    rehearsal.close()
    assert rehearsal.now.status is CeremonyState.CLOSED
    made = real()
    with pytest.raises(PortalError) as waiting:
        made.open()
    assert waiting.value.code in {
        "approval_required",
        "quorum_unreachable",
    }  # the rehearsal is not what stands in the way


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", " "),
        ("title", "x" * 151),
        ("purpose", ""),
        ("place", " "),
        ("time_zone", "localtime"),  # the clock of whichever machine reads it
        ("time_zone", "Etc/GMT+1"),  # an hour west of Greenwich, which nobody expects
        ("reserve_at", datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_plan_that_nobody_could_follow_is_refused(planner, field, value):
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, **{field: value})
    assert set(refused.value.errors) == {field}


def test_a_second_date_is_later_than_the_first(planner):
    first = datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, starts_at=first, reserve_at=first)
    assert set(refused.value.errors) == {"reserve_at"}


@pytest.mark.parametrize("script", ["escrow:1", "byok:1"])
def test_the_real_thing_is_about_a_key(planner, script):
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, script, practice=False)
    assert refused.value.errors["key"] == ["Choose the key this is about."]


def test_a_recovery_says_where_the_key_goes(planner):
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, "recovery:2", practice=False)
    assert refused.value.errors["provider"] == ["Choose where the key goes."]
