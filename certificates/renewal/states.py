"""State machines of renewal: one table of allowed moves each, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class SourceState(StrEnum):
    """An account at an ACME CA."""

    REGISTERING = "registering"
    READY = "ready"
    FAILED = "failed"  # refused; somebody corrects and tries again
    RETIRED = "retired"


class OrderState(StrEnum):
    """One attempt to obtain one certificate; the steps between them are effects at the CA, each safe to repeat."""

    PREPARING = "preparing"  # a key version, and a request signed with it
    PROVING = "proving"  # the CA has the order and looks for our answers
    FINALIZING = "finalizing"  # all names are proved
    ISSUED = "issued"
    FAILED = "failed"  # this attempt is over; the next one is a new order


class DeliveryState(StrEnum):
    """One certificate on its way to one place."""

    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up; somebody looks and tries again
    SUPERSEDED = "superseded"  # a newer certificate went there instead


class CaRevocationState(StrEnum):
    """The wish that a CA revoke what it issued to us."""

    QUEUED = "queued"
    DONE = "done"
    FAILED = "failed"  # the CA refused; somebody looks and asks again


S, O, D, R = SourceState, OrderState, DeliveryState, CaRevocationState  # noqa: E741

SOURCE_MOVES: Mapping[SourceState, frozenset[SourceState]] = {
    S.REGISTERING: frozenset({S.READY, S.FAILED, S.RETIRED}),
    S.READY: frozenset({S.RETIRED}),
    S.FAILED: frozenset({S.REGISTERING, S.RETIRED}),
    S.RETIRED: frozenset(),
}

ORDER_MOVES: Mapping[OrderState, frozenset[OrderState]] = {
    O.PREPARING: frozenset({O.PROVING, O.FAILED}),
    O.PROVING: frozenset({O.FINALIZING, O.FAILED}),
    O.FINALIZING: frozenset({O.ISSUED, O.FAILED}),
    O.ISSUED: frozenset(),
    O.FAILED: frozenset(),
}

DELIVERY_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    D.QUEUED: frozenset({D.DELIVERED, D.FAILED, D.SUPERSEDED}),
    D.DELIVERED: frozenset(),
    D.FAILED: frozenset({D.QUEUED, D.SUPERSEDED}),
    D.SUPERSEDED: frozenset(),
}

CA_REVOCATION_MOVES: Mapping[CaRevocationState, frozenset[CaRevocationState]] = {
    R.QUEUED: frozenset({R.DONE, R.FAILED}),
    R.DONE: frozenset(),
    R.FAILED: frozenset({R.QUEUED}),
}

OPEN_ORDERS = (O.PREPARING.value, O.PROVING.value, O.FINALIZING.value)
TELL_AFTER_TRIES = 3  # of a delivery that is still tried
