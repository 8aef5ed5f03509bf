"""The envelope benchmark: its counts are exact, and an absent peer is named rather than invented."""

import pytest

from keys.benchmarks import envelope, peers
from keys.benchmarks.peers import CONTEXT, CountedKek


def quiet(step: str) -> None:
    """Nobody waits for a test's progress."""


def test_every_peer_and_both_modes_are_measured():
    rows = envelope.run(100, 1, quiet)
    ratios = {(row.name, row.against): row.goal for row in rows if row.against}
    assert ratios["Unique key per message", "AWS Encryption SDK"] == 25
    assert ratios["Unique key per message", "Tink envelope"] == 2
    assert ratios["Cached key", "raw AES-GCM"] == 0.70
    assert all(row.value and row.value > 0 for row in rows)


@pytest.mark.parametrize(("messages", "bound", "calls"), [(100, 10, 10), (101, 10, 11), (9, 10, 1), (10, 1, 10)])
def test_provider_calls_are_those_the_policy_allows(messages, bound, calls):
    kek = CountedKek()
    cache = envelope.counted_cache(kek, bound)
    sealed = [cache.encrypt(b"x", CONTEXT) for _ in range(messages)]
    assert kek.calls == calls
    # Each data key is unwrapped once for reading, however many messages it sealed.
    assert [cache.decrypt(blob, CONTEXT) for blob in sealed] == [b"x"] * messages
    assert kek.calls == 2 * calls


def test_counted_calls_are_reported_beside_the_prediction():
    rows = {row.name: row for row in envelope.provider_calls(1000, 1.0)}
    assert rows["Provider calls counted"].value == 10
    assert rows["Provider calls counted"].met
    assert rows["Provider calls per million messages"].value == 1
    assert rows["The same, Tink KmsEnvelopeAead"].ratio == 1_000_000


def test_tink_asks_its_key_service_for_every_message():
    kek = CountedKek()
    encrypt = peers.tink_envelope(b"x", kek)
    assert encrypt
    encrypt(7)
    assert kek.calls == 7


def test_an_absent_peer_has_no_number(monkeypatch):
    for name in ("aws_encryption_sdk", "tink_envelope", "tink_keyset"):
        monkeypatch.setattr(peers, name, lambda *args, **kwargs: None)
    absent = {row.name: row for row in envelope.run(20, 1, quiet) if row.value is None}
    assert absent["AWS Encryption SDK"].note == "not installed: aws-encryption-sdk"
    assert absent["Tink"].note == "not installed: tink"
    assert all(row.ratio is None and row.met is None for row in absent.values())
