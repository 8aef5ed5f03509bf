"""What may stand under what in the key hierarchy (SP 800-57 Part 1, 5.3.5): pure rules, no Django."""

from collections.abc import Mapping
from enum import StrEnum


class KeyKind(StrEnum):
    MASTER = "master"
    KEK = "kek"
    DEK = "dek"
    TOKEN_SIGNING = "token_signing"
    TRANSPORT = "transport"


# Kind of a key -> kinds its parent may have; an empty set is a root.
PARENT_KINDS: Mapping[KeyKind, frozenset[KeyKind]] = {
    KeyKind.MASTER: frozenset(),
    KeyKind.KEK: frozenset({KeyKind.MASTER}),
    KeyKind.DEK: frozenset({KeyKind.KEK}),
    KeyKind.TOKEN_SIGNING: frozenset({KeyKind.KEK}),
    KeyKind.TRANSPORT: frozenset({KeyKind.MASTER, KeyKind.KEK}),
}

WRAPPING_ALGORITHMS = frozenset({"AES-256-GCM", "AES-256-GCM-SIV"})

_SIGNATURES = frozenset({
    "RSA-2048-PSS-SHA256", "RSA-3072-PSS-SHA256", "RSA-4096-PSS-SHA256", "ECDSA-P256-SHA256", "ECDSA-P384-SHA384",
    "Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87",
})  # fmt: skip

# Cryptoperiods in days (SP 800-57 Part 1, table 1, and common practice): suggested when a key is made.
DEFAULT_CRYPTOPERIOD_DAYS: Mapping[KeyKind, int] = {
    KeyKind.MASTER: 365,
    KeyKind.KEK: 180,
    KeyKind.DEK: 90,
    KeyKind.TOKEN_SIGNING: 60,
    KeyKind.TRANSPORT: 90,
}


def kind_accepts(kind: KeyKind, algorithm: str) -> bool:
    """Whether a key of this kind may use this algorithm: wrapping keys wrap, token keys sign, data keys do anything."""
    if kind in {KeyKind.MASTER, KeyKind.KEK}:
        return algorithm in WRAPPING_ALGORITHMS
    if kind is KeyKind.TOKEN_SIGNING:
        return algorithm in _SIGNATURES
    return True
