"""State machines of the ceremonies app: one table of allowed moves each, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class CeremonyState(StrEnum):
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    GATHERING = "gathering"  # the room is open: people arrive, are identified and read the script's hash back
    RUNNING = "running"
    PAUSED = "paused"
    COMMITTED = "committed"  # the effect is done: nobody can abort any more, the closing steps remain
    CLOSED = "closed"
    ABORTED = "aborted"


class GenerationState(StrEnum):
    """A set of shares of one key: being dealt, in force, over."""

    DEALING = "dealing"
    ACTIVE = "active"
    DEAD = "dead"


class ShareState(StrEnum):
    DEALT = "dealt"  # split off, not yet seen by anybody
    SHOWN = "shown"  # seen once by its custodian, not yet confirmed
    HELD = "held"  # confirmed by typing words back
    LOST = "lost"
    DEAD = "dead"


C, G, S = CeremonyState, GenerationState, ShareState

CEREMONY_MOVES: Mapping[CeremonyState, frozenset[CeremonyState]] = {
    C.PLANNED: frozenset({C.AWAITING_APPROVAL, C.GATHERING, C.ABORTED}),
    C.AWAITING_APPROVAL: frozenset({C.GATHERING, C.PLANNED, C.ABORTED}),
    C.GATHERING: frozenset({C.RUNNING, C.ABORTED}),
    C.RUNNING: frozenset({C.PAUSED, C.COMMITTED, C.ABORTED}),
    C.PAUSED: frozenset({C.RUNNING, C.ABORTED}),
    C.COMMITTED: frozenset({C.CLOSED}),
    C.CLOSED: frozenset(),
    C.ABORTED: frozenset(),
}

GENERATION_MOVES: Mapping[GenerationState, frozenset[GenerationState]] = {
    G.DEALING: frozenset({G.ACTIVE, G.DEAD}),
    G.ACTIVE: frozenset({G.DEAD}),
    G.DEAD: frozenset(),
}

SHARE_MOVES: Mapping[ShareState, frozenset[ShareState]] = {
    S.DEALT: frozenset({S.SHOWN, S.DEAD}),
    S.SHOWN: frozenset({S.HELD, S.DEAD}),
    S.HELD: frozenset({S.LOST, S.DEAD}),
    S.LOST: frozenset({S.HELD, S.DEAD}),  # held again by whom it was issued to anew
    S.DEAD: frozenset(),
}

OPEN = frozenset({C.GATHERING, C.RUNNING, C.PAUSED, C.COMMITTED})  # the room can be entered
BEFORE_COMMIT = frozenset({C.PLANNED, C.AWAITING_APPROVAL, C.GATHERING, C.RUNNING, C.PAUSED})
PLANNING = frozenset({C.PLANNED})  # people and plan may still change
ENDED = frozenset({C.CLOSED, C.ABORTED})


def may_move[State: (CeremonyState, GenerationState, ShareState)](
    moves: Mapping[State, frozenset[State]], old: State, new: State
) -> bool:
    """Whether the table lets `old` become `new`."""
    return new in moves[old]
