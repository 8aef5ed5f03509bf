"""Shares on their way back: what is wrong is named and changes nothing."""

import threading
from uuid import uuid4

import pytest

from ceremonies import offline, shamir
from ceremonies.errors import (
    AttemptOver,
    PackageRefused,
    QuorumMissing,
    SealedWrongly,
    SessionOver,
    ShareGivenAlready,
    ShareMistyped,
    ShareOfAnotherPerson,
    ShareOfAnotherSet,
    TooManyTries,
)
from ceremonies.process.session import Session
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import PortalError, ProviderUnavailable
from tests.ceremonies.conftest import HOLDERS, MASTER, SCRIPT, OneKey, recovered
from tests.mistyped import mistyped


@pytest.fixture
def gathering(escrowed):
    room, record, package = escrowed
    return room, record, package, room.session.open_attempt(record=record, holders=HOLDERS)


def test_what_is_sealed_for_something_else_does_not_open(gathering):
    room, _, _, attempt = gathering
    for other in (
        {"ceremony_id": uuid4()}, {"script_hash": "cd" * 32}, {"step": "another"}, {"custodian_id": "ben"},
    ):  # fmt: skip
        with pytest.raises(SealedWrongly):
            room.session.take_share(
                attempt=attempt,
                custodian_id="ann",
                step="give",
                ciphertext=room.sealed("ann", room.cards["ann"], **other),
            )
        room.clock.now += 100
    assert room.give(attempt, "ann").given == (1,)


def test_a_replay_into_another_ceremony_fails(gathering):
    room, record, _, attempt = gathering
    ciphertext = room.sealed("ann", room.cards["ann"])
    room.session.take_share(attempt=attempt, custodian_id="ann", step="give", ciphertext=ciphertext)
    other = room.next_session()
    elsewhere = other.session.open_attempt(record=record, holders=HOLDERS)
    with pytest.raises(SealedWrongly):
        other.session.take_share(attempt=elsewhere, custodian_id="ann", step="give", ciphertext=ciphertext)
    # Nor into another attempt of the same one: nothing is taken twice.
    again = room.session.open_attempt(record=record, holders=HOLDERS)
    with pytest.raises(SealedWrongly):
        room.session.take_share(attempt=again, custodian_id="ann", step="give", ciphertext=ciphertext)
    # A session begun again for the very same ceremony has another key.
    reborn = Session(room.session.ceremony_id, SCRIPT, OneKey())
    attempt = reborn.open_attempt(record=record, holders=HOLDERS)
    with pytest.raises(SealedWrongly):
        reborn.take_share(attempt=attempt, custodian_id="ann", step="give", ciphertext=ciphertext)


@pytest.mark.parametrize("ciphertext", [b"", b"x", bytes(32), bytes(48), bytes(5000)])
def test_what_is_no_ciphertext(gathering, ciphertext):
    room, _, _, attempt = gathering
    with pytest.raises(SealedWrongly):
        room.session.take_share(attempt=attempt, custodian_id="ann", step="give", ciphertext=ciphertext)


def test_wrong_shares_are_named_and_change_nothing(gathering):
    room, record, _, attempt = gathering
    strangers = shamir.split(SecretBytes(bytes(32)), groups=[(3, 5)], avoid=[record.set_id])
    cases = [
        (ShareMistyped, "ann", mistyped(room.cards["ann"], 20)), (ShareMistyped, "ann", "hello"), (ShareOfAnotherPerson, "ann", room.cards["ben"]),
        (ShareOfAnotherSet, "ann", strangers.shares[0].reveal().decode()), (ShareOfAnotherPerson, "mallory", room.cards["ann"]),
    ]  # fmt: skip
    for refusal, who, text in cases:
        room.clock.now += 100
        with pytest.raises(refusal):
            room.give(attempt, who, text)
    assert room.session.status()["given"] == []
    room.give(attempt, "ann")
    with pytest.raises(ShareGivenAlready, match="Share 1"):
        room.give(attempt, "ann")
    with pytest.raises(QuorumMissing):
        room.session.reconstruct(attempt=attempt)


