"""Whole ceremonies through the services, with a real ceremony process: escrow, recovery, roll-call."""

import re

import pytest
from django.urls import reverse

from ceremonies.models import ShareGeneration
from ceremonies.script import Action
from ceremonies.services import custody, gathering, proving, room
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


def test_the_roll_is_called(cast, recovery_of):
    from ceremonies import offline

    cast.hold_escrow()
    roll = recovery_of(cast, "roll-call:1")
    roll.gather()
    roll.start()
    roll.until(Action.PROVE)
    salt = roll.now.source.public_record.salt
    for name in ("hana", "igor", "jane", "karl"):
        proof = offline.prove(cast.words[name], salt, proving.challenge_for(roll.now, roll.seat(name)))
        import base64

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
    roll.close()
    assert roll.now.status is CeremonyState.CLOSED
    assert room.transcript(roll.now)[-1].action == "ceremony.close"
