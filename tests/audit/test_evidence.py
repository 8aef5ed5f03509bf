"""A pack proves itself offline, and each kind of tampering is named first."""

import json
import subprocess
import sys
import zipfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit.evidence import registry, signatures, verifier
from keyvault_portal.audit.evidence.pack import write_pack
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.errors import Conflict

AUDITOR = system_actor("auditor", Permission.AUDIT_EXPORT)


@pytest.fixture
def pack(fill, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_files", {})
    registry.register_evidence("notes.json", lambda: [b"{}"])
    fill(300)
    path = tmp_path / "pack.zip"
    with path.open("w+b") as file:
        write_pack(AUDITOR, file)
    return path


def alter(path, **changes):
    """The same pack with some members changed: name (dots as __) -> function of the old bytes, None to remove it."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    for key, change in changes.items():
        name = key.replace("__", ".")
        data = change(members.get(name, b""))
        if data is None:
            del members[name]
        else:
            members[name] = data
    with zipfile.ZipFile(path, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def alter_in_order(path):
    """The same pack with the last file first."""
    with zipfile.ZipFile(path) as old:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in [members[-1], *members[:-1]]:
            new.writestr(name, data)


def on_lines(change):
    def apply(data):
        lines = data.splitlines(keepends=True)
        change(lines)
        return b"".join(lines)

    return apply


def problem(path, pinned=()):
    with pytest.raises(verifier.Problem) as caught:
        verifier.verify(path, pinned)
    return str(caught.value)


def test_an_untouched_pack_is_proven_by_its_own_verifier(pack, tmp_path):
    with zipfile.ZipFile(pack) as archive:
        archive.extract("verify.py", tmp_path)
    key = load_signer().public_key.hex()
    done = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "verify.py", pack, "--key", key],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("300 events are complete, in order and unaltered.")
    alter(pack, events__jsonl=lambda data: data.replace(b'"n":7}', b'"n":8}', 1))
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / "verify.py", pack], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "FIRST PROBLEM: event 7: mutated: its bytes do not have the recorded hash\n"


def test_the_export_records_the_digest(pack):
    import hashlib

    event = json.loads(AuditEvent.objects.first().leaf)
    assert event["action"] == "audit.export_evidence"
    assert event["details"] == {"events": 300, "sha256": hashlib.sha256(pack.read_bytes()).hexdigest()}


def swap(lines):
    lines[40], lines[41] = lines[41], lines[40]


def duplicate(lines):
    lines.insert(51, lines[50])


def splice(lines):
    foreign = json.loads(lines[60]) | {"details": {"n": 999}}
    lines[60] = json.dumps(foreign, separators=(",", ":"), sort_keys=True).encode() + b"\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines.__setitem__(7, lines[7].replace(b"system", b"sysadm")), "event 7: mutated"),
        (swap, "event 40: reordered"),
        (duplicate, "event 51: reordered or spliced: event 50"),
        (lambda lines: lines.pop(33), "event 33: reordered or removed: event 34"),
        (lambda lines: lines.__delitem__(slice(290, None)), "event 290: truncated"),
        (lambda lines: lines.__setitem__(299, lines[299][:-9]), "event 299: truncated"),
        (lambda lines: lines.append(lines[-1]), "event 300: spliced"),
        (splice, "event 60: mutated"),
        (lambda lines: lines.__setitem__(5, b"hello\n"), "event 5: mutated"),
        (lambda lines: lines.__setitem__(5, b"[]\n"), "event 5: mutated"),
    ],
)
def test_tampering_with_events_names_the_first(pack, change, expected):
    alter(pack, events__jsonl=on_lines(change))
    assert problem(pack).startswith(expected)


def test_event_and_hash_altered_together_are_bounded_by_checkpoints(pack):
    def forge(data):
        lines = data.splitlines()
        lines[7] = lines[7].replace(b'"n":7}', b'"n":8}')
        forge.hashes = b"".join(verifier.sha256(b"\x00" + line) for line in lines)
        return b"\n".join(lines) + b"\n"

    alter(pack, events__jsonl=forge)
    alter(pack, leaf_hashes__bin=lambda data: forge.hashes)
    assert problem(pack) == (
        "event 0: mutated or spliced: events 0 to 9 do not lead to the root of the checkpoint of 10 events"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"notes__json": lambda data: b'{"a":1}'}, "notes.json was altered"),
        ({"notes__json": lambda data: None}, "notes.json is missing"),
        ({"extra__txt": lambda data: b"x"}, "extra.txt was added"),
        ({"MANIFEST__json": lambda data: data + b" "}, "MANIFEST.json is not the one that was signed"),
        ({"MANIFEST__note": lambda data: None}, "MANIFEST.note is missing"),
        ({"events__jsonl": lambda data: None}, "events.jsonl is missing"),
        ({"checkpoints__jsonl": lambda data: b""}, "the pack has no checkpoint"),
        ({"checkpoints__jsonl": on_lines(lambda lines: lines.reverse())}, "the checkpoints are out of order"),
        ({"signers__json": lambda data: b"nonsense"}, "the pack is malformed"),
        ({"leaf_hashes__bin": lambda data: data + bytes(32)}, "leaf_hashes.bin does not fit"),
    ],
)
def test_tampering_with_other_files(pack, changes, expected):
    alter(pack, **changes)
    assert problem(pack).startswith(expected)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_no_pack(pack):
    """Programs differ in which of the two they read."""
    with zipfile.ZipFile(pack, "a") as file:
        file.writestr("events.jsonl", b"EVIL")
    alter_in_order(pack)
    assert problem(pack) == "two files of the pack have one name"


@pytest.mark.parametrize("data", [b'{"note":5}\n', b'{"note":' + b"[" * 100_000])
def test_a_checkpoint_that_is_none_is_named(pack, data):
    alter(pack, checkpoints__jsonl=lambda _: data)
    assert problem(pack).startswith("the pack is malformed")


def test_a_pack_signed_by_a_stranger_fails_against_the_pinned_key(pack):
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert "is not signed by a known key" in problem(pack, [stranger])


def test_no_zip(tmp_path):
    path = tmp_path / "pack.zip"
    path.write_bytes(b"not a zip")
    assert problem(path).startswith("the pack cannot be read")


def test_an_empty_record_makes_no_pack(record, tmp_path):
    with (tmp_path / "pack.zip").open("w+b") as file, pytest.raises(Conflict):
        write_pack(AUDITOR, file)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
@settings(max_examples=25, deadline=None)
def test_ed25519_agrees_with_cryptography(seed, message, bit):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verifier.ed25519_verify(public, message, signature)
    broken = bytearray(signature)
    broken[bit // 8] ^= 1 << bit % 8
    assert not verifier.ed25519_verify(public, message, bytes(broken))
    assert not verifier.ed25519_verify(public, message + b"x", signature)
    s = int.from_bytes(signature[32:], "little") + signatures.L  # malleable: RFC 8032 section 5.1.7 wants s < L
    assert not verifier.ed25519_verify(public, message, signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("name", ["a/b", ".hidden"])
def test_evidence_files_have_plain_names(name):
    with pytest.raises(ValueError, match="plain name"):
        registry.register_evidence(name, list)
