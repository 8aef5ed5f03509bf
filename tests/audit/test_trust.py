"""Whose signatures count: the key file's and those that a person names, never what the database says of itself."""

import io
import subprocess
import sys
import zipfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.urls import reverse

from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.evidence.pack import write_pack
from keyvault_portal.audit.merkle import Frontier
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent
from keyvault_portal.audit.signing import ensure_signing_key, load_signer

from .conftest import unguarded
from .test_evidence import AUDITOR
from .test_verification import forge

COUNT = 300


@pytest.fixture
def stranger(fill):
    """The tables' owner has rewritten event 5 and all that follows from it, and signed with a key of their own."""
    fill(COUNT)
    key = Ed25519PrivateKey.generate()
    public, origin = key.public_key().public_bytes_raw(), load_signer().name
    leaf, digest = forge(5, details={"n": 999})
    hashes = [bytes(event.leaf_hash) for event in AuditEvent.objects.order_by("seq")]
    hashes[5] = digest
    with unguarded() as owner:
        owner.execute(
            "INSERT INTO audit_signer VALUES (%s, %s, %s, now())",
            [checkpoint.key_hash(origin, public).hex(), public, origin],
        )
        owner.execute("UPDATE audit_event SET leaf = %s, leaf_hash = %s WHERE seq = 5", [leaf, digest])
        tree = Frontier()
        for size in AuditCheckpoint.objects.order_by("tree_size").values_list("tree_size", flat=True):
            tree, tiles = tree.append(hashes[tree.size : size])
            note = checkpoint.sign(checkpoint.Checkpoint(origin, size, tree.root()), origin, key)
            owner.execute(
                "UPDATE audit_checkpoint SET root_hash = %s, note = %s WHERE tree_size = %s", [tree.root(), note, size]
            )
            for tile in tiles:
                owner.execute(
                    "UPDATE audit_tile SET hash = %s WHERE level = %s AND index = %s",
                    [tile.hash, tile.level, tile.index],
                )
        owner.execute("UPDATE audit_head SET frontier = %s, root = %s", [tree.pack(), tree.root()])
    return public


@pytest.mark.parametrize(("options", "seq"), [([], COUNT - 1), (["--every-signature"], 9)])
def test_a_record_signed_anew_by_a_stranger_is_found(stranger, options, seq, capsys):
    with pytest.raises(
        CommandError, match=rf"at event {seq} .signer_unknown.: The checkpoint of {seq + 1} events"
    ) as error:
        call_command("verify_audit", *options)
    short = checkpoint.key_hash(load_signer().name, stranger).hex()
    assert error.value.returncode == 1
    assert f"signed by the key {short}, which is not trusted here" in str(error.value)
    assert "add --trust KEY" in str(error.value)
    assert capsys.readouterr().out == ""
    call_command("verify_audit", *options, "--trust", stranger.hex())  # there is nothing else wrong with this record
    assert f"trusted: {stranger.hex()} (by --trust)" in capsys.readouterr().out


def test_its_checkpoint_kept_elsewhere_does_not_vouch_for_it(stranger, tmp_path):
    note = tmp_path / "kept.txt"
    note.write_text(AuditCheckpoint.objects.get(tree_size=COUNT).note)
    with pytest.raises(CommandError, match="signer_unknown"):
        call_command("verify_audit", "--checkpoint", str(note), "--since-checkpoint")


def test_the_page_of_an_event_does_not_call_it_proven(stranger, client):
    person = Person.objects.create(email="auditor@example.org", name="Auditor")
    RoleBinding.objects.create(person=person, role=Role.AUDITOR)
    client.force_login(person)
    page = client.get(reverse("audit:event-detail", args=[5])).content.decode()
    assert "This event is not proven" in page
    assert "which is not trusted here" in page
    assert "Verified" not in page


def test_a_pack_of_it_fails_against_the_key_given_separately(stranger, tmp_path):
    own = load_signer().public_key.hex()
    done = run_verifier(tmp_path, "--key", own)
    assert done.returncode == 1
    assert done.stdout.startswith("FIRST PROBLEM: the checkpoint of 10 events is not signed by a known key; it names ")
    said = run_verifier(tmp_path).stdout.splitlines()
    assert said[-3:] == [
        f"signed by {stranger.hex()}, a key that came with the pack",
        f"signed by {own}, a key that came with the pack",
        "Whose keys these are is not proven: compare them with what you received another way, or give that by --key.",
    ]


def test_a_pack_says_that_the_key_was_given(fill, tmp_path):
    fill(20)
    own = load_signer().public_key.hex()
    idle = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    done = run_verifier(tmp_path, "--key", idle, "--key", own)
    assert done.stdout.splitlines()[-1] == f"signed by {own}, a key that you gave"
    assert idle not in done.stdout
    assert "'abc' is no public key of 64 hex digits" in run_verifier(tmp_path, "--key", "abc").stderr


def test_the_commands_that_make_keys_and_packs_say_the_public_key(fill, tmp_path, capsys):
    fill(1)
    call_command("export_evidence", "-o", str(tmp_path / "pack.zip"))
    call_command("set_up")
    assert capsys.readouterr().out.count(f": {load_signer().public_key.hex()}\n") == 2


def run_verifier(folder, *options):
    pack = io.BytesIO()
    write_pack(AUDITOR, pack)
    (folder / "pack.zip").write_bytes(pack.getvalue())
    program = zipfile.ZipFile(pack).extract("verify.py", folder)
    command = [sys.executable, "-I", "-S", program, str(folder / "pack.zip"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def replaced(fill, settings, tmp_path):
    """The earlier public key of a record that a second one has signed since."""
    fill(20)
    earlier = load_signer().public_key
    settings.AUDIT_KEY_FILE = tmp_path / "second.key"
    ensure_signing_key()
    fill(20)
    return earlier


def test_an_earlier_key_is_trusted_when_it_is_named(replaced, tmp_path, capsys):
    with pytest.raises(CommandError, match=r"at event 9 .signer_unknown."):
        call_command("verify_audit", "--every-signature")
    hexadecimal, pem = tmp_path / "earlier.txt", tmp_path / "earlier.pem"
    hexadecimal.write_text(replaced.hex() + "\n")
    pem.write_bytes(
        serialization.load_der_public_key(bytes.fromhex("302a300506032b6570032100") + replaced).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    for given in (replaced.hex(), replaced.hex().upper(), str(hexadecimal), str(pem)):
        call_command("verify_audit", "--every-signature", "--trust", given)
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("40 events and 4 checkpoints verify")
        assert said[1:] == [
            f"trusted: {load_signer().public_key.hex()} (the key file here)",
            f"trusted: {replaced.hex()} (by --trust)",
        ]


def test_a_place_without_the_key_file_needs_the_key(fill, settings, tmp_path, capsys):
    fill(20)
    own = load_signer().public_key.hex()
    settings.AUDIT_KEY_FILE = tmp_path / "absent.key"
    with pytest.raises(CommandError, match="give the public key that you trust: --trust KEY"):
        call_command("verify_audit")
    call_command("verify_audit", "--trust", own)
    assert capsys.readouterr().out.splitlines()[1:] == [f"trusted: {own} (by --trust)"]


@pytest.mark.parametrize("given", ["", "ab" * 31, "/nowhere/key.pem", "{key_file}"])
def test_what_is_no_public_key_is_refused(db, settings, given):
    given = given.format(key_file=settings.AUDIT_KEY_FILE)
    with pytest.raises(CommandError, match="is no Ed25519 public key: give its 64 hex digits, or a file"):
        call_command("verify_audit", "--trust", given)
