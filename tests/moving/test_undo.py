"""Undoing a move, and going on with it, at every step of it: nothing is lost either way."""

import pytest

from keys.models import DataKey, Key, KeyVersion, ProviderIntent
from keys.services import census, moving, reencryption, rotation
from keys.services.moving import steps
from keys.services.providers import work
from keys.states import MoveState
from keyvault_portal.errors import Conflict, WrongState
from tests.moving.conftest import closed, drive, forget, fresh, turn

pytestmark = pytest.mark.usefixtures("far", "sealing")
BEFORE = ["making", "dual_wrapping", "comparing"]
AFTER = ["re_wrapping", "re_wrapped"]


def bring_to(move, state):
    """Let the move come to this step and no further."""
    while fresh(move).state != state:
        forget()
        for intent in ProviderIntent.objects.exclude(state__in=["done", "failed"]):
            work.perform(intent.pk)
        now = fresh(move)
        if now.state in BEFORE:
            assert steps._STEPS[MoveState(now.state)](now)
        else:
            for job in now.rotation.jobs.all():
                reencryption.work(job.pk, 5.0)
            rotation.settle(now.rotation.pk)
            moving.follow(now.pk)
    return fresh(move)


def half_walked(move, monkeypatch):
    """One page of one key is re-wrapped, the rest is not."""
    from keys.services import rewrap

    job = move.rotation.jobs.get(store=None)
    real, standing = rewrap._Walk._write, rewrap.count(move.old_version_id)

    def once(walk, part, done):
        real(walk, part, done[:1])
        walk._deadline = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(rewrap._Walk, "_write", once)
        reencryption.work(job.pk, 30.0)
    assert rewrap.count(move.old_version_id) == standing - 1


def undone(move, held, kek, officer):
    moving.undo_move(actor=officer, move_id=move.pk, reason="not after all")
    move = drive(move, "undone")
    forget()
    key = Key.objects.get(pk=kek.pk)
    assert (key.provider, key.current_id) == ("local", move.old_version_id)
    assert move.old_version.status == "active"
    assert census.live_items(move.new_version) == 0
    held.add()
    held.check()
    return move


@pytest.mark.parametrize("how", ["going", "paused"])
@pytest.mark.parametrize("state", BEFORE + AFTER)
def test_a_move_is_undone_at_every_step(kek, start, holdings, officer, operator, there, state, how):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    held.add()
    if how == "paused" and state != "re_wrapped":
        moving.pause_move(actor=operator, move_id=move.pk)
        assert fresh(move).state == "paused"
        held.add()
    move = undone(move, held, kek, officer)
    if state in BEFORE:
        move = turn(move)
        assert move.new_version.status == "destroyed"
        assert {key.state for key in there.keys.values()} <= {"pending_deletion"}
    else:
        assert move.new_version.status == "decrypt_only"


@pytest.mark.parametrize("state", BEFORE + AFTER[:1])
def test_a_paused_move_stands_still_and_goes_on(kek, start, holdings, operator, state):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    moving.pause_move(actor=operator, move_id=move.pk)
    assert turn(move).state == "paused"
    with pytest.raises(WrongState):
        moving.pause_move(actor=operator, move_id=move.pk)
    held.add()
    moving.resume_move(actor=operator, move_id=move.pk)
    drive(move)
    held.check()


def test_a_half_walked_move_is_undone_although_the_new_key_was_deleted_behind_our_back(
    kek, start, holdings, officer, there, monkeypatch
):
    held = holdings(kek)
    for _ in range(3):
        held.add()
    move = bring_to(start(kek), "re_wrapping")
    held.add()  # after the switch
    half_walked(move, monkeypatch)
    there.keys.clear()
    forget()
    held.check()  # from the copies of the old place
    assert drive(move, "failed").last_error.startswith("The stand-in has no such key.")
    undone(move, held, kek, officer)


def test_a_move_at_zero_is_undone_although_the_new_place_is_gone(kek, start, holdings, officer, there):
    held = holdings(kek)
    held.add()
    move = drive(start(kek))
    held.add()
    there.down = True
    forget()
    held.check()
    undone(move, held, kek, officer)


def test_an_undo_can_be_paused_and_resumed_but_not_undone(kek, start, holdings, officer, operator):
    held = holdings(kek)
    held.add()
    move = drive(start(kek))
    moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    moving.pause_move(actor=operator, move_id=move.pk)
    assert turn(move).state == "paused"
    with pytest.raises(WrongState, match="being undone already"):
        moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    moving.resume_move(actor=operator, move_id=move.pk)
    drive(move, "undone")
    held.check()


def test_a_key_moves_again_after_an_undone_move(kek, start, holdings, officer):
    held = holdings(kek)
    held.add()
    undone(drive(start(kek)), held, kek, officer)
    drive(start(kek))
    held.check()


def test_dropping_stops_the_way_back_until_the_old_version_is_kept(kek, start, holdings, officer):
    held = holdings(kek)
    held.add()
    move = drive(start(kek))
    held.renew()
    moving.drop_old(actor=officer, move_id=move.pk, reason="zero")
    with pytest.raises(WrongState) as refused:
        moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    assert refused.value.hint == "Keep the old version first."
    held.add()  # one copy only
    moving.keep_old(actor=officer, move_id=move.pk, reason="r")
    assert fresh(move).state == "re_wrapped"
    undone(move, held, kek, officer)


def test_the_walk_of_a_move_is_not_cancelled_on_the_page_of_rotations(kek, start, officer, holdings):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), "re_wrapping")
    with pytest.raises(WrongState, match="belongs to a move"):
        rotation.cancel(actor=officer, rotation_id=move.rotation_id, reason="r")
    rotation.pause(actor=officer, rotation_id=move.rotation_id)
    moving.follow(move.pk)
    assert fresh(move).state == "paused"


def test_no_way_back_after_another_rotation(kek, start, officer, holdings):
    held = holdings(kek)
    held.add()
    move = drive(start(kek))
    rotation.request_rotation(actor=officer, key_id=kek.pk, reason="yearly")
    for intent in ProviderIntent.objects.exclude(state="done"):
        work.perform(intent.pk)
    with pytest.raises(Conflict, match="followed by another version"):
        moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    assert fresh(move).state == "re_wrapped"
    assert closed() is None
    assert DataKey.objects.exists()


def test_one_material_has_one_count_of_uses_there_and_back(kek, start, holdings, officer):
    """Its limit (SP 800-38D, 8.3) is the material's, not the version's."""
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek, with_material=True), "comparing")
    before = 10**9
    KeyVersion.objects.filter(pk=move.old_version_id).update(uses_reserved=before)
    move = drive(move)
    assert move.new_version.uses_reserved >= before
    KeyVersion.objects.filter(pk=move.new_version_id).update(uses_reserved=2 * before)
    moving.undo_move(actor=officer, move_id=move.pk, reason="not after all")
    move = drive(move, "undone")
    assert move.old_version.uses_reserved >= 2 * before
    held.check()
