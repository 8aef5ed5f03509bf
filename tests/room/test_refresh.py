"""A new escrow key for the same master key: verified under a second nonce before the old set ends; a lost share issued again; a risk accepted."""

from typing import Any

import pytest

from ceremonies import offline
from ceremonies.errors import (
    AttemptOver,
    NotReady,
    SealedWrongly,
    ShareOfAnotherPerson,
    ShareOfAnotherSet,
    ShareOfOldGeneration,
)
from ceremonies.models import CustodyEntry, ShareGeneration
from ceremonies.room_errors import AlreadyDone, NotYours, PlanImpossible
from ceremonies.script import Action
from ceremonies.services import custody, dealing, looking, plans, risks
from ceremonies.services.deeds import DEEDS
from ceremonies.services.work import ceremony_process
from ceremonies.states import CeremonyState
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.execution import execute
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired, PortalError, ValidationFailed, WrongState
from tests.api.conftest import actor, build_place, make_person
from tests.room.cast import Cast, plan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def old(cast: Cast) -> Cast:
    """A set of 3 of 5 in force."""
    cast.hold_escrow()
    return cast


def refresh_of(cast: Cast) -> Cast:
    """A refresh with open room; Karl was replaced by Kurt."""
    made = Cast(cast.planner, plan(cast.planner, "refresh:2", title="Refresh"))
    made.seat_staff()
    made.seat_holders("hana", "igor", "jane", "kurt", "lucy")
    return made.open()


def recovers(cast: Cast, words: dict[str, str], *names: str) -> bool:
    """Whether these words recover what the cast's set holds, in a ceremony that is then aborted."""
    made = Cast(cast.planner, plan(cast.planner, "recovery:2", title="A try"), dict(words))
    made.seat_staff()
    made.open()
    made.gather()
    made.start()
    try:
        made.collect(*names)
    except PortalError:
        return False
    finally:
        made.abort()
    return True


def test_the_old_set_ends_only_when_all_new_shares_were_verified(old, recovery_of):
    first = ShareGeneration.objects.get()
    made = refresh_of(old)
    made.deal()
    made.hand_out()
    assert made.now.read_script().steps[made.ceremony.step].action is Action.VERIFY
    with pytest.raises(WrongState):
        made.submit("hana", made.words["hana"], step="verify")  # nobody has asked yet
    made.perform(Action.VERIFY)
    nonce = made.now.process["attempt"]
    with pytest.raises(ShareOfAnotherSet):
        made.submit("hana", old.words["hana"], step="verify")
    with pytest.raises(ShareOfAnotherPerson):
        made.submit("hana", made.words["igor"], step="verify")
    with pytest.raises(SealedWrongly):
        made.submit("hana", made.words["hana"], step="collect")
    for name in made.holders[:4]:
        made.submit(name, made.words[name], step="verify")
    with pytest.raises(AlreadyDone):
        made.submit("hana", made.words["hana"], step="verify")
    with pytest.raises(WrongState):
        made.sign("otto")

    with pytest.raises(NotYours):
        dealing.cancel_verification(actor=made.actor("hana"), ceremony_id=made.id, reason="No.")
    with pytest.raises(ValidationFailed):
        dealing.cancel_verification(actor=made.actor("otto"), ceremony_id=made.id, reason=" ")
    dealing.cancel_verification(actor=made.actor("otto"), ceremony_id=made.id, reason="Lucy left her card.")
    first.refresh_from_db()
    assert first.state == "active"
    with pytest.raises(AttemptOver):
        ceremony_process().take_share(
            ceremony_id=made.id, attempt=nonce, custodian_id=str(made.seat("lucy").pk), step="verify", ciphertext=b"x"
        )
    with pytest.raises(WrongState):
        DEEDS[Action.STORE_PACKAGE](
            actor=made.actor("otto"), ceremony_id=made.id, step=made.now.step, bag="B", place="P"
        )
    made.perform(Action.VERIFY)
    assert made.now.process["attempt"] != nonce
    assert made.now.process["given"] == []
    for name in made.holders:
        made.submit(name, made.words[name], step="verify")
    made.sign_all()
    made.perform(Action.STORE_PACKAGE, bag="BAG-P", place="Vault")
    made.sign_all()
    made.sign_all()
    first.refresh_from_db()
    assert first.state == "active"
    made.perform(Action.ACTIVATE)
    made.close()
    first.refresh_from_db()
    assert (first.state, made.now.result["ended_generations"]) == ("dead", [1])
    second = ShareGeneration.objects.get(state="active")
    assert (second.number, second.set_id != first.set_id) == (2, True)
    assert second.log.filter(what="proved").count() == 9  # four of the verification that was cancelled

    recovery = recovery_of(made)
    recovery.gather()
    recovery.start()
    recovery.until(Action.COLLECT)
    recovery.perform(Action.COLLECT)
    with pytest.raises(ShareOfOldGeneration):
        recovery.submit("hana", old.words["hana"])
    for name in ("hana", "kurt", "lucy"):
        recovery.submit(name, made.words[name])
    recovery.sign_all()
    recovery.sign_all()
    recovery.perform(Action.RECOVER)
    assert recovery.now.result["check_value"] == second.check_value


