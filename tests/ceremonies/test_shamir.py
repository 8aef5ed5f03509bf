"""SLIP-39: the official vectors, every M of N, groups, and that fewer than a quorum fail and learn nothing."""

import json
import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shamir_mnemonic import shamir as library
from shamir_mnemonic.share import Share

from ceremonies import offline, shamir
from ceremonies.errors import (
    QuorumMissing,
    SecretNotRecovered,
    ShareGivenAlready,
    ShareMistyped,
    ShareOfAnotherSet,
    ShareOfOldGeneration,
    ShareRefused,
    ShareUnknown,
    SplitRefused,
)
from keys.crypto.secret import SecretBytes
from keyvault_portal.audit import canonical
from keyvault_portal.errors import PortalError
from tests.mistyped import mistyped

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "slip39.json").read_text())["vectors"]
SECRET = bytes(range(32))
TREZOR = b"TREZOR"


def secret() -> SecretBytes:
    return SecretBytes(SECRET)


def words_of(text: str) -> SecretBytes:
    return SecretBytes(text.encode())


def split(*groups, **more):
    return shamir.split(secret(), groups=groups, iteration_exponent=0, **more)


def changed(words: SecretBytes, position: int = 7) -> SecretBytes:
    """One word is another one of the list."""
    return words_of(mistyped(words.reveal().decode(), position))


def test_there_are_all_vectors():
    assert len(VECTORS) == 45
    assert sum(1 for vector in VECTORS if not vector[2]) == 30


@pytest.mark.parametrize("vector", VECTORS, ids=[vector[0].split(".")[0] for vector in VECTORS])
def test_official_vector(vector):
    _, mnemonics, expected, _ = vector
    shares = [words_of(text) for text in mnemonics]
    if expected:
        assert shamir.recover(shares, SecretBytes(TREZOR)).reveal().hex() == expected
        assert offline.combine(mnemonics, TREZOR).hex() == expected
    else:
        with pytest.raises(PortalError):
            shamir.recover(shares, SecretBytes(TREZOR))
        with pytest.raises(offline.Problem):
            offline.combine(mnemonics, TREZOR)


@pytest.mark.parametrize("count", range(2, 17))
def test_every_threshold(count):
    for threshold in range(2, count + 1):
        made = split((threshold, count))
        chosen = random.Random(count * 17 + threshold).sample(made.shares, threshold)
        assert shamir.recover(chosen) == SECRET
        assert all(shamir.inspect(share).words == 33 for share in chosen)
        with pytest.raises(QuorumMissing):
            shamir.recover(chosen[1:])


@pytest.mark.parametrize("count", range(1, 17))
def test_any_one_of_n_is_groups_of_one(count):
    made = split(*[(1, 1)] * count, group_threshold=1)
    assert made.record.count == count
    assert all(shamir.recover([share]) == SECRET for share in made.shares)


@pytest.mark.parametrize("count", range(2, 7))
def test_every_subset_of_a_quorum_recovers_and_every_smaller_one_fails(count):
    for threshold in range(2, count + 1):
        made = split((threshold, count))
        for chosen in combinations(made.shares, threshold):
            assert shamir.recover(chosen) == SECRET
        for size in range(threshold):
            for chosen in combinations(made.shares, size):
                with pytest.raises(QuorumMissing):
                    shamir.recover(chosen)


def test_every_quorum_of_sixteen_makes_the_same_ciphertext():
    """All 12,870 quorums of 8 of 16, without the passphrase's slow step."""
    made = split((8, 16))
    raw = [library.RawShare(share.index, share.value) for share in map(parsed, made.shares)]
    found = {library._recover_secret(8, chosen) for chosen in random.Random(1).sample(list(combinations(raw, 8)), 1500)}
    assert len(found) == 1


def parsed(share: SecretBytes) -> Share:
    return Share.from_mnemonic(share.reveal().decode())


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_groups(data):
    """Any quorum of groups, each with its quorum, recovers; with one member less it does not."""
    groups = data.draw(
        st.lists(st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 5)]), min_size=1, max_size=4),
        label="groups",
    )
    lone = (1, 2) in groups  # any one of these alone would do
    assume(not lone or len(groups) > 1)
    needed = data.draw(st.integers(1 + lone, len(groups)), label="groups needed")
    made = split(*groups, group_threshold=needed)
    assert [made.record.index_of(*made.record.place_of(index)) for index in range(1, made.record.count + 1)] == [
        *range(1, made.record.count + 1)
    ]
    chosen_groups = data.draw(st.permutations(range(len(groups))), label="order")[:needed]
    start = [sum(count for _, count in groups[:number]) for number in range(len(groups))]
    indices: list[int] = []
    for number in chosen_groups:
        threshold, count = groups[number]
        members = data.draw(st.permutations(range(count)), label="members")[:threshold]
        indices += [start[number] + member + 1 for member in members]
    assert made.record.missing(indices) == 0
    assert shamir.recover([made.shares[index - 1] for index in indices]) == SECRET
    short = indices[1:]
    assert made.record.missing(short) == 1
    with pytest.raises(QuorumMissing):
        shamir.recover([made.shares[index - 1] for index in short])
    # And more than needed is no fault.
    assert shamir.recover(made.shares) == SECRET


