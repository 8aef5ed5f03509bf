"""State machines of ACME (RFC 8555, 7.1.6): one table of allowed moves each, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class AccountState(StrEnum):
    VALID = "valid"
    DEACTIVATED = "deactivated"  # by its holder
    REVOKED = "revoked"  # by an officer


class OrderState(StrEnum):
    PENDING = "pending"
    READY = "ready"  # every name is proved
    PROCESSING = "processing"  # a grant to sign is written down
    VALID = "valid"
    INVALID = "invalid"


class AuthorizationState(StrEnum):
    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"


class ChallengeState(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


_A, _O, _Z, _C = AccountState, OrderState, AuthorizationState, ChallengeState

ACCOUNT_MOVES: Mapping[AccountState, frozenset[AccountState]] = {
    _A.VALID: frozenset({_A.DEACTIVATED, _A.REVOKED}),
    _A.DEACTIVATED: frozenset(),
    _A.REVOKED: frozenset(),
}

ORDER_MOVES: Mapping[OrderState, frozenset[OrderState]] = {
    _O.PENDING: frozenset({_O.READY, _O.INVALID}),
    _O.READY: frozenset({_O.PROCESSING, _O.INVALID}),
    _O.PROCESSING: frozenset({_O.VALID, _O.INVALID}),
    _O.VALID: frozenset(),
    _O.INVALID: frozenset(),
}

AUTHORIZATION_MOVES: Mapping[AuthorizationState, frozenset[AuthorizationState]] = {
    _Z.PENDING: frozenset({_Z.VALID, _Z.INVALID, _Z.DEACTIVATED, _Z.EXPIRED}),
    _Z.VALID: frozenset({_Z.DEACTIVATED, _Z.EXPIRED}),
    _Z.INVALID: frozenset(),
    _Z.DEACTIVATED: frozenset(),
    _Z.EXPIRED: frozenset(),
}

CHALLENGE_MOVES: Mapping[ChallengeState, frozenset[ChallengeState]] = {
    _C.PENDING: frozenset({_C.PROCESSING}),
    _C.PROCESSING: frozenset({_C.VALID, _C.INVALID}),
    _C.VALID: frozenset(),
    _C.INVALID: frozenset(),
}


class ChallengeType(StrEnum):
    """How control of a name is proved; a wildcard only by DNS (RFC 8555, 8.4)."""

    HTTP = "http-01"
    DNS = "dns-01"
    TLS_ALPN = "tls-alpn-01"
