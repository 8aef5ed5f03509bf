"""Use-limit arithmetic: how much of a key's life its messages have spent, and when the rest will be gone."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from keys.crypto.errors import LimitExceeded

ROTATE_SOON_SHARE = 0.5
ROTATE_NOW_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Budget:
    """Messages used out of a limit; a limit of None means the algorithm sets none."""

    used: int
    limit: int | None

    @property
    def share(self) -> float:
        """Share used, from 0.0; over 1.0 once passed; 0.0 without a limit."""
        return self.used / self.limit if self.limit else 0.0

    @property
    def remaining(self) -> int | None:
        """Messages left, never negative; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)

    @property
    def rotate_soon(self) -> bool:
        return self.share >= ROTATE_SOON_SHARE

    @property
    def rotate_now(self) -> bool:
        return self.share >= ROTATE_NOW_SHARE

    def spend(self, messages: int) -> "Budget":
        """Return the budget after more messages; raises LimitExceeded (and spends nothing) when they do not fit."""
        if messages < 0:
            raise ValueError("cannot spend a negative number of messages")
        if self.limit is not None and self.used + messages > self.limit:
            raise LimitExceeded("the use limit of this key version is reached; rotate it")
        return Budget(self.used + messages, self.limit)

    def lease(self, wanted: int) -> int:
        """Return how many of the wanted messages one worker may reserve at once; 0 when nothing is left."""
        return wanted if self.limit is None else min(wanted, max(0, self.limit - self.used))

    def exhausted_at(self, since: datetime, now: datetime) -> datetime | None:
        """Project when the limit is met at the mean rate between two aware times; None when it never is."""
        elapsed = (now - since).total_seconds()
        if self.limit is None or self.used <= 0 or elapsed <= 0:
            return None
        try:
            return now + timedelta(seconds=max(0, self.limit - self.used) * elapsed / self.used)
        except OverflowError:
            return None


def for_collision_bound(nonce_bits: int, log2_probability: int = -32) -> int:
    """Return the messages that keep the chance of a repeated random nonce under 2**log2_probability.

    Birthday bound q**2 / 2**(bits + 1); NIST SP 800-38D, 8.3 asks 2**-32 and gets 2**32 for 96 bits.
    """
    exponent = nonce_bits + 1 + log2_probability
    return 1 << max(0, exponent // 2)