# Fewer than a quorum learn nothing: each byte of their shares is uniform, whatever byte of GF(256) is the secret's.

SAMPLES = 6000


def spread(first: bytes, threshold: int, of: int, monkeypatch, randbytes) -> float:
    """Chi-square (255 degrees of freedom: 255 on average, standard deviation 23) of a byte that M-1 shares make."""
    monkeypatch.setattr(library, "RANDOM_BYTES", randbytes)
    seen = [0] * 256
    for _ in range(SAMPLES):
        shares = library._split_secret(threshold, of, first * 16)
        # What M-1 people can compute: here the line, parabola ... through their shares alone, where the secret would be.
        seen[library._interpolate(shares[-(threshold - 1) :], library.SECRET_INDEX)[0]] += 1
    expected = SAMPLES / 256
    return sum((count - expected) ** 2 / expected for count in seen)


@pytest.mark.parametrize(("threshold", "of"), [(2, 3), (3, 5), (4, 7)])
@pytest.mark.parametrize("first", [b"\x00", b"\x01", b"\xa7"])
def test_one_share_less_than_a_quorum_learns_nothing(first, threshold, of, monkeypatch):
    assert spread(first, threshold, of, monkeypatch, random.Random(7).randbytes) < 255 + 6 * 23


def test_the_statistical_test_sees_a_scheme_that_leaks(monkeypatch):
    """The same measure over a scheme whose random bytes are not random."""
    assert spread(b"\xa7", 3, 5, monkeypatch, bytes) > 100_000


# Bad words.


def test_a_share_is_known_again():
    made = split((2, 3), (1, 1), group_threshold=2)
    for index, share in enumerate(made.shares, 1):
        assert shamir.identify(share, made.record) == index
        assert shamir.identify(words_of(share.reveal().decode().upper().replace(" ", "\n  ")), made.record) == index
    facts = shamir.inspect(made.shares[2])
    assert (facts.group, facts.member, facts.member_threshold, facts.group_count) == (1, 3, 2, 2)
    assert facts.set_id == made.record.set_id


def test_every_single_wrong_word_is_noticed():
    made = split((2, 3))
    for position in range(33):
        with pytest.raises(ShareMistyped):
            shamir.identify(changed(made.shares[0], position), made.record)


@pytest.mark.parametrize("text", ["", "academic", "academic " * 33, "not of the list " * 8, "\xff\xfe", "12345"])
def test_what_is_no_share(text):
    with pytest.raises(ShareMistyped):
        shamir.inspect(words_of(text or " "))


def test_swapped_words_are_noticed():
    made = split((2, 3))
    parts = made.shares[0].reveal().decode().split()
    swap = next(place for place in range(6, 20) if parts[place] != parts[place + 1])
    parts[swap], parts[swap + 1] = parts[swap + 1], parts[swap]
    with pytest.raises(ShareMistyped):
        shamir.identify(words_of(" ".join(parts)), made.record)


def test_another_set_and_an_older_generation_are_named():
    old = split((2, 3))
    new = split((2, 3), generation=2, avoid=[old.record.set_id])
    assert old.record.set_id != new.record.set_id
    with pytest.raises(ShareOfOldGeneration, match="generation 1; the present one is 2"):
        shamir.identify(old.shares[0], new.record, [old.record])
    with pytest.raises(ShareOfAnotherSet, match=offline.set_name(old.record.set_id)):
        shamir.identify(old.shares[0], new.record)
    with pytest.raises(ShareOfAnotherSet):
        shamir.recover([old.shares[0], new.shares[1]])


def test_a_well_formed_share_that_was_never_handed_out_is_refused():
    made = split((2, 3))
    real = parsed(made.shares[0])
    forged = Share(
        real.identifier, real.extendable, real.iteration_exponent, real.group_index, real.group_threshold, real.group_count,
        real.index, real.member_threshold, bytes(32),
    ).mnemonic()  # fmt: skip
    with pytest.raises(ShareUnknown):
        shamir.identify(words_of(forged), made.record)
    with pytest.raises(SecretNotRecovered):
        shamir.recover([words_of(forged), made.shares[1]])


def test_one_index_twice():
    made = split((2, 3))
    with pytest.raises(ShareGivenAlready):
        shamir.recover([made.shares[0], made.shares[0]])


def test_a_wrong_passphrase_makes_another_secret():
    made = split((2, 2), passphrase=SecretBytes(b"correct horse"))
    assert shamir.recover(made.shares, SecretBytes(b"correct horse")) == SECRET
    assert shamir.recover(made.shares, SecretBytes(b"battery staple")) != SECRET
    assert shamir.recover(made.shares) != SECRET


