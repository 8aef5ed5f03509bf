"""Keys that sign: published before use at the new place, both halves known as long as tokens live; or the same key, unnoticed."""

from datetime import timedelta

import pytest
from django.utils import timezone

from keys.models import Key, KeyVersion
from keys.services import jwks, key_views, lifecycle, moving, operations
from keys.services.policies import PolicyValues
from keys.services.providers import work as provider_work
from keyvault_portal.errors import Conflict, WrongState
from tests.moving.conftest import drive, forget, fresh, hurry, turn
from tests.provider_services.conftest import intent_of

pytestmark = pytest.mark.usefixtures("far", "sealing")
POLICY = PolicyValues(cryptoperiod_days=30, destroy_roles=["security_officer"], publish_before_use_hours=24)


@pytest.fixture
def tokens(tree):
    return tree.make("jwt", "token_signing", "Ed25519", tree.kek, policy=POLICY, exportable=True)


def kids(key):
    return [row["kid"] for row in jwks.document(key.ring.name, key.name)["keys"]]


def signs(service, key):
    forget()
    signed = operations.sign(service, key.pk, b"token")
    assert operations.verify(service, key.pk, b"token", signed.signature).valid
    return signed


def test_a_new_signing_key_is_published_before_it_signs_and_the_old_one_stays_until_its_tokens_expire(
    tokens, start, service, officer
):
    before = signs(service, tokens)
    move = start(tokens)
    provider_work.perform(intent_of(tokens).pk)
    moving.advance(move.pk)
    move = fresh(move)
    assert (move.state, move.compared) == ("comparing", 1)
    assert "verifiers get to know" in move.last_error
    assert len(kids(tokens)) == 2
    assert signs(service, tokens).key_version == 1
    moving.advance(move.pk)  # not due
    assert fresh(move).state == "comparing"
    with pytest.raises(WrongState, match="activated by the move"):
        lifecycle.activate_version(actor=officer, version_id=move.new_version_id)
    KeyVersion.objects.filter(pk=move.new_version_id).update(created_at=timezone.now() - timedelta(hours=25))
    assert lifecycle.tick_activations() == 0
    hurry(move)
    move = drive(move)
    assert signs(service, tokens).key_version == 2
    assert len(kids(tokens)) == 2
    assert operations.verify(service, tokens.pk, b"token", before.signature).valid
    KeyVersion.objects.filter(pk=move.old_version_id).update(rotated_at=timezone.now() - timedelta(hours=25))
    assert len(kids(tokens)) == 1
    with pytest.raises(Conflict, match="do not know the old public key"):
        moving.undo_move(actor=officer, move_id=move.pk, reason="r")


def test_a_signing_key_moved_with_its_material_is_the_same_key_to_verifiers(tokens, start, service, officer):
    before, known = signs(service, tokens), kids(tokens)
    expires_at = KeyVersion.objects.get(key=tokens).expires_at
    move = drive(start(tokens, with_material=True))
    assert set(kids(tokens)) == set(known)
    assert len(kids(tokens)) == 1
    after = signs(service, tokens)
    assert (before.key_version, after.key_version) == (1, 2)
    assert before.signature.split(":")[2] == after.signature.split(":")[2], "Ed25519 is deterministic: one key"
    assert KeyVersion.objects.get(pk=move.new_version_id).expires_at == expires_at
    assert Key.objects.get(pk=tokens.pk).next_rotation_at == expires_at
    moving.undo_move(actor=officer, move_id=move.pk, reason="r")
    assert fresh(move).state == "undone"
    assert signs(service, tokens).key_version == 1
    assert kids(tokens) == known


def test_another_key_than_the_one_brought_there_is_found_out(tokens, start, there):
    move = start(tokens, with_material=True)
    provider_work.perform(intent_of(tokens, "import").pk)
    brought = bytes(KeyVersion.objects.get(key=tokens, key_version=1).public_key)
    KeyVersion.objects.filter(pk=move.new_version_id).update(public_key=brought[:-1] + bytes([brought[-1] ^ 1]))
    assert drive(move, "failed").last_error.startswith("The key at far is another one")


def test_a_wrong_signature_is_found_out(tokens, start, monkeypatch):
    from tests.provider_services import stand_in

    monkeypatch.setattr(stand_in._Signer, "sign", lambda self, message: b"\0" * 64)
    move = start(tokens)
    intent = intent_of(tokens)
    provider_work.perform(intent.pk)
    assert turn(move).state == "failed"
    key_views.forget()
    assert Key.objects.get(pk=tokens.pk).provider == "local"
