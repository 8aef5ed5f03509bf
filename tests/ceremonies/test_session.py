"""One ceremony in memory: the ways through it, and everything that must not work."""

import threading
from uuid import uuid4

import pytest

from ceremonies import offline, packages, shamir
from ceremonies.errors import (
    AttemptOver,
    NotReady,
    PackageRefused,
    QuorumMissing,
    SealedWrongly,
    SecretNotRecovered,
    SessionOpen,
    SessionOver,
    ShareGivenAlready,
    ShareMistyped,
    ShareOfAnotherPerson,
    ShareOfAnotherSet,
    ShareOfOldGeneration,
    ShareRefused,
    ShareShownAlready,
    SplitRefused,
    TooManyTries,
)
from ceremonies.process.contract import HolderGroup, RecipientKind
from ceremonies.process.session import Session
from ceremonies.process.sessions import Sessions
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import PortalError, ProviderUnavailable, ValidationFailed
from tests.ceremonies.conftest import HOLDERS, KEY_ID, MADE, MASTER, SCRIPT, Clock, OneKey


def recovered(room, record, package, givers=("eva", "ann", "cleo"), **more):
    attempt = room.session.open_attempt(record=record, holders=HOLDERS, **more)
    for who in givers:
        progress = room.give(attempt, who)
    assert progress.missing == 0
    check = packages.read(package).escrow_check
    assert room.session.reconstruct(attempt=attempt, escrow_check=check) == check
    return room.session.unwrap(package=package)


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
        room.session.share_for(index=2, custodian_id="ben")
    with pytest.raises(ShareOfAnotherPerson):
        room.session.share_for(index=1, custodian_id="bea")
    words, _, _ = room.session.share_for(index=2, custodian_id="bea")
    assert words.reveal().decode() == room.cards["ben"]
    assert room.session.confirm(custodian_id="bea", typed=words) == 2


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


# Handing out.


def dealt(room, *who):
    room.session.make_escrow_key()
    room.session.wrap_master_key(version_id=3, person_id=uuid4())
    return room.session.split(
        generation=1, groups=[HolderGroup(2, who or ("ann", "ben", "cleo"))], group_threshold=1, iteration_exponent=0,
        extendable=True, avoid=(),
    )  # fmt: skip


def test_a_share_is_shown_once_to_its_own_custodian(room):
    dealt(room)
    with pytest.raises(ShareOfAnotherPerson):
        room.session.share_for(index=1, custodian_id="ben")
    with pytest.raises(ShareOfAnotherPerson):
        room.session.share_for(index=9, custodian_id="ann")
    words, positions, check = room.session.share_for(index=1, custodian_id="ann")
    assert len(words.reveal().split()) == 33
    assert len(positions) == 4
    assert min(positions) > 4
    assert len(check) == 8
    with pytest.raises(ShareShownAlready):
        room.session.share_for(index=1, custodian_id="ann")
    with pytest.raises(ShareShownAlready):
        room.session.sealed_share_for(
            index=1, custodian_id="ann", step="s", kind=RecipientKind.HPKE_X25519, key=room.session.public_key
        )


def test_two_people_racing_for_one_share(room):
    dealt(room)
    got, refused = [], []
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        try:
            got.append(room.session.share_for(index=1, custodian_id="ann"))
        except ShareShownAlready as error:
            refused.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_confirming_by_chosen_words_or_all(room):
    dealt(room)
    words, positions, _ = room.session.share_for(index=1, custodian_id="ann")
    parts = words.reveal().decode().split()
    chosen = " ".join(parts[position - 1] for position in positions)
    with pytest.raises(ShareRefused, match="asked for"):
        room.session.confirm(custodian_id="ann", typed=SecretBytes(b"academic acid acne acquire"))
    with pytest.raises(ShareRefused):
        room.session.confirm(custodian_id="ann", typed=SecretBytes(" ".join(parts[:4]).encode()))
    assert (
        room.session.confirm(
            custodian_id="ann", step="c", ciphertext=room.sealed("ann", f"  {chosen.upper()}\n", step="c")
        )
        == 1
    )
    assert room.session.confirm(custodian_id="ann", typed=SecretBytes(b"again")) == 1  # done is done
    with pytest.raises(NotReady, match="not shown"):
        room.session.confirm(custodian_id="ben", typed=SecretBytes(b"x"))
    with pytest.raises(ShareOfAnotherPerson):
        room.session.confirm(custodian_id="mallory", typed=SecretBytes(b"x"))
    words, _, _ = room.session.share_for(index=2, custodian_id="ben")
    assert room.session.confirm(custodian_id="ben", typed=words) == 2
    with pytest.raises(NotReady, match="confirmed"):
        room.session.package(**MADE)


def test_a_browser_closed_mid_share_means_a_new_set(room):
    first = dealt(room)
    words, _, _ = room.session.share_for(index=1, custodian_id="ann")
    room.cards["ann"] = words.reveal().decode()
    second = room.session.split(
        generation=1, groups=[HolderGroup(2, ("ann", "ben", "cleo"))], group_threshold=1, iteration_exponent=0, extendable=True,
        avoid=[first.set_id],
    )  # fmt: skip
    assert second.set_id != first.set_id
    assert room.session.status()["shown"] == []
    again, _, _ = room.session.share_for(index=1, custodian_id="ann")
    with pytest.raises(ShareOfAnotherSet):
        shamir.identify(SecretBytes(room.cards["ann"].encode()), second)
    assert shamir.identify(again, second) == 1


def test_nobody_holds_two_shares(room):
    with pytest.raises(SplitRefused, match="two shares"):
        dealt(room, "ann", "ben", "ann")


def test_a_final_set_cannot_be_split_again(room):
    room.escrow()
    room.session.package(**MADE)
    for act in (room.session.make_escrow_key, lambda: dealt(room)):
        with pytest.raises(NotReady, match="final"):
            act()


def test_the_order_is_kept(room):
    with pytest.raises(NotReady):
        room.session.wrap_master_key(version_id=3, person_id=uuid4())
    with pytest.raises(NotReady):
        room.session.share_for(index=1, custodian_id="ann")
    with pytest.raises(NotReady):
        room.session.verify_new_shares()
    with pytest.raises(NotReady):
        room.session.unwrap(package=b"{}")
    with pytest.raises(NotReady):
        room.session.hand_over(provider="far", person_id=uuid4())
    room.session.make_escrow_key()
    with pytest.raises(NotReady, match="name the version"):
        room.session.wrap_master_key()
    with pytest.raises(NotReady, match="Reconstruct"):
        room.session.unwrap(package=b"{}")


# Handing in.


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
    one_wrong = room.cards["ann"].split()
    one_wrong[20] = "academic" if one_wrong[20] != "academic" else "acid"
    cases = [
        (ShareMistyped, "ann", " ".join(one_wrong)), (ShareMistyped, "ann", "hello"), (ShareOfAnotherPerson, "ann", room.cards["ben"]),
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


def test_nothing_secret_in_a_repr_or_a_refusal(gathering):
    room, _, _, attempt = gathering
    room.give(attempt, "ann")
    shown = (repr(room.session.__dict__) + repr(room.session._attempt.__dict__)).replace(" object ", " ")  # a word, too
    for word in room.cards["ann"].split()[4:30]:
        assert f" {word} " not in shown
