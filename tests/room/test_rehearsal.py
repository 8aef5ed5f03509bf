"""Whole ceremonies through the services, with a real ceremony process: escrow, recovery, roll-call."""

import base64
import re

import pytest
from django.urls import reverse
from django.utils import timezone
from pypdfium2 import PdfDocument

from ceremonies import offline
from ceremonies.models import ShareGeneration
from ceremonies.room_errors import NotYours
from ceremonies.script import Action
from ceremonies.services import custody, gathering, proving, room
from ceremonies.services.minutes import read_minutes
from ceremonies.states import CeremonyState
from tests.api.conftest import sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_escrow_from_the_open_room_to_the_last_word(cast):
    cast.hold_escrow()
    assert cast.now.status is CeremonyState.CLOSED
    made = ShareGeneration.objects.get()
    assert (made.state, made.threshold, made.share_count, made.package_bag) == ("active", 3, 5, "BAG-P")
    assert {share.state for share in made.shares.all()} == {"held"}
    health = custody.health_of(made)
    assert (health.held, health.spare, health.proved, health.alarm) == (5, 2, 5, False)
    assert health.words == "5 of 5 proved today, threshold 3, spare 2"
    assert len(set(cast.words.values())) == 5


def test_recovery_from_any_quorum_ends_the_set(cast, recovery_of):
    cast.hold_escrow()
    recovery = recovery_of(cast)
    recovery.gather(besides=("igor", "karl"))
    recovery.start()
    recovery.until(Action.COLLECT)
    gathering.open_attempt(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    for missing, name in ((2, "hana"), (1, "lucy"), (0, "jane")):
        assert recovery.submit(name, cast.words[name]).missing == missing
    recovery.sign_all()
    recovery.sign_all()
    gathering.recover(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    made = ShareGeneration.objects.get()
    assert recovery.now.status is CeremonyState.COMMITTED
    assert recovery.now.result["check_value"] == made.check_value
    assert made.state == "dead"
    page = sign_in(recovery.seat("otto").person).get(reverse("ceremonies:room", args=[recovery.id])).content.decode()
    assert re.search(r"<button[^>]*>\s*Put the recovered key in its place\s*</button>", page), (
        "the operator acts, then signs"
    )
    gathering.take_place(actor=recovery.actor("otto"), ceremony_id=recovery.id, step=recovery.now.step)
    recovery.sign_all()
    recovery.sign_all()
    recovery.close()
    assert recovery.now.status is CeremonyState.CLOSED


def test_a_roll_call_counts_even_fewer_than_a_quorum(cast, recovery_of):
    cast.hold_escrow()
    made = ShareGeneration.objects.get()
    made.shares.filter(custodian__in=["Jane", "Karl"]).update(state="lost")
    roll = recovery_of(cast, "roll-call:1")
    roll.gather(besides=("igor", "lucy"))
    roll.start()
    roll.until(Action.PROVE)
    assert not room.quorum_lost(roll.now, room.active_people(roll.now))
    proof = offline.prove(
        cast.words["hana"], made.public_record.salt, proving.challenge_for(roll.now, roll.seat("hana"))
    )
    proving.prove_share(
        actor=roll.actor("hana"), ceremony_id=roll.id, step=roll.now.step, proof=base64.b64encode(proof).decode()
    )
    roll.sign_all()
    roll.sign_all()
    roll.perform(Action.RECORD_PROOFS)
    assert roll.now.result["missed"] == ["Igor", "Lucy"]
    health = custody.health_of(made)
    assert (health.held, health.spare, health.alarm) == (1, -2, True)
    made.refresh_from_db()
    text = " ".join(
        page.get_textpage().get_text_range()
        for page in PdfDocument(read_minutes(actor=roll.planner, ceremony=roll.now))
    )
    assert "Not proved" in text
    roll.close()
    custody.note_custody(
        actor=roll.planner, share_id=made.shares.get(custodian="Igor").pk, what="lost", reason="Under the sofa."
    )
    text = " ".join(
        page.get_textpage().get_text_range()
        for page in PdfDocument(read_minutes(actor=roll.planner, ceremony=roll.now))
    )
    assert "the log ends with the ceremony" in text
    assert "sofa" not in text, "what came later is no part of these minutes"


def test_the_roll_is_called(cast, recovery_of):
    cast.hold_escrow()
    roll = recovery_of(cast, "roll-call:1")
    roll.gather()
    roll.start()
    roll.until(Action.PROVE)
    salt = roll.now.source.public_record.salt
    roll.now.source.shares.update(missed_at=timezone.now())
    with pytest.raises(NotYours, match="part of the holder"):
        proving.prove_share(actor=roll.actor("lena"), ceremony_id=roll.id, step=roll.now.step, proof="AAAA")
    for name in ("hana", "igor", "jane", "karl"):
        proof = offline.prove(cast.words[name], salt, proving.challenge_for(roll.now, roll.seat(name)))
        proving.prove_share(
            actor=roll.actor(name),
            ceremony_id=roll.id,
            step=roll.now.step,
            proof=base64.b64encode(proof).decode(),
            bag=f"NEW-{name}",
        )
    roll.sign_all()
    roll.sign_all()
    proving.record_proofs(actor=roll.actor("lena"), ceremony_id=roll.id, step=roll.now.step)
    assert roll.now.result["missed"] == ["Lucy"]
    made = ShareGeneration.objects.get()
    assert custody.health_of(made).words == "4 of 5 proved today, threshold 3, spare 1"
    assert made.shares.get(index=roll.seat("hana").share_index).bag == "NEW-hana"
    assert [share.custodian for share in made.shares.exclude(missed_at=None)] == ["Lucy"]
    roll.close()
    assert roll.now.status is CeremonyState.CLOSED
    assert room.transcript(roll.now)[-1].action == "ceremony.close"
