"""Keys that come back under the key they were given out with, and versions brought from elsewhere taken into use as by a rotation."""

import secrets
from uuid import uuid4

import pytest

from keys.models import Key, KeyExport, KeyImport, KeyPolicy, KeyVersion, Move, Rotation
from keys.services import imports, lifecycle, materials, moving, rotation
from keys.tasks import reencrypt
from keys.transfer_tasks import import_work, transfer_tick
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.errors import ApprovalRequired, Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.provider_services.conftest import work
from tests.provider_services.test_exports import agreed, export, loose
from tests.provider_services.test_imports import new
from tests.provider_services.transfers import upload, wrap

__all__ = ["agreed", "loose"]
pytestmark = pytest.mark.usefixtures("sealing")


def door(tree, officer, row: KeyExport, **more) -> KeyImport:
    values = {"algorithm": "AES-256-GCM", "method": "key", "from_export": row.pk} | more
    return imports.open_import_of_new_key(
        actor=officer, ring=tree.ring, name="home", title="Home", kind="dek", parent=tree.kek, reason="It comes home", **values
    )  # fmt: skip


def test_what_was_given_out_under_a_key_comes_back_under_it(loose, tree, officer):
    sealed = materials.cipher(materials.active_version(loose)).encrypt(b"old data", b"aad")
    row = export(officer, loose, wrapping_key=tree.kek.pk)
    back = door(tree, officer, row)
    assert (back.check_value, back.public_key, back.sealed_private) == (row.check_value, None, None)
    wrapped = bytes(row.wrapped)
    damaged = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
    assert upload(officer, back, damaged, row.check_value).state == "open", "another one may be sent"
    assert "does not open with" in back.last_error
    assert upload(officer, back, wrapped, row.check_value).state == "done"
    version = materials.active_version(back.key)
    assert materials.cipher(version).decrypt(sealed, b"aad") == b"old data"
    assert (version.generated_here, back.upload) == (False, None)


def test_it_opens_for_nobody_else_and_as_nothing_else(loose, tree, officer, auditor):
    row = export(officer, loose, wrapping_key=tree.kek.pk)
    for wrong in (
        {"from_export": None},
        {"from_export": uuid4()},
        {"algorithm": "AES-256-KW"},
        {"method": "rsa_aes_kw"},
    ):
        with pytest.raises(ValidationFailed) as caught:
            door(tree, officer, row, **wrong)
        assert "from_export" in caught.value.errors, wrong
    with pytest.raises(PermissionRefused):
        door(tree, auditor, row)
    back = door(tree, officer, row)
    lifecycle.suspend_version(actor=officer, version_id=row.wrapping_version_id, reason="Not now")
    assert upload(officer, back, bytes(row.wrapped), row.check_value).state == "failed"
    assert "suspended" in back.last_error


def test_the_place_of_the_wrapping_key_is_waited_for(far, there, loose, tree, officer):
    kek = tree.make("far-kek", "kek", "AES-256-GCM", tree.master, provider="far")
    assert work(kek).state == "done"
    row = export(officer, loose, wrapping_key=kek.pk)
    assert row.state == "ready", row.last_error
    back = door(tree, officer, row)
    there.down = True
    assert upload(officer, back, bytes(row.wrapped), row.check_value).state == "received"
    there.down = False
    import_work(str(back.pk))
    back.refresh_from_db()
    assert back.state == "done", back.last_error


def test_a_version_brought_from_elsewhere_is_taken_into_use_by_a_rotation(tree, officer, tmp_path):
    """Nothing is left behind on the old version: what stands on it is moved, and it can be decommissioned."""
    below = tree.make("below", "dek", "AES-256-GCM", tree.kek)
    old = materials.active_version(tree.kek)
    standing = old.wraps.count()
    assert standing
    row = imports.open_import(actor=officer, key_id=tree.kek.pk, method="rsa_aes_kw", reason="Made in the vault")
    assert upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path)).state == "done"
    new_version = KeyVersion.objects.get(pk=row.version_id)
    assert (new_version.status, Key.objects.get(pk=tree.kek.pk).current_id) == ("pre_active", old.pk)
    with pytest.raises(WrongState):
        rotation.request_rotation(actor=officer, key_id=tree.kek.pk, reason="r", to_version_id=old.pk)
    rotation.take_into_use(actor=officer, version_id=new_version.pk, reason="It is the better one")
    found = Rotation.objects.get(new_version=new_version)
    assert (found.trigger, found.old_version, found.state) == ("import", old, "re_encrypting")
    reencrypt(str(found.jobs.get().pk))
    found.refresh_from_db()
    old.refresh_from_db()
    assert (found.state, old.wraps.count(), old.status) == ("re_encrypted", 0, "decrypt_only")
    assert new_version.wraps.count() == standing
    assert materials.material(materials.active_version(below))


def test_it_asks_those_whom_a_rotation_asks(tree, officer, tmp_path):
    other = Person.objects.create_person(email="otto@example.org", name="Otto")
    RoleBinding.objects.create(person=other, role="security_officer", created_by="test")
    key = tree.make("guarded", "dek", "AES-256-GCM", tree.kek)
    KeyPolicy.objects.filter(key=key).update(rotate_groups=[{"role": "security_officer", "threshold": 1}])
    row = imports.open_import(actor=officer, key_id=key.pk, method="rsa_aes_kw", reason="Made in the vault")
    assert upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path)).state == "done"
    with pytest.raises(ApprovalRequired):
        rotation.take_into_use(actor=officer, version_id=row.version_id, reason="Mine alone")
    assert KeyVersion.objects.get(pk=row.version_id).status == "pre_active"


def test_a_first_version_needs_no_rotation(tree, officer, tmp_path):
    row = new(tree)
    assert upload(officer, row, *wrap(row, secrets.token_bytes(32), tmp_path)).state == "done"
    assert not Rotation.objects.exists()


def test_no_key_is_brought_to_one_that_moves_and_none_moves_while_one_is_brought(far, tree, officer, monkeypatch):
    monkeypatch.setattr("keys.services.moving.requesting.need_agreement", lambda *_, **__: None)
    row = imports.open_import(actor=officer, key_id=tree.kek.pk, method="rsa_aes_kw", reason="r")
    with pytest.raises(Conflict, match="import"):
        moving.request_move(actor=officer, key_id=tree.kek.pk, target="far", reason="r")
    imports.abort_import(actor=officer, import_id=row.pk, reason="r")
    move = moving.request_move(actor=officer, key_id=tree.kek.pk, target="far", reason="r")
    with pytest.raises(Conflict, match="being moved"):
        imports.open_import(actor=officer, key_id=tree.kek.pk, method="rsa_aes_kw", reason="r")
    assert Move.objects.get(pk=move.pk).state == "making"
    transfer_tick()
