"""Shares on their way to people: shown once, confirmed, and a set that is spoiled ends."""

import threading
from uuid import uuid4

import pytest

from ceremonies import shamir
from ceremonies.errors import (
    NotReady,
    SealedWrongly,
    ShareOfAnotherPerson,
    ShareOfAnotherSet,
    ShareRefused,
    ShareShownAlready,
    SplitRefused,
)
from ceremonies.process.contract import HolderGroup, RecipientKind
from keys.crypto.secret import SecretBytes
from tests.ceremonies.conftest import MADE


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
        room.see(1, "ben")
    with pytest.raises(ShareOfAnotherPerson):
        room.see(9, "ann")
    words, positions, check = room.see(1, "ann")
    assert len(words.split()) == 33
    assert len(positions) == 4
    assert min(positions) > 4
    assert len(check) == 8
    with pytest.raises(ShareShownAlready):
        room.see(1, "ann")
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
            got.append(room.see(1, "ann"))
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
    words, positions, _ = room.see(1, "ann")
    parts = words.split()
    chosen = " ".join(parts[position - 1] for position in positions)
    with pytest.raises(ShareRefused, match="asked for"):
        room.confirm("ann", "academic acid acne acquire")
    with pytest.raises(ShareRefused):
        room.confirm("ann", " ".join(parts[:4]))
    for other in ({"custodian_id": "ben"}, {"step": "give"}, {"ceremony_id": uuid4()}, {"script_hash": "cd" * 32}):
        replayed = room.sealed("ann", chosen, **({"step": "show"} | other))
        with pytest.raises(SealedWrongly):
            room.session.confirm(custodian_id="ann", step="show", ciphertext=replayed)
        room.clock.now += 100
    assert room.confirm("ann", f"  {chosen.upper()}\n") == 1
    assert [bool(words) for words in room.session._handout.made.shares] == [False, True, True]  # erased once confirmed
    assert room.confirm("ann", "again") == 1  # done is done
    with pytest.raises(NotReady, match="not shown"):
        room.confirm("ben", "x")
    with pytest.raises(ShareOfAnotherPerson):
        room.confirm("mallory", "x")
    words, _, _ = room.see(2, "ben")
    assert room.confirm("ben", words) == 2
    with pytest.raises(NotReady, match="confirmed"):
        room.session.package(**MADE)


def test_a_browser_closed_mid_share_means_a_new_set(room):
    first = dealt(room)
    words, _, _ = room.see(1, "ann")
    room.cards["ann"] = words
    second = room.session.split(
        generation=1, groups=[HolderGroup(2, ("ann", "ben", "cleo"))], group_threshold=1, iteration_exponent=0, extendable=True,
        avoid=[first.set_id],
    )  # fmt: skip
    assert second.set_id != first.set_id
    assert room.session.status()["shown"] == []
    again, _, _ = room.see(1, "ann")
    with pytest.raises(ShareOfAnotherSet):
        shamir.identify(SecretBytes(room.cards["ann"].encode()), second)
    assert shamir.identify(SecretBytes(again.encode()), second) == 1


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
        room.see(1, "ann")
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