def steps_of_a_refresh(made: Cast) -> Any:
    """Each moment before the commit, by what has just been done."""
    yield "open"
    made.gather()
    yield "gathered"
    made.start()
    yield "begun"
    made.until(Action.DEAL)
    made.perform(Action.DEAL)
    yield "dealt"
    made.sign_all()
    made.see("hana")
    yield "shown"
    made.confirm("hana")
    for name in made.holders[1:]:
        made.see(name)
        made.confirm(name)
    made.sign_all()
    yield "handed out"
    made.perform(Action.VERIFY)
    made.submit("hana", made.words["hana"], step="verify")
    yield "verifying"
    for name in made.holders[1:]:
        made.submit(name, made.words[name], step="verify")
    yield "verified"
    made.sign_all()
    made.perform(Action.STORE_PACKAGE, bag="BAG-P", place="Vault")
    yield "packed"
    made.sign_all()
    made.sign_all()
    yield "signed"


def test_aborted_at_any_step_the_old_set_is_as_it_was(old):
    first = ShareGeneration.objects.get()
    fields = ("state", "package_sha256", "record", "check_value", "ended_at")
    before = [getattr(first, name) for name in fields], list(first.shares.values())
    moments = list(enumerate(_names_of_moments()))
    for number, _ in moments:
        made = refresh_of(old)
        steps = steps_of_a_refresh(made)
        reached = [next(steps) for _ in range(number + 1)][-1]
        made.abort()
        assert made.now.status is CeremonyState.ABORTED, reached
        assert made.ceremony.result["intact"] is True, reached
        assert not ceremony_process().status(ceremony_id=made.id).begun, reached
        first.refresh_from_db()
        assert ([getattr(first, name) for name in fields], list(first.shares.values())) == before, reached
        assert not ShareGeneration.objects.exclude(pk=first.pk).exclude(state="dead").exists(), reached
    assert recovers(old, old.words, "jane", "karl", "lucy")
    assert not recovers(old, made.words, "hana", "igor", "jane")


def _names_of_moments() -> list[str]:
    return ["open", "gathered", "begun", "dealt", "shown", "handed out", "verifying", "verified", "packed", "signed"]


def lose(cast: Cast, name: str) -> Any:
    share = ShareGeneration.objects.get(state="active").shares.get(email=f"{name}@example.org")
    return custody.note_custody(
        actor=cast.planner, share_id=share.pk, what=CustodyEntry.What.LOST, reason="The bag is gone."
    )


def reissue_of(cast: Cast, *holders: str) -> Cast:
    made = Cast(cast.planner, plan(cast.planner, "reissue:1", title="Reissue"), dict(cast.words))
    made.seat_staff()
    made.seat_holders(*holders)
    return made.open()


