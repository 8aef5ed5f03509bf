"""States of a request for agreement: one table of moves, no Django."""

from collections.abc import Mapping
from enum import StrEnum

from keyvault_portal.approvals.errors import AlreadyDecided, RequestExpired


class RequestState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    EXECUTED = "executed"
    FAILED = "failed"
    STALE = "stale"  # what was agreed to is no longer what would be done


S = RequestState
# Performing is one transaction: a request is approved until its effect commits, and executed from then on.
MOVES: Mapping[RequestState, frozenset[RequestState]] = {
    S.PENDING: frozenset({S.APPROVED, S.REJECTED, S.WITHDRAWN, S.EXPIRED}),
    S.APPROVED: frozenset({S.EXECUTED, S.FAILED, S.STALE, S.EXPIRED}),
    S.REJECTED: frozenset(),
    S.WITHDRAWN: frozenset(),
    S.EXPIRED: frozenset(),
    S.EXECUTED: frozenset(),
    S.FAILED: frozenset(),
    S.STALE: frozenset(),
}


def advance(current: str, new: RequestState) -> str:
    """The state after this move; raises RequestExpired or AlreadyDecided when the table does not list it."""
    if new in MOVES[RequestState(current)]:
        return new.value
    raise decided(current)


def decided(current: str) -> AlreadyDecided | RequestExpired:
    """Why nobody can decide in this state any more."""
    if current == RequestState.EXPIRED:
        return RequestExpired("Nobody decided in time.", hint="Ask again.")
    return AlreadyDecided(f"It is {current} already.", state=current)