def test_guessing_is_slowed_for_that_custodian_only(gathering):
    room, _, _, attempt = gathering
    for _ in range(5):
        with pytest.raises(ShareMistyped):
            room.give(attempt, "ann", "hello world")
    with pytest.raises(TooManyTries):
        room.give(attempt, "ann")
    assert room.give(attempt, "ben").given == (2,)
    room.clock.now += 61
    assert room.give(attempt, "ann").given == (1, 2)


def test_one_attempt_at_a_time(gathering):
    room, record, _, first = gathering
    room.give(first, "ann")
    second = room.session.open_attempt(record=record, holders=HOLDERS)
    with pytest.raises(AttemptOver):
        room.give(first, "ben")
    with pytest.raises(AttemptOver):
        room.give("", "ben")
    assert room.give(second, "ben").given == (2,)


def test_two_people_racing_to_reconstruct(gathering):
    room, _, _, attempt = gathering
    for who in ("ann", "ben", "cleo"):
        room.give(attempt, who)
    outcomes = []
    barrier = threading.Barrier(4)

    def go():
        barrier.wait()
        try:
            outcomes.append(room.session.reconstruct(attempt=attempt))
        except PortalError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(AttemptOver) == 3


def test_an_altered_package_is_refused(gathering):
    room, _, package, attempt = gathering
    for who in ("ann", "ben", "cleo"):
        room.give(attempt, who)
    room.session.reconstruct(attempt=attempt)
    with pytest.raises(PackageRefused):
        room.session.unwrap(package=package[:-2] + b"}}")
    data = offline.read_package(package)
    data["manifest"]["key"]["name"] = "another"
    data["manifest_sha256"] = offline.sha256(offline.canonical(data["manifest"]))
    with pytest.raises(PackageRefused, match="changed after"):
        room.session.unwrap(package=offline.canonical(data))


def test_a_refusing_provider_leaves_the_key_for_another(escrowed):
    room, record, package = escrowed
    recovered(room, record, package)
    room.services.refuses = ProviderUnavailable("The HSM does not answer.")
    with pytest.raises(ProviderUnavailable):
        room.session.hand_over(provider="far", person_id=uuid4())
    room.services.refuses = None
    room.session.hand_over(provider="near", person_id=uuid4())
    assert room.services.handed == [("near", MASTER)]


# The end.


def test_after_an_abort_nothing_opens(gathering):
    room, _, _, attempt = gathering
    room.give(attempt, "ann")
    held = [*room.session._attempt.given.values()]
    late = room.sealed("ben", room.cards["ben"])
    room.session.destroy()
    assert all(len(words) == 0 for words in held)
    for act in (
        lambda: room.session.take_share(attempt=attempt, custodian_id="ben", step="give", ciphertext=late),
        room.session.make_escrow_key, room.session.cancel_attempt,
    ):  # fmt: skip
        with pytest.raises(SessionOver):
            act()
    with pytest.raises(SealedWrongly):
        room.session._inbox.open("ben", "give", late)
    assert not room.session.status()["begun"]
    room.session.destroy()


def test_destroying_wipes_every_secret(escrowed):
    room, record, package = escrowed
    recovered(room, record, package)
    room.escrow(generation=2, avoid=[record.set_id])
    second = room.session.verify_new_shares()
    room.give(second, "ann")
    secrets = [room.session._escrow, room.session._master[1], *room.session._attempt.given.values()]
    assert all(len(secret) for secret in secrets)
    room.session.destroy()
    assert not any(len(secret) for secret in secrets)


def test_nothing_secret_in_a_repr_or_a_refusal(gathering):
    room, _, _, attempt = gathering
    room.give(attempt, "ann")
    shown = (repr(room.session.__dict__) + repr(room.session._attempt.__dict__)).replace(" object ", " ")  # a word, too
    for word in room.cards["ann"].split()[4:30]:
        assert f" {word} " not in shown
