"""The rollover's state machine: one table of allowed moves, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class RolloverState(StrEnum):
    """`a` is the authority that goes, `b` the one that comes; what is trusted, and who issues."""

    TRUST_A = "trust_a"  # planned: nothing has changed
    TRUST_BOTH = "trust_both"  # relying parties add B to their bundles
    ISSUE_B = "issue_b"  # A issues no more; its last certificates live on
    TRUST_B = "trust_b"  # relying parties may remove A
    CANCELLED = "cancelled"


R = RolloverState

ROLLOVER_MOVES: Mapping[RolloverState, frozenset[RolloverState]] = {
    R.TRUST_A: frozenset({R.TRUST_BOTH, R.CANCELLED}),
    R.TRUST_BOTH: frozenset({R.ISSUE_B, R.CANCELLED}),
    R.ISSUE_B: frozenset({R.TRUST_B, R.TRUST_BOTH}),  # back: A issues again, nobody has lost it yet
    R.TRUST_B: frozenset(),
    R.CANCELLED: frozenset(),
}
OPEN = (R.TRUST_A.value, R.TRUST_BOTH.value, R.ISSUE_B.value)
STEPS = (R.TRUST_A, R.TRUST_BOTH, R.ISSUE_B, R.TRUST_B)


def after(state: RolloverState) -> RolloverState | None:
    """The next step forward; None at the end."""
    place = STEPS.index(state) if state in STEPS else len(STEPS)
    return STEPS[place + 1] if place + 1 < len(STEPS) else None
