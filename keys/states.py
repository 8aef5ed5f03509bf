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


class ImportState(StrEnum):
    """A key on its way in: waiting for material, being checked, being brought to its provider, over."""

    OPEN = "open"
    RECEIVED = "received"
    HANDED = "handed"  # the work at the provider is written down
    DONE = "done"
    FAILED = "failed"
    ABORTED = "aborted"
    EXPIRED = "expired"


class ExportState(StrEnum):
    """A key on its way out: decided, wrapped and waiting to be collected, erased here, or given up."""

    QUEUED = "queued"
    READY = "ready"
    ERASED = "erased"
    FAILED = "failed"


class SealStanding(StrEnum):
    """A way to open the root: being made, kept ready, found not to open at present, given up."""

    PREPARING = "preparing"
    IN_USE = "in_use"
    LOST = "lost"  # its last checks did not open it; it is still tried, and comes back by itself
    RETIRED = "retired"


V, R, J, I, S = VersionState, RotationState, JobState, IntentState, SealStanding  # noqa: E741
M, X = ImportState, ExportState
N = MoveState

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
    # What was left behind is taken up again, to the version that is active by then.
    R.CANCELLED: frozenset({R.RE_ENCRYPTING}),
}

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    J.PENDING: frozenset({J.RUNNING, J.PAUSED, J.CANCELLED}),
    J.RUNNING: frozenset({J.PAUSED, J.DONE, J.CANCELLED, J.FAILED}),
    J.PAUSED: frozenset({J.PENDING, J.RUNNING, J.CANCELLED}),
    J.FAILED: frozenset({J.PENDING, J.RUNNING, J.CANCELLED}),
    J.DONE: frozenset({J.PENDING}),
    J.CANCELLED: frozenset({J.PENDING}),
}

INTENT_MOVES: Mapping[IntentState, frozenset[IntentState]] = {
    I.QUEUED: frozenset({I.CALLING}),
    # Calling again is taking over from a worker whose lease ran out.
    I.CALLING: frozenset({I.CALLING, I.WAITING, I.DONE, I.FAILED}),
    I.WAITING: frozenset({I.CALLING}),
    I.FAILED: frozenset({I.QUEUED}),
    I.DONE: frozenset(),
}

_STEPS = frozenset({N.MAKING, N.DUAL_WRAPPING, N.COMPARING, N.RE_WRAPPING, N.UNDOING})
MOVE_MOVES: Mapping[MoveState, frozenset[MoveState]] = {
    N.MAKING: frozenset({N.DUAL_WRAPPING, N.PAUSED, N.FAILED, N.UNDOING}),
    N.DUAL_WRAPPING: frozenset({N.COMPARING, N.PAUSED, N.FAILED, N.UNDOING}),
    N.COMPARING: frozenset({N.RE_WRAPPING, N.PAUSED, N.FAILED, N.UNDOING}),
    N.RE_WRAPPING: frozenset({N.RE_WRAPPED, N.PAUSED, N.FAILED, N.UNDOING}),
    # New items on the old version may still be found: the walk starts again.
    N.RE_WRAPPED: frozenset({N.RE_WRAPPING, N.DROPPING, N.UNDOING}),
    N.DROPPING: frozenset({N.RE_WRAPPED, N.COMPLETED}),
    N.COMPLETED: frozenset(),
    N.PAUSED: _STEPS,
    N.FAILED: _STEPS,
    N.UNDOING: frozenset({N.UNDONE, N.PAUSED, N.FAILED}),
    N.UNDONE: frozenset(),
}

IMPORT_MOVES: Mapping[ImportState, frozenset[ImportState]] = {
    M.OPEN: frozenset({M.RECEIVED, M.ABORTED, M.EXPIRED}),
    # An upload that does not fit its check value may be followed by another one.
    M.RECEIVED: frozenset({M.OPEN, M.HANDED, M.DONE, M.FAILED, M.ABORTED, M.EXPIRED}),
    M.HANDED: frozenset({M.DONE, M.FAILED, M.ABORTED, M.EXPIRED}),
    M.DONE: frozenset(),
    M.FAILED: frozenset(),
    M.ABORTED: frozenset(),
    M.EXPIRED: frozenset(),
}
OPEN_IMPORTS = frozenset({M.OPEN, M.RECEIVED, M.HANDED})

EXPORT_MOVES: Mapping[ExportState, frozenset[ExportState]] = {
    X.QUEUED: frozenset({X.READY, X.ERASED, X.FAILED}),
    X.READY: frozenset({X.ERASED}),
    X.ERASED: frozenset(),
    X.FAILED: frozenset(),
}

SEAL_MOVES: Mapping[SealStanding, frozenset[SealStanding]] = {
    S.PREPARING: frozenset({S.IN_USE, S.RETIRED}),
    S.IN_USE: frozenset({S.LOST, S.RETIRED}),
    S.LOST: frozenset({S.IN_USE, S.RETIRED}),
    S.RETIRED: frozenset(),
}

# What each state lets a version do (SP 800-57 Part 1, 7.1-7.6): protect = encrypt, wrap, sign, MAC; process = the reverse.
MAY_PROTECT = frozenset({V.ACTIVE})
MAY_PROCESS = frozenset({V.ACTIVE, V.DECRYPT_ONLY, V.COMPROMISED, V.PENDING_DELETION})


def may_move[
    State: (VersionState, RotationState, JobState, IntentState, ImportState, ExportState, SealStanding, MoveState)
](moves: Mapping[State, frozenset[State]], old: State, new: State) -> bool:
    """Whether the table lets `old` become `new`."""
    return new in moves[old]