@pytest.mark.parametrize(
    ("groups", "needed"),
    [
        ([], 1),
        ([(2, 3)], 0),
        ([(2, 3)], 2),
        ([(3, 2)], 1),
        ([(0, 2)], 1),
        ([(2, 17)], 1),
        ([(1, 3)], 1),
        ([(1, 3), (2, 3)], 1),
        ([(1, 1)] * 17, 1),
    ],
)
def test_splits_that_cannot_be(groups, needed):
    with pytest.raises(SplitRefused):
        shamir.split(secret(), groups=groups, group_threshold=needed)


@pytest.mark.parametrize("size", [1, 15, 17, 33])
def test_secrets_that_cannot_be_split(size):
    with pytest.raises(SplitRefused):
        shamir.split(SecretBytes(bytes(size)), groups=[(2, 3)])


def test_a_passphrase_is_printable_ascii():
    with pytest.raises(SplitRefused):
        split((2, 3), passphrase=SecretBytes("größer".encode()))


def test_a_lost_share_is_made_again_the_same():
    made = split((3, 5), (1, 1), group_threshold=1)
    quorum = [made.shares[0], made.shares[2], made.shares[4]]
    for index in range(1, 6):
        assert shamir.reissue(quorum, made.record, index) == made.shares[index - 1]
    with pytest.raises(QuorumMissing):
        shamir.reissue(quorum[1:], made.record, 2)
    with pytest.raises(QuorumMissing):
        shamir.reissue(quorum, made.record, 6)
    assert shamir.reissue(made.shares, made.record, 6) == made.shares[5]
    with pytest.raises(ShareUnknown):
        shamir.reissue(quorum, made.record, 7)


def test_a_set_record_survives_json():
    made = split((2, 3), (1, 1), group_threshold=2, generation=4)
    data = json.loads(canonical.dumps(made.record.as_json()))
    assert shamir.SetRecord.from_json(data) == made.record
    data["commitments"].pop()
    with pytest.raises(ValueError, match="commitment"):
        shamir.SetRecord.from_json(data)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8")), lambda inner: (
    st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner))))  # fmt: skip
def test_the_offline_tools_canonical_json_is_the_records(value):
    assert offline.canonical(value) == canonical.dumps(value)


# Proving possession.


def challenge(**more) -> bytes:
    values = {"nonce": "n1", "roll_call_id": "r1", "custodian_id": "c1", "set_id": 7, "generation": 1}
    return shamir.roll_call_challenge(**{**values, **more})


def test_every_custodian_proves_and_nothing_else_does():
    made = split((2, 3))
    for index, share in enumerate(made.shares, 1):
        proof = shamir.prove(share, made.record.salt, challenge())
        assert shamir.whose_proof(challenge(), proof, made.record) == shamir.RollCall(index, 1)
        for other in (
            {"nonce": "n2"},
            {"roll_call_id": "r2"},
            {"custodian_id": "c2"},
            {"set_id": 8},
            {"generation": 2},
        ):
            assert not shamir.whose_proof(challenge(**other), proof, made.record)
        for byte in (0, 31, 32, 63):
            broken = bytearray(proof)
            broken[byte] ^= 1
            assert not shamir.whose_proof(challenge(), bytes(broken), made.record)
    for nonsense in (b"", bytes(64), bytes(63), b"x" * 200):
        assert not shamir.whose_proof(challenge(), nonsense, made.record)


def test_a_stale_share_proves_as_the_stale_one():
    old, new = split((2, 3)), split((2, 3), generation=2)
    proof = shamir.prove(old.shares[1], old.record.salt, challenge())
    assert shamir.whose_proof(challenge(), proof, new.record, [old.record]) == shamir.RollCall(2, 1)
    assert shamir.whose_proof(challenge(), proof, new.record) == shamir.RollCall(None, None)


def test_commitments_say_nothing_of_the_share_and_differ_by_set():
    made = split((2, 3))
    share = made.shares[0]
    assert shamir.commitment(share, made.record.salt) == made.record.commitments[0]
    assert shamir.commitment(share, bytes(32)) != made.record.commitments[0]
    assert parsed(share).value not in b"".join(made.record.commitments)


def test_words_show_nowhere(monkeypatch):
    # Always the same words: one card in a hundred has "group", "salt", "again" or the like, which are in what is shown.
    monkeypatch.setattr(library, "RANDOM_BYTES", random.Random(7).randbytes)
    made = split((2, 3))
    word = made.shares[0].reveal().decode().split()[10]
    assert word not in repr(made)
    with pytest.raises(ShareRefused) as caught:
        shamir.identify(changed(made.shares[0]), made.record)
    assert word not in str(caught.value) + caught.value.hint + repr(caught.value)
    made.wipe()
    with pytest.raises(ValueError, match="wiped"):
        made.shares[0].reveal()
