"""What is sealed to a session: opened once, and only for the ceremony, script, step and custodian it was sealed for."""

from hashlib import sha256
from uuid import UUID

from ceremonies.errors import SealedWrongly
from ceremonies.process import sealing
from keys.crypto.errors import DecryptFailed
from keys.crypto.receiving import ReceivingKey
from keys.crypto.secret import SecretBytes


class Inbox:
    """A one-time key, and digests of everything it has opened."""

    def __init__(self, ceremony_id: UUID, script_hash: str) -> None:
        self._ceremony_id, self._script_hash = ceremony_id, script_hash
        self._key = ReceivingKey()
        self._opened: set[bytes] = set()
        self.public_key = self._key.public

    def context(self, custodian_id: str, step: str) -> bytes:
        """What a message of this custodian in this step is bound to."""
        return sealing.context(
            ceremony_id=self._ceremony_id, script_hash=self._script_hash, step=step, custodian_id=custodian_id
        )

    def open(self, custodian_id: str, step: str, ciphertext: bytes) -> SecretBytes:
        """The message; raises SealedWrongly whatever differs, and for one that was opened before."""
        seen = sha256(ciphertext).digest()
        if seen in self._opened:
            raise SealedWrongly(hint="This was sent before; seal it once more.")
        try:
            opened = self._key.open(ciphertext, self.context(custodian_id, step))
        except DecryptFailed:
            raise SealedWrongly(hint="Load the page again and seal once more.") from None
        self._opened.add(seen)
        return opened

    def forget(self) -> None:
        """Nothing that was sealed to it opens any more."""
        self._key.forget()