def test_a_lost_share_is_issued_again_under_its_index_and_is_no_second_vote(old, recovery_of):
    with pytest.raises(ValidationFailed):
        plan(old.planner, "reissue:1", title="Nothing lost")
    lost = lose(old, "karl")
    health = custody.health_of(lost.generation)
    assert (health.held, health.spare) == (4, 1)
    with pytest.raises(PlanImpossible) as refused:
        reissue_of(old)
    assert "seat its new custodian" in " ".join(refused.value.errors["people"])
    twice = Cast(old.planner, plan(old.planner, "reissue:1", title="Two votes"))
    twice.seat_staff()
    plans.remove_person(actor=old.planner, ceremony_id=twice.id, participant_id=twice.seat("hana").pk)
    twice.seat_holders("nora")  # takes the first free share, which is hana's own
    twice.seat_holders("hana")
    with pytest.raises(PlanImpossible) as refused:
        twice.open()
    assert "Hana holds share 1 already" in " ".join(refused.value.errors["people"])

    made = reissue_of(old, "kurt")
    assert made.seat("kurt").share_index == lost.index
    made.gather(besides=("lucy",))
    made.start()
    made.collect("hana", "igor", "jane")
    made.sign_all()
    made.perform(Action.REISSUE)
    made.sign_all()
    with pytest.raises(NotYours):
        made.see("hana")
    assert made.see("kurt") == old.words["karl"]
    with pytest.raises(AlreadyDone):
        made.see("kurt")
    made.confirm("kurt")
    made.sign_all()
    lost.refresh_from_db()
    assert (lost.state, lost.custodian) == ("lost", "Karl")  # until everybody has accepted
    with pytest.raises(WrongState):
        made.perform(Action.RESEAT)
    made.sign_all()
    made.perform(Action.RESEAT)
    made.close()
    lost.refresh_from_db()
    assert (lost.state, lost.custodian, lost.bag, lost.email) == ("held", "Kurt", "BAG-kurt", "kurt@example.org")
    assert made.now.result["remaining_risk_accepted_by"] == "Lena, Otto, Wilma"
    accepted = lost.log.get(what="accepted")
    assert "Karl" in accepted.reason
    assert custody.health_of(lost.generation).held == 5
    assert not risks.open_risks(lost.generation)

    recovery = recovery_of(made)
    recovery.gather()
    recovery.start()
    recovery.until(Action.COLLECT)
    recovery.perform(Action.COLLECT)
    recovery.submit("kurt", made.words["kurt"])
    with pytest.raises(ShareOfAnotherPerson):
        recovery.submit("hana", old.words["karl"])  # whoever found the old card
    assert recovery.submit("hana", old.words["hana"]).missing == 1


@pytest.mark.parametrize("until", ["collected", "reissued", "shown", "confirmed", "signed"])
def test_a_reissue_that_is_aborted_leaves_the_share_lost(old, until):
    lost = lose(old, "karl")
    before = list(lost.generation.shares.values())
    made = reissue_of(old, "kurt")
    made.gather()
    made.start()
    made.collect("hana", "igor", "jane")
    for name, act in (
        ("collected", made.sign_all), ("reissued", lambda: (made.perform(Action.REISSUE), made.sign_all())), ("shown", lambda: made.see("kurt")),
        ("confirmed", lambda: (made.confirm("kurt"), made.sign_all())), ("signed", made.sign_all),
    ):  # fmt: skip
        act()
        if name == until:
            break
    made.abort()
    assert made.now.result["intact"] is True
    after = list(lost.generation.shares.values())
    for row in (*before, *after):
        row.pop("proved_at")  # handing in proves a share, whatever comes of it
    assert after == before
    assert custody.health_of(lost.generation).spare == 1


def test_the_remaining_risk_is_accepted_by_others_or_stays_due(people, planner, process, old):
    officers = [make_person(name, "security_officer") for name in ("boris", "chen")]
    generation = ShareGeneration.objects.get()
    share = generation.shares.get(email="igor@example.org")
    with pytest.raises(WrongState):
        risks.accept_risk(actor=planner, share_id=share.pk, reason="Nothing happened.")
    lose(old, "igor")
    generation.practice = False
    generation.key = build_place("payments").keys["root"]
    generation.save()
    said = [sentence for _, sentence, *_ in custody.due()]
    assert any(
        "the share of Igor is lost, so new shares are due, or the remaining risk" in sentence for sentence in said
    )
    with pytest.raises(ValidationFailed):
        risks.accept_risk(actor=planner, share_id=share.pk, reason=" ")
    with pytest.raises(PortalError) as refused:
        risks.accept_risk(actor=old.actor("hana"), share_id=share.pk, reason="I may not.")
    assert refused.value.status == 403
    with pytest.raises(ApprovalRequired) as waiting:
        risks.accept_risk(actor=planner, share_id=share.pk, reason="It burnt in the fire of the 3rd.")
    request = ApprovalRequest.objects.get(pk=waiting.value.request_id)
    assert "only a refresh with a new escrow key ends that" in " ".join(request.consequences)
    assert any("Igor is lost" in sentence for _, sentence, *_ in custody.due())
    for officer in officers:
        approvals.approve(actor=actor(officer), request_id=request.pk, act_hash=request.act_hash)
    assert execute(request.pk) == "executed", ApprovalRequest.objects.get(pk=request.pk).failure_detail
    entry = share.log.get(what="accepted")
    assert "burnt" in entry.reason
    assert str(request.pk) in entry.reason
    assert not any("Igor" in sentence for _, sentence, *_ in custody.due())


