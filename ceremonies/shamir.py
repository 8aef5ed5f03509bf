"""Splitting a secret among people by SLIP-39, knowing each share again, and proving that one still holds it.

Pure: no Django, no clock, nothing stored. Words travel as `SecretBytes` (UTF-8, single spaces). Shares are counted from 1
through all groups in their order: that number is `index` everywhere. SLIP-39 knows no generations; the record of a set does.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Any

from shamir_mnemonic import EncryptedMasterSecret, MnemonicError, recover_ems, split_ems
from shamir_mnemonic.shamir import RawShare, ShareGroup, _interpolate
from shamir_mnemonic.share import Share

from ceremonies import offline
from ceremonies.errors import (
    QuorumMissing,
    SecretNotRecovered,
    ShareGivenAlready,
    ShareMistyped,
    ShareOfAnotherSet,
    ShareOfOldGeneration,
    ShareUnknown,
    SplitRefused,
)
from keys.crypto.secret import SecretBytes

MAX_SHARES = 16  # of a group, and groups: four bits each
IDENTIFIERS = 1 << 15
MIN_SECRET_BYTES = 16

type Groups = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ShareFacts:
    """What the words of one share say openly; counts from 1. `words` is how many there are: 20, 23, 27, 30 or 33."""

    set_id: int
    extendable: bool
    iteration_exponent: int
    group: int
    group_threshold: int
    group_count: int
    member: int
    member_threshold: int
    words: int


@dataclass(frozen=True, slots=True)
class SetRecord:
    """Everything public about one set of shares: what the portal stores, and the offline package carries.

    `commitments[index - 1]` is the Ed25519 public key of that share; `salt` is 32 random bytes that all of them share.
    """

    set_id: int
    generation: int
    extendable: bool
    iteration_exponent: int
    group_threshold: int
    groups: tuple[tuple[int, int], ...]  # threshold and count of each
    salt: bytes
    commitments: tuple[bytes, ...]
    with_passphrase: bool = False

    @property
    def count(self) -> int:
        return sum(count for _, count in self.groups)

    def index_of(self, group: int, member: int) -> int | None:
        """The running number of a member of a group (both from 1); None where the set has no such share."""
        return offline.index_of(self.groups, group, member)

    def place_of(self, index: int) -> tuple[int, int]:
        """Group and member (both from 1) of the share `index`; raises ShareUnknown."""
        member = index
        for group, (_, count) in enumerate(self.groups, 1):
            if 1 <= member <= count:
                return group, member
            member -= count
        raise ShareUnknown(f"The set has no share {index}.")

    def missing(self, given: Collection[int]) -> int:
        """How many more shares the smallest completion of `given` needs; 0 for a quorum."""
        return offline.missing(self.groups, self.group_threshold, given)

    def as_json(self) -> dict[str, Any]:
        """Plain data, bytes in hex; `from_json` reads it."""
        return {
            "set_id": self.set_id, "generation": self.generation, "extendable": self.extendable,
            "iteration_exponent": self.iteration_exponent, "group_threshold": self.group_threshold,
            "groups": [list(group) for group in self.groups], "salt": self.salt.hex(),
            "commitments": [known.hex() for known in self.commitments], "passphrase": self.with_passphrase,
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SetRecord":
        """Raises ValueError, KeyError or TypeError for anything else."""
        groups = tuple((int(threshold), int(count)) for threshold, count in data["groups"])
        record = cls(
            int(data["set_id"]), int(data["generation"]), bool(data["extendable"]), int(data["iteration_exponent"]),
            int(data["group_threshold"]), groups, bytes.fromhex(data["salt"]),
            tuple(bytes.fromhex(known) for known in data["commitments"]), bool(data.get("passphrase", False)),
        )  # fmt: skip
        if record.count != len(record.commitments):
            raise ValueError("a set has one commitment for each share")
        return record


@dataclass(frozen=True, slots=True)
class ShareSet:
    """A set just made: its public record, and the words of each share by index - 1, to be handed out and wiped."""

    record: SetRecord
    shares: tuple[SecretBytes, ...]

    def wipe(self) -> None:
        """Forget all the words."""
        for words in self.shares:
            words.wipe()


def split(
    secret: SecretBytes,
    *,
    groups: Groups,
    group_threshold: int = 1,
    passphrase: SecretBytes | None = None,
    iteration_exponent: int = 1,
    extendable: bool = True,
    generation: int = 1,
    avoid: Collection[int] = (),
) -> ShareSet:
    """Split `secret` (16 to 32 bytes, an even number) among groups of (threshold, count), `group_threshold` of which are needed.

    `avoid` names set identifiers already used, so that a share of an older generation is known by its first words. Raises
    SplitRefused.
    """
    check_groups(groups, group_threshold)
    if len(secret) < MIN_SECRET_BYTES or len(secret) % 2:
        raise SplitRefused("The secret must be at least 16 bytes, and an even number of them.")
    if not 0 <= iteration_exponent <= 15:
        raise SplitRefused("The iteration exponent is from 0 to 15.")
    phrase = phrase_of(passphrase)
    set_id = _fresh_identifier(avoid)
    encrypted = EncryptedMasterSecret.from_master_secret(
        secret.reveal(), phrase, set_id, extendable, iteration_exponent
    )
    made = [share.mnemonic() for share in _members(groups, group_threshold, encrypted)]
    salt = secrets.token_bytes(offline.SALT_BYTES)
    record = SetRecord(
        set_id, generation, extendable, iteration_exponent, group_threshold,
        tuple((threshold, count) for threshold, count in groups), salt,
        tuple(offline.commitment(words, salt) for words in made), bool(phrase),
    )  # fmt: skip
    return ShareSet(record, tuple(SecretBytes(words.encode()) for words in made))


def known_set(shares: Sequence[SecretBytes], threshold: int) -> ShareSet:
    """The record of a set of one group that was split elsewhere, so that its shares are known again; raises ShareMistyped."""
    facts = inspect(shares[0])
    salt = secrets.token_bytes(offline.SALT_BYTES)
    record = SetRecord(
        facts.set_id, 1, facts.extendable, facts.iteration_exponent, 1, ((threshold, len(shares)),), salt,
        tuple(commitment(words, salt) for words in shares),
    )  # fmt: skip
    return ShareSet(record, tuple(shares))


def check_groups(groups: Groups, group_threshold: int) -> None:
    """Whether SLIP-39 can split so; raises SplitRefused with the reason."""
    if not 1 <= len(groups) <= MAX_SHARES or not 1 <= group_threshold <= len(groups):
        raise SplitRefused("From 1 to 16 groups, and a group threshold from 1 to their number.")
    for threshold, count in groups:
        if not 1 <= threshold <= count <= MAX_SHARES:
            raise SplitRefused("In each group the threshold is from 1 to the number of shares, which is at most 16.")
        if threshold == 1 and count > 1 and group_threshold == 1:
            raise SplitRefused(
                "Shares any one of which suffices would all be the same.",
                hint="Make a group of one for each of these people, and need one of the groups.",
            )


def recover(shares: Iterable[SecretBytes], passphrase: SecretBytes | None = None) -> SecretBytes:
    """The secret that exactly a quorum makes; raises ShareMistyped, ShareOfAnotherSet, ShareGivenAlready, QuorumMissing,
    SecretNotRecovered.

    SLIP-39 cannot tell a wrong passphrase, which yields another secret: compare its check value.
    """
    groups = _gathered(shares)
    phrase = phrase_of(passphrase)
    try:
        return SecretBytes(recover_ems(groups).decrypt(phrase))
    except MnemonicError:
        raise SecretNotRecovered(hint="One of the shares is not of this quorum; begin the attempt again.") from None


def reissue(shares: Iterable[SecretBytes], record: SetRecord, index: int) -> SecretBytes:
    """The words of share `index`, made again from a quorum of its own group: the same words as before.

    For a share that was lost: whoever finds it can still use it, which somebody must accept, or a new set is made. Raises as
    `recover`, ShareUnknown, and SecretNotRecovered unless the result is the very share that was handed out.
    """
    group, member = record.place_of(index)
    found = _gathered(shares, whole=False).get(group - 1)
    if found is None or len(found) < record.groups[group - 1][0]:
        raise QuorumMissing(f"Making share {index} again needs a quorum of its own group.")
    some = next(iter(found))
    raw = [RawShare(share.index, share.value) for share in found.get_minimal_group()]
    words = Share(
        some.identifier, some.extendable, some.iteration_exponent, some.group_index, some.group_threshold, some.group_count,
        member - 1, some.member_threshold, raw[0].data if some.member_threshold == 1 else _interpolate(raw, member - 1),
    ).mnemonic()  # fmt: skip
    if not compare_digest(offline.commitment(words, record.salt), record.commitments[index - 1]):
        raise SecretNotRecovered(f"These shares do not make share {index} again.")
    return SecretBytes(words.encode())


def inspect(words: SecretBytes) -> ShareFacts:
    """What the share says of itself; raises ShareMistyped when the checksum does not hold."""
    share = _read(words)
    return ShareFacts(
        share.identifier, share.extendable, share.iteration_exponent, share.group_index + 1, share.group_threshold,
        share.group_count, share.index + 1, share.member_threshold, len(words.reveal().split()),
    )  # fmt: skip


def identify(words: SecretBytes, record: SetRecord, older: Sequence[SetRecord] = ()) -> int:
    """The index of this share in the set: checksum, set, generation and commitment are checked, in this order.

    Raises ShareMistyped, ShareOfOldGeneration (one of `older`), ShareOfAnotherSet, ShareUnknown.
    """
    share = _read(words)
    if share.identifier != record.set_id:
        for old in older:
            if share.identifier == old.set_id:
                raise ShareOfOldGeneration(
                    f"This share is of generation {old.generation}; the present one is {record.generation}.",
                    hint="Bring the card with the newer date, and have the old one destroyed.",
                )
        raise ShareOfAnotherSet(
            f"This share is of the set {offline.set_name(share.identifier)}; asked for is {offline.set_name(record.set_id)}.",
            hint="Look for the card with the set's name on it.",
        )
    index = record.index_of(share.group_index + 1, share.index + 1)
    text = words.reveal().decode()
    if index is None or not compare_digest(offline.commitment(text, record.salt), record.commitments[index - 1]):
        raise ShareUnknown("The words are a share of this set's name, but not one that was handed out.")
    return index


@dataclass(frozen=True, slots=True)
class RollCall:
    """What a proof shows: whose share of which generation it was made with; `index` is None for an unknown one."""

    index: int | None
    generation: int | None

    def __bool__(self) -> bool:
        return self.index is not None


def whose_proof(challenge: bytes, proof: bytes, record: SetRecord, older: Sequence[SetRecord] = ()) -> RollCall:
    """Which share made this proof, of the present set or of an older one; the caller compares it with the custodian's own."""
    for known in (record, *older):
        for index, public in enumerate(known.commitments, 1):
            if offline.proves(public, challenge, proof):
                return RollCall(index, known.generation)
    return RollCall(None, None)


