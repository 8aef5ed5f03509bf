"""One ceremony in memory: the ways through it, and everything that must not work."""

from uuid import uuid4

import pytest

from ceremonies import packages
from ceremonies.errors import (
    AttemptOver,
    NotReady,
    PackageRefused,
    QuorumMissing,
    SecretNotRecovered,
    SessionOpen,
    SessionOver,
    ShareOfAnotherPerson,
    ShareOfOldGeneration,
)
from ceremonies.process.contract import HolderGroup
from ceremonies.process.sessions import Sessions
from keyvault_portal.errors import ValidationFailed
from tests.ceremonies.conftest import HOLDERS, KEY_ID, MADE, MASTER, SCRIPT, Clock, OneKey, recovered

# The ways through.


def test_escrow_then_recovery(escrowed):
    room, record, package = escrowed
    master = recovered(room, record, package)
    assert (master.key.key_id, master.key.version) == (KEY_ID, 3)
    person = uuid4()
    handed = room.session.hand_over(provider="far", person_id=person)
    assert room.services.handed == [("far", MASTER)]
    assert room.session.hand_over(provider="far", person_id=person) == handed
    assert len(room.services.handed) == 1


def test_escrow_by_groups(room):
    groups = [HolderGroup(2, ("ann", "ben", "cleo")), HolderGroup(1, ("law",))]
    record = room.escrow(groups, group_threshold=2)
    package = room.session.package(**MADE)
    again = room.next_session()
    attempt = again.session.open_attempt(record=record, holders=dict(enumerate(("ann", "ben", "cleo", "law"), 1)))
    assert [again.give(attempt, who).missing for who in ("ann", "ben", "cleo", "law")] == [2, 1, 1, 0]
    again.session.reconstruct(attempt=attempt)
    assert again.session.unwrap(package=package).key.key_id == KEY_ID


def test_refresh_ends_the_old_quorum(escrowed):
    room, record, package = escrowed
    old_cards = dict(room.cards)
    recovered(room, record, package)
    new = room.escrow(generation=2, avoid=[record.set_id])
    assert new.generation == 2
    with pytest.raises(NotReady, match="verified"):
        room.session.package(**MADE)
    second = room.session.verify_new_shares()
    for who in HOLDERS.values():
        progress = room.give(second, who)
    assert progress.verified
    fresh = room.session.package(**MADE)
    # The old quorum makes the old escrow key, which opens nothing new.
    after = room.next_session()
    attempt = after.session.open_attempt(record=new, holders=HOLDERS, older=[record])
    with pytest.raises(ShareOfOldGeneration):
        after.give(attempt, "ann", old_cards["ann"])
    attempt = after.session.open_attempt(record=record, holders=HOLDERS)
    for who in ("ann", "ben", "cleo"):
        after.give(attempt, who, old_cards[who])
    with pytest.raises(SecretNotRecovered):
        after.session.reconstruct(attempt=attempt, escrow_check=packages.read(fresh).escrow_check)
    after.session.reconstruct(attempt=attempt)
    with pytest.raises(SecretNotRecovered):
        after.session.unwrap(package=fresh)


def test_a_cancelled_verification_leaves_everything_as_it_was(escrowed):
    room, record, package = escrowed
    recovered(room, record, package)
    room.escrow(generation=2, avoid=[record.set_id])
    second = room.session.verify_new_shares()
    room.give(second, "ann")
    room.session.cancel_attempt()
    with pytest.raises(AttemptOver):
        room.give(second, "ben")
    with pytest.raises(NotReady):
        room.session.package(**MADE)
    third = room.session.verify_new_shares()
    assert third != second
    assert [room.give(third, who).verified for who in HOLDERS.values()] == [False] * 4 + [True]
    assert packages.read(package).record == record


def test_a_lost_share_is_issued_again_to_one_person(escrowed):
    room, record, _ = escrowed
    attempt = room.session.open_attempt(record=record, holders=HOLDERS)
    room.give(attempt, "ann")
    with pytest.raises(QuorumMissing):
        room.session.reissue(attempt=attempt, index=2, custodian_id="bea")
    for who in ("cleo", "dan"):
        room.give(attempt, who)
    room.session.reissue(attempt=attempt, index=2, custodian_id="bea")
    with pytest.raises(ShareOfAnotherPerson):
        room.see(2, "ben")
    with pytest.raises(ShareOfAnotherPerson):
        room.see(1, "bea")
    words, _, _ = room.see(2, "bea")
    assert words == room.cards["ben"]
    assert room.confirm("bea", words) == 2


