"""State machines of the keys app: one table of allowed moves each, no Django.

Key version states follow NIST SP 800-57 Part 1 Rev. 5 section 7; `decrypt_only` is its *deactivated* state (may process
what it protected, protects nothing new) under the name the product's users query.
"""

from collections.abc import Mapping
from enum import StrEnum


class VersionState(StrEnum):
    PRE_ACTIVE = "pre_active"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    PENDING_DELETION = "pending_deletion"
    DESTROYED = "destroyed"


class RotationState(StrEnum):
    INTRODUCING = "introducing"
    RE_ENCRYPTING = "re_encrypting"
    PAUSED = "paused"
    RE_ENCRYPTED = "re_encrypted"
    DECOMMISSIONED = "decommissioned"  # the old version waits in pending_deletion
    COMPLETED = "completed"  # the old version is destroyed
    CANCELLED = "cancelled"
    FAILED = "failed"


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class IntentState(StrEnum):
    """Work at a key provider: written down, being done, put off, over."""

    QUEUED = "queued"
    CALLING = "calling"
    WAITING = "waiting"  # the provider did not answer, or asked for patience; it is tried again by itself
    DONE = "done"
    FAILED = "failed"  # needs somebody: another try has to be asked for


class MoveState(StrEnum):
    """A key on its way from one provider to another."""

    MAKING = "making"  # the new version, at the new place
    DUAL_WRAPPING = "dual_wrapping"  # what stands on the old version is wrapped at the new place as well
    COMPARING = "comparing"  # read back at both places; then the switch, when the new version was published long enough
    RE_WRAPPING = "re_wrapping"  # switched: the new version protects, everything is wrapped at both places
    RE_WRAPPED = "re_wrapped"  # nothing stands on the old version: it may be dropped, by agreement
    DROPPING = "dropping"  # the old version waits out its grace period
    COMPLETED = "completed"
    PAUSED = "paused"
    FAILED = "failed"  # needs somebody: resume or undo
    UNDOING = "undoing"
    UNDONE = "undone"


V, R, J, I = VersionState, RotationState, JobState, IntentState  # noqa: E741
M = MoveState

VERSION_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    V.PRE_ACTIVE: frozenset({V.ACTIVE, V.COMPROMISED, V.DESTROYED}),
    V.ACTIVE: frozenset({V.DECRYPT_ONLY, V.SUSPENDED, V.COMPROMISED}),
    # Active again only when the move of its key to another place is undone; `versions.make_active` refuses it otherwise.
    V.DECRYPT_ONLY: frozenset({V.ACTIVE, V.SUSPENDED, V.COMPROMISED, V.PENDING_DELETION}),
    # Resuming returns to the state the suspension interrupted; the service remembers which.
    V.SUSPENDED: frozenset({V.ACTIVE, V.DECRYPT_ONLY, V.COMPROMISED, V.PENDING_DELETION}),
    V.COMPROMISED: frozenset({V.PENDING_DELETION}),
    # Cancelling a deletion returns to what the version was: never to active.
    V.PENDING_DELETION: frozenset({V.DECRYPT_ONLY, V.COMPROMISED, V.SUSPENDED, V.DESTROYED}),
    V.DESTROYED: frozenset(),
}

ROTATION_MOVES: Mapping[RotationState, frozenset[RotationState]] = {
    R.INTRODUCING: frozenset({R.RE_ENCRYPTING, R.FAILED, R.CANCELLED}),
    R.RE_ENCRYPTING: frozenset({R.PAUSED, R.RE_ENCRYPTED, R.CANCELLED, R.FAILED}),
    R.PAUSED: frozenset({R.RE_ENCRYPTING, R.CANCELLED}),
    R.FAILED: frozenset({R.RE_ENCRYPTING, R.CANCELLED}),
    # New items on the old version may still be found: the walk starts again.
    R.RE_ENCRYPTED: frozenset({R.RE_ENCRYPTING, R.DECOMMISSIONED}),
    R.DECOMMISSIONED: frozenset({R.RE_ENCRYPTED, R.COMPLETED}),
    R.COMPLETED: frozenset(),
    R.CANCELLED: frozenset(),
}

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    J.PENDING: frozenset({J.RUNNING, J.PAUSED, J.CANCELLED}),
    J.RUNNING: frozenset({J.PAUSED, J.DONE, J.CANCELLED, J.FAILED}),
    J.PAUSED: frozenset({J.PENDING, J.RUNNING, J.CANCELLED}),
    J.FAILED: frozenset({J.PENDING, J.RUNNING, J.CANCELLED}),
    J.DONE: frozenset({J.RUNNING}),
    J.CANCELLED: frozenset(),
}

INTENT_MOVES: Mapping[IntentState, frozenset[IntentState]] = {
    I.QUEUED: frozenset({I.CALLING}),
    # Calling again is taking over from a worker whose lease ran out.
    I.CALLING: frozenset({I.CALLING, I.WAITING, I.DONE, I.FAILED}),
    I.WAITING: frozenset({I.CALLING}),
    I.FAILED: frozenset({I.QUEUED}),
    I.DONE: frozenset(),
}

_STEPS = frozenset({M.MAKING, M.DUAL_WRAPPING, M.COMPARING, M.RE_WRAPPING, M.UNDOING})
MOVE_MOVES: Mapping[MoveState, frozenset[MoveState]] = {
    M.MAKING: frozenset({M.DUAL_WRAPPING, M.PAUSED, M.FAILED, M.UNDOING}),
    M.DUAL_WRAPPING: frozenset({M.COMPARING, M.PAUSED, M.FAILED, M.UNDOING}),
    M.COMPARING: frozenset({M.RE_WRAPPING, M.PAUSED, M.FAILED, M.UNDOING}),
    M.RE_WRAPPING: frozenset({M.RE_WRAPPED, M.PAUSED, M.FAILED, M.UNDOING}),
    # New items on the old version may still be found: the walk starts again.
    M.RE_WRAPPED: frozenset({M.RE_WRAPPING, M.DROPPING, M.UNDOING}),
    M.DROPPING: frozenset({M.RE_WRAPPED, M.COMPLETED}),
    M.COMPLETED: frozenset(),
    M.PAUSED: _STEPS,
    M.FAILED: _STEPS,
    M.UNDOING: frozenset({M.UNDONE, M.PAUSED, M.FAILED}),
    M.UNDONE: frozenset(),
}

# What each state lets a version do (SP 800-57 Part 1, 7.1-7.6): protect = encrypt, wrap, sign, MAC; process = the reverse.
MAY_PROTECT = frozenset({V.ACTIVE})
MAY_PROCESS = frozenset({V.ACTIVE, V.DECRYPT_ONLY, V.COMPROMISED, V.PENDING_DELETION})


def may_move[State: (VersionState, RotationState, JobState, IntentState, MoveState)](
    moves: Mapping[State, frozenset[State]], old: State, new: State
) -> bool:
    """Whether the table lets `old` become `new`."""
    return new in moves[old]
