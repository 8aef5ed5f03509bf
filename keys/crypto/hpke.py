"""Hybrid public key encryption, base mode, one message (RFC 9180, 5.1.1 and 6.1)."""

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from keys.crypto.algorithms import Algorithm
from keys.crypto.errors import DecryptFailed, InvalidKey
from keys.crypto.keyforms import KeyMaterial, PublicKeyScheme
from keys.crypto.secret import SecretBytes

_MLKEM_PUBLIC, _MLKEM_SEED = 1184, 64


class HpkeScheme(PublicKeyScheme):
    """The output is enc | ciphertext. The caller's associated data is bound as `info`, with an empty aad (8.2)."""

    def __init__(self, kem: KEM, private_type: Any, public_type: Any) -> None:
        super().__init__(private_type, public_type)
        self._suite = Suite(kem, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

    def encrypt(self, public: Any, plaintext: bytes, aad: bytes) -> bytes:
        """Seal to the public key."""
        return self._suite.encrypt(plaintext, public, info=aad)

    def decrypt(self, private: Any, ciphertext: bytes, aad: bytes) -> bytes:
        """Open; raises DecryptFailed."""
        try:
            return self._suite.decrypt(ciphertext, private, info=aad)
        except (InvalidTag, ValueError):
            raise DecryptFailed from None


class HybridHpke(HpkeScheme):
    """MLKEM768-X25519: safe while either half is.

    No PKCS#8 or SPKI form is standard yet. Private: ML-KEM seed (64) | X25519 key (32). Public: ML-KEM key (1184) |
    X25519 key (32).
    """

    def generate(self, row: Algorithm) -> KeyMaterial:
        """Make a new pair of pairs."""
        lattice, curve = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
        public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        return KeyMaterial(SecretBytes(lattice.private_bytes_raw() + curve.private_bytes_raw()), public)

    def load_private(self, row: Algorithm, raw: bytes) -> Any:
        """Read the 96-byte form; raises InvalidKey."""
        try:
            return MLKEM768X25519PrivateKey(
                mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED]),
                x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:]),
            )
        except ValueError:
            raise InvalidKey(f"not a key for {row.name}") from None

    def public_form(self, row: Algorithm, raw: bytes) -> bytes:
        """The 1216-byte form; raises InvalidKey."""
        self.load_private(row, raw)
        lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED])
        curve = x25519.X25519PrivateKey.from_private_bytes(raw[_MLKEM_SEED:])
        return lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    def load_public(self, row: Algorithm, raw: bytes) -> Any:
        """Read the 1216-byte form; raises InvalidKey."""
        try:
            return MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC]),
                x25519.X25519PublicKey.from_public_bytes(raw[_MLKEM_PUBLIC:]),
            )
        except ValueError:
            raise InvalidKey(f"not a key for {row.name}") from None


X25519_SUITE = HpkeScheme(KEM.X25519, x25519.X25519PrivateKey, x25519.X25519PublicKey)
MLKEM768_X25519_SUITE = HybridHpke(KEM.MLKEM768_X25519, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey)
