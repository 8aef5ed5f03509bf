"""How Vault calls our algorithms, and which hash and marshaling belong to a signature."""

from dataclasses import dataclass

from keys.crypto.algorithms import ALGORITHMS, Algorithm


@dataclass(frozen=True, slots=True)
class Spoken:
    """A key's `type`, and the name of the hash that its signatures or codes use (empty: none of its own)."""

    type: str
    hash: str = ""


_TYPES = {
    "AES-256-GCM": Spoken("aes256-gcm96"),
    "ChaCha20-Poly1305": Spoken("chacha20-poly1305"),
    "XChaCha20-Poly1305": Spoken("xchacha20-poly1305"),
    "ECDSA-P256-SHA256": Spoken("ecdsa-p256", "sha2-256"),
    "ECDSA-P384-SHA384": Spoken("ecdsa-p384", "sha2-384"),
    "Ed25519": Spoken("ed25519"),
    "HMAC-SHA256": Spoken("hmac", "sha2-256"),
    "HMAC-SHA512": Spoken("hmac", "sha2-512"),
} | {
    row.name: Spoken(f"rsa-{row.key_size}", "sha2-256") for row in ALGORITHMS.values() if row.name.startswith("RSA-")
}  # fmt: skip
# Other names of the same hashes in requests.
HASHES = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}


def spoken(algorithm: Algorithm) -> Spoken:
    """Vault's words for an algorithm; those that it does not have go by their own name in lower case."""
    return _TYPES.get(algorithm.name) or Spoken(algorithm.name.lower())


def curve_or_type(algorithm: Algorithm) -> str:
    """The `name` beside a public key."""
    return {"ecdsa-p256": "P-256", "ecdsa-p384": "P-384"}.get(spoken(algorithm).type, spoken(algorithm).type)
