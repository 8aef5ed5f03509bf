"""Key agreement: X25519 (RFC 7748, 6.1) followed by HKDF-SHA-256 (RFC 5869)."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import x25519

from keys.crypto.errors import InvalidKey
from keys.crypto.kdf import hkdf
from keys.crypto.keyforms import KeyMaterial, PublicKeyScheme, pkcs8, spki
from keys.crypto.secret import SecretBytes

_LABEL = b"X25519-HKDF-SHA256\x00"


class X25519Hkdf(PublicKeyScheme):
    """The derived key is bound to both public keys, in sorted order so that each side computes the same."""

    def derive(self, private: Any, peer: Any, info: bytes, length: int) -> bytes:
        """Return `length` bytes; raises InvalidKey for a peer key of low order (RFC 7748, 6.1)."""
        try:
            shared = private.exchange(peer)
        except ValueError:
            raise InvalidKey("peer key yields no shared secret") from None
        low, high = sorted((private.public_key().public_bytes_raw(), peer.public_bytes_raw()))
        return hkdf(b"", shared, _LABEL + low + high + info, length)


X25519_HKDF = X25519Hkdf(x25519.X25519PrivateKey, x25519.X25519PublicKey)


def ephemeral() -> KeyMaterial:
    """Make the sender's one-time pair of an ECIES-like exchange; wipe its private half after use."""
    key = x25519.X25519PrivateKey.generate()
    return KeyMaterial(SecretBytes(pkcs8(key)), spki(key.public_key()))
