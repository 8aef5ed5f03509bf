"""States of a request for agreement: one table of moves, no Django."""

from collections.abc import Mapping
from enum import StrEnum


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
