"""Sealing at two places at once: what keeps a move of a key undoable at every moment.

While a key moves, its new version seals everything twice: once at the new place and once at the old one, under the same
associated data, and both copies travel together as one payload. Whoever holds such a payload, a row of the portal, an
envelope in somebody's table or a text in a backup, can have it opened at either place. So nothing is lost when the new
place turns out to be wrong after the switch: not when it is down, when it refuses us, or when the new key is deleted
behind our back. No table has to be kept beside the data for it, and no call is made to keep one true.

Before the switch nothing but the old version protects, and undoing is trivial. After it the old version is needed to
the day it is dropped; with its state the second copy ends by itself, for nothing new is sealed under a version that
waits for its destruction, is compromised or is gone. A copy never stands alone: the old version protects nothing that
the new one does not protect as well.

When the old place does not answer, a caller's request is served with one copy rather than refused: a move must not add
the old place's failures to the new one's. Background work waits instead (`require_both`).

Form: MAGIC | length of the first payload in four bytes | first | second. No provider's payload begins so: they begin
with random nonces, lengths or fixed headers of their own, and a payload that only looks so still opens or is refused.
"""

import logging
from collections.abc import Callable

from keys.models import KeyVersion
from keys.providers.base import BoundCipher
from keys.services import budget
from keys.states import VersionState
from keyvault_portal.errors import PortalError, ProviderUnavailable

logger = logging.getLogger(__name__)
MAGIC = b"\x00KVP2PL\x01"
_HEAD = len(MAGIC) + 4
_READS = {VersionState.ACTIVE, VersionState.DECRYPT_ONLY, VersionState.COMPROMISED}


def join(first: bytes, second: bytes) -> bytes:
    """One payload out of the two copies."""
    return MAGIC + len(first).to_bytes(4, "big") + first + second


def split(payload: bytes) -> tuple[bytes, bytes | None]:
    """The copy of the new place, and that of the old one if there is one."""
    if not payload.startswith(MAGIC) or len(payload) <= _HEAD:
        return payload, None
    end = _HEAD + int.from_bytes(payload[len(MAGIC) : _HEAD], "big")
    return (payload[_HEAD:end], payload[end:]) if end < len(payload) else (payload, None)


def copies(version: KeyVersion) -> KeyVersion | None:
    """The version at the old place that takes a second copy of whatever `version` seals now."""
    before = version.moved_from
    live = version.state is VersionState.ACTIVE and before is not None and before.state is VersionState.DECRYPT_ONLY
    return before if live else None


def reads(version: KeyVersion) -> KeyVersion | None:
    """The version at the old place that can still open the second copies."""
    before = version.moved_from
    return before if before is not None and before.state in _READS else None


def require_both(version: KeyVersion, payload: bytes) -> None:
    """Raise ProviderUnavailable if the old place owes its copy: background work comes back for it."""
    before = copies(version)
    if before is not None and split(payload)[1] is None:
        raise ProviderUnavailable(
            f"The key provider {before.provider} did not take its copy of what is wrapped anew.",
            hint="While the key moves, everything is wrapped at both places.",
        )


class TwoPlaces:
    """The cipher of a version that was made by moving its key.

    `here` gives the cipher at its own place, or raises what keeps it from being had; `bind` gives that of any version.
    """

    __slots__ = ("_bind", "_copies", "_here", "_reads")

    def __init__(
        self, here: Callable[[], BoundCipher], version: KeyVersion, bind: Callable[[KeyVersion], BoundCipher]
    ) -> None:
        self._here, self._bind = here, bind
        self._copies, self._reads = copies(version), reads(version)

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        payload = self._here().encrypt(plaintext, aad)
        if self._copies is None:
            return payload
        try:
            budget.spend(self._copies)
            return join(payload, self._bind(self._copies).encrypt(plaintext, aad))
        except PortalError as error:
            logger.warning("%s did not take its copy: %s", self._copies, error.code)
            return payload

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        first, second = split(payload)
        try:
            return self._here().decrypt(first, aad)
        except PortalError:
            if second is None or self._reads is None:
                raise
            try:
                return self._bind(self._reads).decrypt(second, aad)
            except PortalError as error:
                logger.warning("%s did not open its copy: %s", self._reads, error.code)
            raise