def test_a_rehearsal_reads_and_imports_nothing(room):
    trial = room.next_session(practice=True)
    record = trial.escrow()
    package = trial.session.package(**MADE)
    read = packages.read(package)
    assert read.practice
    assert read.key.name == "PRACTICE"
    assert "PRACTICE" in read.printed()
    again = trial.next_session(practice=True)
    recovered(again, record, package)
    again.session.hand_over(provider="far", person_id=uuid4())
    assert room.services.handed == []
    real = trial.next_session()
    attempt = real.session.open_attempt(record=record, holders=HOLDERS)
    for who in ("ann", "ben", "cleo"):
        real.give(attempt, who)
    real.session.reconstruct(attempt=attempt)
    with pytest.raises(PackageRefused, match="rehearsal"):
        real.session.unwrap(package=package)


def test_a_passphrase_is_needed_again(room):
    room.session.seal_passphrase(
        custodian_id="ann", step="phrase", ciphertext=room.sealed("ann", "correct horse", step="phrase")
    )
    record = room.escrow()
    package = room.session.package(**MADE)
    check = packages.read(package).escrow_check
    again = room.next_session()
    attempt = again.session.open_attempt(record=record, holders=HOLDERS)
    for who in ("ann", "ben", "cleo"):
        again.give(attempt, who)
    for wrong in (None, "battery staple"):
        if wrong:
            sealed = again.sealed("ann", wrong, step="phrase")
            again.session.seal_passphrase(custodian_id="ann", step="phrase", ciphertext=sealed)
        with pytest.raises(SecretNotRecovered, match="another key"):
            again.session.reconstruct(attempt=attempt, escrow_check=check)
    again.session.seal_passphrase(
        custodian_id="ann", step="phrase", ciphertext=again.sealed("ann", "correct horse", step="phrase")
    )
    assert again.session.reconstruct(attempt=attempt, escrow_check=check) == check
    assert again.session.unwrap(package=package).key.key_id == KEY_ID


def test_new_shares_that_make_another_key_are_not_verified(room):
    """As when the leader typed another passphrase meanwhile: then nobody could open the package with these shares."""
    for phrase in ("correct horse", "battery staple"):
        sealed = room.sealed("ann", phrase, step="phrase")
        room.session.seal_passphrase(custodian_id="ann", step="phrase", ciphertext=sealed)
        if not room.cards:
            room.escrow()
    attempt = room.session.verify_new_shares()
    with pytest.raises(NotReady, match="verifies new shares"):
        room.session.reconstruct(attempt=attempt)
    for who in ("ann", "ben", "cleo", "dan"):
        assert not room.give(attempt, who).verified
    with pytest.raises(SecretNotRecovered, match="split it again"):
        room.give(attempt, "eva")
    assert not room.session.status()["verified"]


def sessions(clock=None, **more):
    return Sessions(OneKey(), clock=clock or Clock(), **more)


def test_one_session_a_ceremony():
    all_of_them, ceremony = sessions(), uuid4()
    first = all_of_them.begin(ceremony, SCRIPT, practice=False)
    with pytest.raises(SessionOpen):
        all_of_them.begin(ceremony, SCRIPT, practice=False)
    assert all_of_them.under(ceremony, first.nonce) is first
    for nonce in ("", "x", first.nonce + "x"):
        with pytest.raises(SessionOver):
            all_of_them.under(ceremony, nonce)
    assert all_of_them.destroy(ceremony)
    assert not all_of_them.destroy(ceremony)
    with pytest.raises(SessionOver):
        all_of_them.under(ceremony, first.nonce)
    second = all_of_them.begin(ceremony, SCRIPT, practice=False)
    assert second.nonce != first.nonce
    assert second.public_key != first.public_key
    assert all_of_them.destroy(ceremony)
    assert second.ended


@pytest.mark.parametrize("script", ["", "AB" * 32, "ab" * 31, "zz" * 32])
def test_a_session_needs_a_scripts_hash(script):
    with pytest.raises(ValidationFailed):
        sessions().begin(uuid4(), script, practice=False)


def test_silence_and_age_end_a_session():
    clock = Clock()
    all_of_them = sessions(clock, idle_seconds=60, life_seconds=150)
    quiet, busy = uuid4(), uuid4()
    for ceremony in (quiet, busy):
        all_of_them.begin(ceremony, SCRIPT, practice=False).make_escrow_key()
    held = all_of_them.find(quiet)._escrow
    clock.now += 50
    all_of_them.find(busy).make_escrow_key()
    assert all_of_them.find(quiet).status()["begun"]  # looking is no sign of life
    assert all_of_them.idle_left(all_of_them.find(busy)) == 60
    clock.now += 11
    assert all_of_them.expire() == [quiet]
    assert len(held) == 0
    for _ in range(2):
        clock.now += 45
        busy_session = all_of_them.find(busy)
        if busy_session:
            busy_session.make_escrow_key()
    assert all_of_them.find(busy) is None
