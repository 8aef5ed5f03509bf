"""The verifier names the first bad event, whatever the owner of the tables does to them."""

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command

from keyvault_portal.audit import checkpoint, pages
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.merkle import leaf_hash
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent
from keyvault_portal.audit.verification import verify

from .conftest import unguarded

COUNT = 1000


def run(**options):
    return verify(verification_settings(every_signature=options.pop("every_signature", False)), **options)


def finding(**options):
    found = run(**options).finding
    return found and (found.seq, found.problem)


def forge(seq, **changes):
    """A leaf altered by somebody who also fits the stored hash to it."""
    event = orjson.loads(bytes(AuditEvent.objects.get(seq=seq).leaf)) | changes
    leaf = orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
    return leaf, leaf_hash(leaf)


def test_an_untouched_record_verifies(fill):
    fill(COUNT)
    report = run(every_signature=True)
    assert (report.finding, report.size, report.checkpoints) == (None, COUNT, 100)


def test_an_empty_record_verifies(record):
    assert run().finding is None


def test_bytes_altered(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET leaf = overlay(leaf placing 'X' from 12) WHERE seq IN (333, 700)")
    assert finding() == (333, "bytes_altered")


def test_stored_hash_altered(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET leaf_hash = sha256('x') WHERE seq = 333")
    assert finding() == (333, "leaf_hash_altered")


def test_bytes_and_hash_altered_together_are_bounded_by_their_checkpoint(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET leaf = %s, leaf_hash = %s WHERE seq = 333", forge(333, details={"n": 0}))
    found = run().finding
    assert (found.seq, found.problem) == (330, "tree_differs")
    assert "330 to 339" in found.detail


@pytest.mark.parametrize("seq", [0, 500, COUNT - 1])
def test_gap(fill, seq):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_event WHERE seq = %s", [seq])
    assert finding() == (seq, "gap")


def test_reordering(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET seq = 99999 WHERE seq = 40")
        owner.execute("UPDATE audit_event SET seq = 40 WHERE seq = 41")
        owner.execute("UPDATE audit_event SET seq = 41 WHERE seq = 99999")
    assert finding() == (40, "reordered")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor_id", "someone"), ("actor_label", "someone"), ("action", "key.decrypt"), ("target_type", "ring"),
        ("target_id", "9"), ("ring_id", "00000000-0000-4000-8000-000000000000"), ("outcome", "refused"),
        ("at", "2020-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_projection_differs(fill, column, value):
    fill(50)
    with unguarded() as owner:
        owner.execute(f"UPDATE audit_event SET {column} = %s WHERE seq = 5", [value])
    found = run().finding
    assert (found.seq, found.problem) == (5, "projection_differs")
    assert f"column {column} " in found.detail


def test_tail_cut_off_behind_the_head(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_event WHERE seq >= 990")
    assert finding() == (990, "gap")


def test_tail_cut_off_with_head_set_back_needs_an_outside_checkpoint(fill):
    fill(990)
    head = _head()
    note = AuditCheckpoint.objects.get(tree_size=990).note
    fill(10)
    outside = AuditCheckpoint.objects.get(tree_size=1000).note
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_event WHERE seq >= 990")
        owner.execute("UPDATE audit_head SET size = %s, frontier = %s, root = %s", head)
    assert finding() == (990, "tail_missing"), "the newer checkpoint is still there"
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_checkpoint WHERE tree_size > 990")
    assert finding() is None
    assert finding(external=note) is None
    assert finding(external=outside) == (990, "tail_missing")


def test_head_set_back(fill):
    fill(20)
    head = _head()
    fill(10)
    with unguarded() as owner:
        owner.execute("UPDATE audit_head SET size = %s, frontier = %s, root = %s", head)
    assert finding() == (20, "head_set_back")


def test_head_root_altered(fill):
    fill(20)
    with unguarded() as owner:
        owner.execute("UPDATE audit_head SET root = sha256('x')")
    assert finding() == (20, "head_altered")


def test_tile_altered(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_tile SET hash = sha256('x') WHERE level = 1 AND index = 1")
    assert finding() == (256, "tile_altered")
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_tile WHERE level = 1 AND index = 1")
    assert finding() == (256, "tile_missing")


def test_checkpoint_altered(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("UPDATE audit_checkpoint SET root_hash = sha256('x') WHERE tree_size = 500")
    assert finding() == (499, "checkpoint_altered")


def test_checkpoint_deleted(fill):
    fill(COUNT)
    with unguarded() as owner:
        owner.execute("DELETE FROM audit_checkpoint WHERE tree_size = 1000")
    assert finding() == (999, "checkpoint_missing")


def test_whole_record_rewritten_fails_at_the_signature(fill):
    """Somebody rewrites everything consistently, but lacks the signing key."""
    fill(30)
    stranger = Ed25519PrivateKey.generate()
    for item in AuditCheckpoint.objects.all():
        parsed, _ = checkpoint.parse(item.note)
        with unguarded() as owner:
            owner.execute(
                "UPDATE audit_checkpoint SET note = %s WHERE tree_size = %s",
                [checkpoint.sign(parsed, parsed.origin, stranger), item.tree_size],
            )
    assert finding() == (29, "signer_unknown")
    assert finding(every_signature=True) == (9, "signer_unknown")


def test_a_signature_moved_to_another_body_is_bad(fill):
    fill(30)
    first, last = AuditCheckpoint.objects.get(tree_size=10).note, AuditCheckpoint.objects.get(tree_size=30).note
    with unguarded() as owner:
        owner.execute(
            "UPDATE audit_checkpoint SET note = %s WHERE tree_size = 30",
            [last.partition("\n\n")[0] + "\n\n" + first.partition("\n\n")[2]],
        )
    assert finding() == (29, "checkpoint_signature")


def test_many_pages_and_processes_agree(fill):
    count = 2**16 + 3 * pages.PAGE + 77  # one tile of the second level, and a page that is not full
    fill(count, group=1000)
    seen = []
    report = run(processes=2, progress=lambda done, size: seen.append((done, size)))
    assert (report.finding, report.size) == (None, count)
    assert seen[-1] == (count, count)
    assert run().root == report.root
    assert run(start=32 * pages.PAGE + 100).start == 32 * pages.PAGE
    bad = 2**16 + pages.PAGE + 5
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET leaf = overlay(leaf placing 'X' from 12) WHERE seq = %s", [bad])
    assert finding(processes=2) == finding() == finding(start=bad) == (bad, "bytes_altered")
    with unguarded() as owner:
        owner.execute("UPDATE audit_tile SET hash = sha256('x') WHERE level = 2 AND index = 0")
    assert finding() == (0, "tile_altered")


@pytest.mark.parametrize("given", ["-5", "one"])
def test_events_are_numbered_from_0(db, given):
    with pytest.raises(CommandError, match=f"'{given}' is no number of an event: 0 is the first"):
        call_command("verify_audit", "--from", given)


def _head():
    with unguarded() as owner:
        return owner.execute("SELECT size, frontier, root FROM audit_head").fetchone()