def roll_call_challenge(*, nonce: str, roll_call_id: str, custodian_id: str, set_id: int, generation: int) -> bytes:
    """What a custodian signs with the share: one roll-call, one custodian, one set. Canonical JSON, shown in base64."""
    return offline.canonical(
        {
            "custodian": custodian_id,
            "generation": generation,
            "nonce": nonce,
            "roll_call": roll_call_id,
            "set_id": set_id,
        }
    )


def commitment(words: SecretBytes, salt: bytes) -> bytes:
    """The public key by which the portal knows this share again (`offline.commitment_key`); raises ShareMistyped."""
    _read(words)
    return offline.commitment(words.reveal().decode(), salt)


def prove(words: SecretBytes, salt: bytes, challenge: bytes) -> bytes:
    """The proof of holding this share; raises ShareMistyped."""
    _read(words)
    return offline.prove(words.reveal().decode(), salt, challenge)


def _read(words: SecretBytes) -> Share:
    try:
        return offline.read_share(words.reveal().decode())
    except (offline.Problem, ValueError):
        raise ShareMistyped(
            "These words are not a share: one of them is mistyped, missing or moved.",
            hint="Read the card again, word by word.",
        ) from None


def phrase_of(passphrase: SecretBytes | None) -> bytes:
    """The passphrase as SLIP-39 takes it, empty for none; raises SplitRefused for other than printable ASCII."""
    phrase = passphrase.reveal() if passphrase else b""
    if not all(32 <= code <= 126 for code in phrase):
        raise SplitRefused("A passphrase has printable ASCII characters only.")
    return phrase


