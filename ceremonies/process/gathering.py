"""Gathering shares under one nonce: a quorum to recover, or all of them to verify a new set."""

import secrets
from collections.abc import Mapping, Sequence
from hmac import compare_digest

from ceremonies import offline, shamir
from ceremonies.errors import QuorumMissing, ShareGivenAlready, ShareOfAnotherPerson
from ceremonies.shamir import SetRecord
from keys.crypto.secret import SecretBytes


class Attempt:
    """Shares of the set `record`, each from its holder; `older` sets let a stale share be named."""

    def __init__(
        self,
        record: SetRecord,
        holders: Mapping[int, str],
        older: Sequence[SetRecord] = (),
        *,
        all_of_them: bool = False,
    ) -> None:
        self.record, self.holders, self.older, self.all_of_them = record, dict(holders), tuple(older), all_of_them
        self.nonce = secrets.token_urlsafe(16)
        self.given: dict[int, SecretBytes] = {}

    def is_under(self, nonce: str) -> bool:
        return compare_digest(self.nonce.encode(), nonce.encode())

    @property
    def missing(self) -> int:
        """How many more shares are needed."""
        return self.record.count - len(self.given) if self.all_of_them else self.record.missing(self.given)

    def need_quorum(self) -> None:
        """Raise QuorumMissing while shares are missing."""
        if self.missing:
            raise QuorumMissing(f"{self.missing} more shares are needed.")

    def take(self, words: SecretBytes, custodian_id: str) -> int:
        """Keep the share and return its index; raises what `shamir.identify` does, ShareOfAnotherPerson, ShareGivenAlready."""
        index = shamir.identify(words, self.record, self.older)
        if self.holders.get(index) != custodian_id:
            raise ShareOfAnotherPerson(f"Share {index} was handed to somebody else.", hint="Bring your own card.")
        if index in self.given:
            raise ShareGivenAlready(f"Share {index} was given already.")
        self.given[index] = SecretBytes(offline.plain_words(words.reveal().decode()).encode())
        return index

    def recover(self, passphrase: SecretBytes | None) -> SecretBytes:
        """What the shares make; raises QuorumMissing, SecretNotRecovered."""
        self.need_quorum()
        return shamir.recover(self.given.values(), passphrase)

    def wipe(self) -> None:
        """Erase the shares."""
        for words in self.given.values():
            words.wipe()
        self.given.clear()
