"""Which keys can sign minutes, and how; what signs is loaded only where minutes are signed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PSS: Mapping[str, Any] = {
    "algorithm": "rsassa_pss",
    "parameters": {
        "hash_algorithm": {"algorithm": "sha256"}, "salt_length": 32,
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one algorithm of the table signs a document: its identifier, the document's digest, the longest signature in bytes."""

    identifier: Mapping[str, Any]
    digest: str
    longest: int


# What readers of PDF can check. Ed25519 after ISO/TS 32002, which takes SHA-512.
SCHEMES: Mapping[str, Scheme] = {
    "RSA-2048-PSS-SHA256": Scheme(_PSS, "sha256", 256), "RSA-3072-PSS-SHA256": Scheme(_PSS, "sha256", 384),
    "RSA-4096-PSS-SHA256": Scheme(_PSS, "sha256", 512), "ECDSA-P256-SHA256": Scheme({"algorithm": "sha256_ecdsa"}, "sha256", 72),
    "ECDSA-P384-SHA384": Scheme({"algorithm": "sha384_ecdsa"}, "sha384", 104), "Ed25519": Scheme({"algorithm": "ed25519"}, "sha512", 64),
}  # fmt: skip


def signs_minutes(algorithm: str) -> bool:
    """Whether a key of this algorithm can sign minutes."""
    return algorithm in SCHEMES
