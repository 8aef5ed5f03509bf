"""Providers that are down, refuse us, lie or lose the key, at every step: found out, waited for, resumed."""

import os

import pytest

from keys.crypto.secret import SecretBytes
from keys.models import Key
from keys.services import moving, operations, two_places
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals.models import Notice
from tests.moving.conftest import CONTEXT, closed, drive, forget, fresh, turn
from tests.moving.test_undo import AFTER, BEFORE, bring_to, undone
from tests.provider_services import stand_in

pytestmark = pytest.mark.usefixtures("far", "sealing")
STEPS = [*BEFORE, AFTER[0]]


@pytest.mark.parametrize("state", STEPS)
@pytest.mark.parametrize("trouble", ["down", "throttled"])
def test_a_provider_that_is_away_for_a_while_is_waited_for(kek, start, holdings, there, state, trouble):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    setattr(there, trouble, True)
    for _ in range(2):
        found = turn(move)
        assert found.state == state
    waits = found.last_error or found.new_version.intents.get().last_error or found.rotation.jobs.first().last_error
    assert "stand-in" in waits
    held.check()
    setattr(there, trouble, False)
    closed()
    drive(move)
    held.check()


@pytest.mark.parametrize("end", ["resume", "undo"])
@pytest.mark.parametrize("state", BEFORE)
def test_credentials_that_are_revoked_stop_it_until_somebody_acts(kek, start, holdings, officer, there, state, end):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    there.refuses = True
    move = drive(move, "failed")
    assert "does not know us" in move.last_error
    assert move.held_from == state
    held.add()
    held.check()
    if end == "undo":
        there.refuses = state != "making"
        undone(move, held, kek, officer)
        return
    there.refuses = False
    moving.resume_move(actor=officer, move_id=move.pk)
    drive(move)
    held.check()


@pytest.mark.parametrize("end", ["resume", "undo"])
def test_credentials_revoked_after_the_switch_cost_nobody_his_data(kek, start, holdings, officer, there, end):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), "re_wrapping")
    held.add()
    there.refuses = True
    forget()
    held.check()
    turn(move)
    if end == "undo":
        undone(move, held, kek, officer)
        return
    there.refuses = False
    if fresh(move).state == "failed":
        moving.resume_move(actor=officer, move_id=move.pk)
    drive(move)
    held.check()


@pytest.mark.parametrize("state", ["dual_wrapping", "comparing"])
def test_a_new_key_deleted_behind_our_back_is_missed_before_anything_stands_on_it(
    kek, start, holdings, officer, there, state
):
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    there.keys.clear()
    move = drive(move, "failed")
    assert "no such key" in move.last_error
    held.check()
    undone(move, held, kek, officer)


def _other_key(monkeypatch, there):
    """Valid ciphertexts, under another key than the one asked for."""
    stranger = stand_in.Held("AES-256-GCM", SecretBytes(os.urandom(32)), None, "")
    seal = stand_in._Cipher.encrypt

    def encrypt(self, plaintext, aad=b""):
        there.keys["stranger"] = stranger
        self.handle, kept = type(self.handle)("AES-256-GCM", "stranger"), self.handle
        try:
            return seal(self, plaintext, aad)
        finally:
            self.handle = kept

    monkeypatch.setattr(stand_in._Cipher, "encrypt", encrypt)


def _wrong_plaintext(monkeypatch, there):
    monkeypatch.setattr(stand_in._Cipher, "decrypt", lambda self, payload, aad=b"": b"\0" * 32)


def _gives_it_back(monkeypatch, there):
    monkeypatch.setattr(stand_in._Cipher, "encrypt", lambda self, plaintext, aad=b"": plaintext)
    monkeypatch.setattr(stand_in._Cipher, "decrypt", lambda self, payload, aad=b"": payload)


def _forgets_the_context(monkeypatch, there):
    seal, unseal = stand_in._Cipher.encrypt, stand_in._Cipher.decrypt
    monkeypatch.setattr(stand_in._Cipher, "encrypt", lambda self, plaintext, aad=b"": seal(self, plaintext))
    monkeypatch.setattr(stand_in._Cipher, "decrypt", lambda self, payload, aad=b"": unseal(self, payload))


@pytest.mark.parametrize("lie", [_other_key, _wrong_plaintext, _gives_it_back, _forgets_the_context])
@pytest.mark.parametrize("state", ["dual_wrapping", "comparing"])
def test_a_provider_that_lies_is_found_out_before_the_switch(
    kek, start, holdings, officer, there, monkeypatch, lie, state
):
    if state == "comparing" and lie is _other_key:
        pytest.skip("it wraps nothing more in this step")
    olga = Person.objects.create_person(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=olga, role=Role.SECURITY_OFFICER, created_by="test")
    held = holdings(kek)
    held.add()
    move = bring_to(start(kek), state)
    with monkeypatch.context() as lying:
        lie(lying, there)
        move = drive(move, "failed")
    assert "wrap" in move.last_error
    assert move.switched_at is None
    assert Key.objects.get(pk=kek.pk).current_id == move.old_version_id
    assert Notice.objects.filter(text__contains="has stopped").exists()
    held.check()
    undone(move, held, kek, officer)


def test_after_the_switch_every_new_wrap_is_at_both_places(kek, start, holdings, service):
    held = holdings(kek)
    move = drive(start(kek))
    forget()
    sealed = operations.envelope_encrypt(service, kek.pk, b"text", CONTEXT)
    first, second = two_places.split(sealed.wrapped_dek)
    assert second is not None
    assert first != second
    held.add()
    assert two_places.split(bytes(held.texts[0][0].versions.get().wrapped_material))[1] is not None
    assert move.rotation.jobs.get(store=None).state == "done"


def test_an_old_place_that_is_down_after_the_switch_stops_no_caller_and_is_waited_for_by_the_walk(
    tree, far, there, start, holdings, officer, remote_kek
):
    """Cloud to local: the old place is the far one."""
    held = holdings(remote_kek)
    held.add()
    move = bring_to(start(remote_kek, "local"), "re_wrapping")
    there.down = True
    forget()
    held.add()
    assert two_places.split(held.envelopes[-1][0].wrapped_dek)[1] is None, "one copy rather than none"
    assert turn(move).state == "re_wrapping"
    there.down = False
    closed()
    drive(move)
    held.check()
    held.add()
    move = moving.undo_move(actor=officer, move_id=move.pk, reason="back")
    drive(move, "undone")
    held.check()


@pytest.fixture
def remote_kek(tree, far):
    from tests.moving.conftest import ALONE
    from tests.provider_services.conftest import work

    key = tree.make("far-kek", "kek", "AES-256-GCM", tree.master, provider="far", policy=ALONE)
    assert work(key).state == "done"
    forget()
    return Key.objects.get(pk=key.pk)
