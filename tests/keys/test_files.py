"""Encrypted files and the root key file."""

import io
import os
import stat

import pytest
from django.core.management import CommandError, call_command

from keys.services import files, root_key
from keyvault_portal.errors import DecryptRefused, PortalError, Sealed, ValidationFailed


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_files_of_any_size_come_back(tree, service, size):
    data = os.urandom(size)
    sealed = b"".join(files.encrypt_file(service, "payments/kek", io.BytesIO(data), {"name": "backup"}))
    assert b"".join(files.decrypt_file(service, io.BytesIO(sealed))) == data


def test_any_change_of_a_file_is_seen(tree, service):
    sealed = b"".join(files.encrypt_file(service, tree.kek.pk, io.BytesIO(b"x" * 150_000)))
    damaged = [
        sealed[:-1],
        sealed[:-70_000],
        sealed + b"x",
        sealed[:-5] + bytes([sealed[-5] ^ 1]) + sealed[-4:],
        sealed.replace(b"AES-256-GCM", b"AES-256-gCM", 1),
    ]
    for blob in damaged:
        with pytest.raises(DecryptRefused):
            list(files.decrypt_file(service, io.BytesIO(blob)))
    nested = b"KVF\x01" + (100_000).to_bytes(4) + b"[" * 100_000
    for blob in (b"", b"KVF\x01", b"KVF\x01\x00\x00\x00\x09{", sealed[:40], b"PK" + sealed, nested):
        with pytest.raises(ValidationFailed):
            list(files.decrypt_file(service, io.BytesIO(blob)))


def test_the_commands_act_for_the_owner_of_a_token(tree, service, tmp_path, monkeypatch):
    from keys.services import command_actor

    plain, sealed, back = (tmp_path / name for name in ("plain", "sealed", "back"))
    plain.write_bytes(b"ledger" * 50_000)
    monkeypatch.delenv(command_actor.VARIABLE, raising=False)
    with pytest.raises(CommandError, match=command_actor.VARIABLE):
        call_command("encrypt_file", "payments/kek", plain, sealed)
    monkeypatch.setenv(command_actor.VARIABLE, "kvp_x_y")
    monkeypatch.setattr(command_actor, "actor_for_token", lambda text, address: service)
    call_command("encrypt_file", "payments/kek", plain, sealed, "--context", "kind=ledger")
    call_command("decrypt_file", sealed, back)
    assert back.read_bytes() == plain.read_bytes()
    assert stat.S_IMODE(back.stat().st_mode) == 0o600
    sealed.write_bytes(sealed.read_bytes()[:-1])
    back.unlink()
    with pytest.raises(CommandError):
        call_command("decrypt_file", sealed, back)
    assert sorted(
        path.name for path in tmp_path.iterdir() if path.name in {"back", "sealed", "plain"} or "partial" in path.name
    ) == ["plain", "sealed"]
    with pytest.raises(CommandError, match="No such file"):
        call_command("encrypt_file", "payments/kek", tmp_path / "absent", sealed)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["kind"], "--context kind: a context is NAME=VALUE"),
        (["=ledger"], "--context =ledger: a context is NAME=VALUE"),
        (["kind=ledger", "kind=photo"], "--context kind=photo: kind has a value already"),
    ],
)
def test_a_context_that_is_none_is_refused_before_anything_is_written(tmp_path, pairs, said):
    (tmp_path / "plain").write_bytes(b"ledger")
    given = [word for pair in pairs for word in ("--context", pair)]
    with pytest.raises(CommandError, match=said):
        call_command("encrypt_file", "payments/kek", tmp_path / "plain", tmp_path / "sealed", *given)
    assert not (tmp_path / "sealed").exists()


def test_the_root_key_file_is_made_once_and_private(settings):
    path = root_key.ensure_root_key()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    assert root_key.ensure_root_key() == path
    assert path.read_text() == first
    assert len(root_key.root_key()) == 32
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", root_key.HEADER, root_key.HEADER + "AAAA", "A" * 44, root_key.HEADER + "?" * 44])
def test_a_damaged_root_key_seals_the_portal(settings, text):
    settings.ROOT_KEY_FILE.write_text(text)
    settings.ROOT_KEY_FILE.chmod(0o600)
    for call in (root_key.root_key, root_key.ensure_root_key):
        with pytest.raises(Sealed):
            call()


def test_a_root_key_open_to_others_seals_the_portal(settings):
    root_key.ensure_root_key().chmod(0o640)
    with pytest.raises(PortalError) as caught:
        root_key.root_key()
    assert caught.value.status == 503
    assert "0640" in caught.value.detail