def test_an_escrow_does_not_pass_by_a_set_in_force(planner, process, old):
    generation = ShareGeneration.objects.get()
    root = build_place("payments").keys["root"]
    generation.practice, generation.key = False, root
    generation.save()
    with pytest.raises(ValidationFailed) as refused:
        plan(planner, key=root, practice=False)
    assert "plan a refresh" in refused.value.errors["script"][0]
    assert plan(planner, "refresh:2", key=root, practice=False).source == generation


def test_a_key_that_nobody_gives_out_is_refreshed_out_of_the_old_shares(old, recovery_of):
    """The process opens the old package by the old quorum, and wraps the same key under a new escrow key."""
    first = ShareGeneration.objects.get()
    planned = plan(
        old.planner, "refresh-from-shares:1", title="Refresh", threshold=2, share_count=4, with_passphrase=True
    )
    made = Cast(old.planner, planned)
    made.seat_staff()
    made.seat_holders("kurt", "lucy")
    with pytest.raises(PlanImpossible, match="cannot be held") as refused:
        made.open()
    assert "Share holders of the set in force are missing" in " ".join(refused.value.errors["people"])
    made.seat_holders("igor", "hana")
    made.open().gather()
    made.start()
    made.until(Action.COLLECT)
    made.perform(Action.COLLECT)
    kurt = looking.look(made.now, made.seat("kurt"), list(made.ceremony.participants.all()))["part"]
    assert (kurt.name, "no share of the old set" in kurt.text) == ("wait", True)
    with pytest.raises(ShareOfAnotherPerson):
        made.submit("kurt", old.words["karl"])
    for name in ("lucy", "hana"):
        made.submit(name, old.words[name])
    with pytest.raises(AlreadyDone):
        made.submit("hana", old.words["hana"])
    with pytest.raises(WrongState):
        made.perform(Action.UNWRAP)
    made.submit("igor", old.words["igor"])
    made.sign_all()
    made.perform(Action.UNWRAP)
    made.sign_all()
    with pytest.raises(NotReady):
        made.perform(Action.DEAL)
    made.give_passphrase("Blue Monday")
    made.perform(Action.DEAL)
    made.sign_all()
    dealing.deal_again(actor=made.actor("lena"), ceremony_id=made.id, reason="Kurt wrote nothing down.")
    assert made.now.read_script().steps[made.ceremony.step].action is Action.COLLECT
    made.perform(Action.COLLECT)
    for name in ("lucy", "hana", "igor"):
        made.submit(name, old.words[name])
    made.sign_all()
    made.perform(Action.UNWRAP)
    made.sign_all()
    made.give_passphrase("Blue Monday")
    made.perform(Action.DEAL)
    made.sign_all()
    made.hand_out()
    first.refresh_from_db()
    assert first.state == "active"
    made.put_in_force()
    made.close()
    first.refresh_from_db()
    second = ShareGeneration.objects.get(state="active")
    assert (first.state, second.number, second.check_value) == ("dead", 2, first.check_value)
    package = offline.read_package(bytes(second.package))
    assert package["manifest"]["set"]["passphrase"] is True
    quorum = [made.words["kurt"], made.words["igor"]]
    opened = offline.open_package(package, offline.combine(quorum, b"Blue Monday"))
    assert offline.check_value(opened) == first.check_value
    with pytest.raises(offline.Problem, match="passphrase"):
        offline.open_package(package, offline.combine(quorum))
