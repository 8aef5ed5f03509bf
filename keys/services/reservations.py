"""Keys that serve one purpose of the portal itself: nobody may use them through the data plane.

Whoever could have any bytes signed with a CA's key could make certificates that no rule and no record has seen.
"""

from collections.abc import Callable
from uuid import UUID

type Purpose = Callable[[UUID], str]
"""What a key is reserved for, in words; empty when it is not."""

_purposes: list[Purpose] = []


def reserve_through(purpose: Purpose) -> None:
    """Ask `purpose` of every key before it is used; apps do this once, when they are ready."""
    if purpose not in _purposes:
        _purposes.append(purpose)


def purpose_of(key_id: UUID) -> str:
    """What the key is reserved for, or nothing."""
    return next((found for purpose in _purposes if (found := purpose(key_id))), "")