def _members(groups: Groups, group_threshold: int, encrypted: EncryptedMasterSecret) -> Iterator[Share]:
    """The shares of all groups in their order; in a group any one of which suffices, all carry the group's own secret.

    SLIP-39 defines that split (each y is S where T is 1) and asks makers of wallets to hand out one share instead. Here each
    custodian is known by their own share, so each gets an index; whoever reads SLIP-39 combines them like any other.
    """
    whole = [(threshold, 1 if threshold == 1 else count) for threshold, count in groups]
    for (threshold, count), made in zip(groups, split_ems(group_threshold, whole, encrypted), strict=True):
        yield from made
        if threshold == 1:
            yield from (replace(made[0], index=index) for index in range(1, count))


def _fresh_identifier(avoid: Collection[int]) -> int:
    if len(set(avoid)) >= IDENTIFIERS // 2:
        raise SplitRefused("Too many sets were made of this secret to tell their names apart.")
    while (found := secrets.randbelow(IDENTIFIERS)) in avoid:
        pass
    return found


def _gathered(shares: Iterable[SecretBytes], *, whole: bool = True) -> dict[int, ShareGroup]:
    """The shares by group (from 0), trimmed to a quorum where there are more; `whole` wants a quorum of groups."""
    groups: dict[int, ShareGroup] = {}
    common = None
    for words in shares:
        share = _read(words)
        if common not in (None, share.common_parameters()):
            raise ShareOfAnotherSet("These shares are not all of one set.")
        common = share.common_parameters()
        group = groups.setdefault(share.group_index, ShareGroup())
        if any(share.index == other.index for other in group):
            raise ShareGivenAlready(f"Share {share.index + 1} of group {share.group_index + 1} was given twice.")
        try:
            group.add(share)
        except MnemonicError:
            raise ShareOfAnotherSet("These shares are not all of one set.") from None
    if not whole:
        return groups
    complete = {number: group.get_minimal_group() for number, group in groups.items() if group.is_complete()}
    if common is None or len(complete) < common.group_threshold:
        raise QuorumMissing("Not enough shares were given.", hint="Ask further custodians for theirs.")
    return dict(sorted(complete.items())[: common.group_threshold])
