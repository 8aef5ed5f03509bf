"""Handing out the shares of a set just made: each shown once, to one person, and erased when it was typed back."""

import secrets
from dataclasses import dataclass, field
from hmac import compare_digest

from ceremonies.errors import NotReady, ShareOfAnotherPerson, ShareRefused, ShareShownAlready
from ceremonies.shamir import SetRecord, ShareSet
from keys.crypto.secret import SecretBytes

METADATA_WORDS = 4  # the first words say which share it is: typing them back proves nothing
ASKED_BACK = 4


@dataclass
class Handout:
    """`holders` names the custodian of each index; `positions` are the words asked back of the shares shown so far."""

    made: ShareSet
    holders: dict[int, str]
    positions: dict[int, tuple[int, ...]] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)

    @classmethod
    def again(cls, record: SetRecord, index: int, words: SecretBytes, custodian_id: str) -> "Handout":
        """One share of a set whose others are where they were."""
        numbers = range(1, record.count + 1)
        shares = tuple(words if number == index else SecretBytes(b"") for number in numbers)
        return cls(ShareSet(record, shares), {index: custodian_id}, confirmed={n for n in numbers if n != index})

    @property
    def complete(self) -> bool:
        """Whether everybody has confirmed."""
        return len(self.confirmed) == self.made.record.count

    def unshown(self, index: int, custodian_id: str) -> SecretBytes:
        """The words that may be shown now; raises ShareOfAnotherPerson, ShareShownAlready."""
        if self.holders.get(index) != custodian_id:
            raise ShareOfAnotherPerson(f"Share {index} is for somebody else.")
        if index in self.positions:
            raise ShareShownAlready(
                f"Share {index} was shown already; it is never shown twice.",
                hint="If it was not written down, split again: nothing depends on this set yet.",
            )
        return self.made.shares[index - 1]

    def note_shown(self, index: int) -> tuple[tuple[int, ...], str]:
        """Which words to type back (from 1), and what the card is known by."""
        count = len(self.made.shares[index - 1].reveal().split())
        asked = secrets.SystemRandom().sample(range(METADATA_WORDS + 1, count + 1), ASKED_BACK)
        self.positions[index] = tuple(sorted(asked))
        return self.positions[index], self.made.record.commitments[index - 1].hex()[:8]

    def to_confirm(self, custodian_id: str) -> int:
        """The index this custodian was shown; raises ShareOfAnotherPerson, NotReady."""
        for index, holder in self.holders.items():
            if holder == custodian_id:
                if index not in self.positions:
                    raise NotReady(f"Share {index} was not shown yet.")
                return index
        raise ShareOfAnotherPerson("No share of this set is for this custodian.")

    def confirm(self, index: int, typed: SecretBytes) -> None:
        """Compare with the words asked for, or with all of them, and erase them here; raises ShareRefused."""
        words = self.made.shares[index - 1].reveal().decode().split()
        told = " ".join(typed.reveal().decode("utf-8", "replace").lower().split())
        asked = [words[position - 1] for position in self.positions[index]]
        if not any(compare_digest(told.encode(), " ".join(right).encode()) for right in (asked, words)):
            raise ShareRefused(
                "These are not the words that were asked for.", hint="Compare with the card, word by word."
            )
        self.confirmed.add(index)
        self.made.shares[index - 1].wipe()

    def wipe(self) -> None:
        """Erase the words that are still here."""
        self.made.wipe()
