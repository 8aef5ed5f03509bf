"""A one-time key to which a browser seals what no server on the way may read: HPKE base mode (RFC 9180), X25519.

What is sealed is bound to a context, which goes in as `info` with an empty aad (8.2: for one message both bind alike), as
everywhere in this portal.
"""

import json

from cryptography.hazmat.primitives.asymmetric import x25519

from keys.crypto.errors import DecryptFailed, InvalidKey
from keys.crypto.hpke import X25519_SUITE
from keys.crypto.secret import SecretBytes

MAX_SEALED = 4096  # bytes: the longest mnemonic and the longest component are far shorter
PUBLIC_BYTES = 32


def context(**names: str) -> bytes:
    """What a sealed message is bound to: canonical JSON, the names in order, as `ceremony-seal.js` builds it."""
    return json.dumps(names, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def seal(public: bytes, secret: bytes, bound_to: bytes) -> bytes:
    """enc | ciphertext for the owner of a raw X25519 key; raises InvalidKey for what is no such key."""
    try:
        return bytes(X25519_SUITE.encrypt(x25519.X25519PublicKey.from_public_bytes(public), secret, bound_to))
    except ValueError:
        raise InvalidKey("not an X25519 public key") from None


def open_with(private: x25519.X25519PrivateKey, ciphertext: bytes, bound_to: bytes) -> SecretBytes:
    """What was sealed for exactly this context; raises DecryptFailed whatever differs."""
    if not 0 < len(ciphertext) <= MAX_SEALED:
        raise DecryptFailed
    return SecretBytes(X25519_SUITE.decrypt(private, ciphertext, bound_to))


class ReceivingKey:
    """The pair of one ceremony, attempt or answer; `public` is raw, 32 bytes, and `forget` ends it."""

    def __init__(self) -> None:
        self._private: x25519.X25519PrivateKey | None = x25519.X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def open(self, ciphertext: bytes, bound_to: bytes) -> SecretBytes:
        """What was sealed to this key for exactly this context; raises DecryptFailed whatever differs."""
        if self._private is None:
            raise DecryptFailed
        return open_with(self._private, ciphertext, bound_to)

    def forget(self) -> None:
        """Nothing that was sealed to it can be opened any more."""
        self._private = None
