"""Signed notes: what is written is what is read, and nothing else is accepted."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keyvault_portal.audit import canonical, checkpoint, signing
from keyvault_portal.audit.errors import AuditUnavailable

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
KEYS = [PUBLIC]
STATED = checkpoint.Checkpoint("log.example", 7, bytes(32))
NOTE = checkpoint.sign(STATED, "log.example", KEY)


def test_a_published_note_verifies():
    vector = json.loads((Path(__file__).parent.parent / "vectors" / "signed_note.json").read_text())
    name, short, blob = vector["verifier_key"].split("+", 2)
    public_key = base64.b64decode(blob)[1:]
    assert checkpoint.key_hash(name, public_key).hex() == short
    body, _, tail = vector["note"].rpartition("\n\n")
    signature = base64.b64decode(tail.strip().rpartition(" ")[2])
    assert signature[:4].hex() == short
    from keyvault_portal.audit.evidence.verifier import ed25519_verify, verify_note

    assert ed25519_verify(public_key, f"{body}\n".encode(), signature[4:])
    assert verify_note(vector["note"], [public_key], "the note") == ((body + "\n").splitlines(), public_key)


@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32))
def test_round_trip(size, root):
    stated = checkpoint.Checkpoint("log.example", size, root)
    assert checkpoint.verify(checkpoint.sign(stated, "log.example", KEY), KEYS) == stated


@given(st.integers(0, len(NOTE) - 1), st.characters(codec="ascii"))
def test_any_changed_character_is_refused(position, character):
    changed = NOTE[:position] + character + NOTE[position + 1 :]
    if changed != NOTE:
        with pytest.raises(checkpoint.CheckpointError):
            checkpoint.verify(changed, KEYS)


@pytest.mark.parametrize(
    "note", ["", "a\n1\n\n", NOTE[:-1], NOTE.replace("\n7\n", "\n07\n"), NOTE.replace("\n7\n", "\n-7\n")]
)
def test_malformed(note):
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.verify(note, KEYS)


def test_a_second_spelling_of_the_same_bytes_is_refused():
    respelled = NOTE.replace("AAA=\n", "AAB=\n")
    assert base64.b64decode(respelled.splitlines()[2], validate=True) == STATED.root
    with pytest.raises(checkpoint.CheckpointError, match="base64"):
        checkpoint.parse(respelled)


def test_an_unknown_key_is_refused():
    short = checkpoint.key_hash("log.example", PUBLIC).hex()
    with pytest.raises(checkpoint.UnknownSigner, match=f"signed by the key {short}, which is not trusted"):
        checkpoint.verify(NOTE, [bytes(32)])


def test_the_key_file_is_private_and_never_replaced(settings, tmp_path):
    settings.AUDIT_KEY_FILE = tmp_path / "sub" / "audit.key"
    path = signing.ensure_signing_key()
    content = path.read_bytes()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert signing.ensure_signing_key().read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == ["audit.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused(settings, tmp_path, mode):
    settings.AUDIT_KEY_FILE = tmp_path / "audit.key"
    signing.ensure_signing_key().chmod(mode)
    with pytest.raises(AuditUnavailable, match="readable by others"):
        signing.load_signer()


def test_a_file_that_is_no_key_is_refused(settings, tmp_path):
    settings.AUDIT_KEY_FILE = tmp_path / "audit.key"
    settings.AUDIT_KEY_FILE.touch(mode=0o600)
    with pytest.raises(AuditUnavailable, match="cannot be read"):
        signing.load_signer()


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_canonical_json_is_one_line_that_reads_back(value):
    data = canonical.dumps(value)
    assert json.loads(data) == value
    assert b"\n" not in data
    assert canonical.dumps(json.loads(data)) == data


@pytest.mark.parametrize("value", [1.0, float("nan"), b"", {1: 2}, {1, 2}, object(), 2**53, "\ud800"])
def test_canonical_json_refuses(value):
    with pytest.raises(TypeError):
        canonical.dumps([value])
