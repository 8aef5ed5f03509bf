"""The generic entry points: make a key, and use it, whatever its algorithm.

`SecretBytes` stands for a private or symmetric key, plain `bytes` for a public key. A caller with many messages a key
calls `prepare` once and passes the result wherever material is taken.
"""

from dataclasses import dataclass
from typing import Any

from keys.crypto.algorithms import Algorithm, Operation, require, resolve
from keys.crypto.errors import InvalidKey, UnsupportedAlgorithm
from keys.crypto.jwk import fingerprint, public_jwk
from keys.crypto.keyforms import KeyMaterial
from keys.crypto.secret import SecretBytes

__all__ = [
    "KeyMaterial",
    "Material",
    "PreparedKey",
    "decapsulate",
    "decrypt",
    "derive",
    "encapsulate",
    "encrypt",
    "fingerprint",
    "generate",
    "mac",
    "prepare",
    "public_half",
    "public_jwk",
    "sign",
    "unwrap",
    "verify",
    "verify_mac",
    "wrap",
]


@dataclass(frozen=True, slots=True, repr=False)
class PreparedKey:
    """A key loaded for use; `private` is None when only the public half is known."""

    algorithm: Algorithm
    private: Any
    public: Any

    def __repr__(self) -> str:
        return f"PreparedKey({self.algorithm.name})"

    def __reduce__(self) -> Any:
        raise TypeError("PreparedKey cannot be serialised")


type Material = SecretBytes | bytes | PreparedKey


def generate(algorithm: str | Algorithm) -> KeyMaterial:
    """Make a new key or pair; raises UnsupportedAlgorithm for one that may protect nothing new."""
    row = resolve(algorithm)
    if not any(row.allows(operation, new_key=True) for operation in row.operations):
        raise UnsupportedAlgorithm(f"{row.name} ({row.standing}) gets no new keys")
    material: KeyMaterial = row.implementation.generate(row)
    return material


def prepare(algorithm: str | Algorithm, material: SecretBytes | bytes) -> PreparedKey:
    """Load key material once for many uses; raises InvalidKey, UnsupportedAlgorithm."""
    row = resolve(algorithm)
    scheme = row.implementation
    if isinstance(material, SecretBytes):
        private = scheme.load_private(row, material.reveal())
        return PreparedKey(row, private, scheme.public_of(private))
    return PreparedKey(row, None, scheme.load_public(row, material))


def public_half(algorithm: str | Algorithm, material: SecretBytes) -> bytes | None:
    """The stored form of the public half of a private key, None for a symmetric key; raises InvalidKey if it does not fit."""
    row = resolve(algorithm)
    if row.symmetric:
        row.implementation.load_private(row, material.reveal())
        return None
    return bytes(row.implementation.public_form(row, material.reveal()))


def _key(algorithm: str | Algorithm, material: Material, operation: Operation) -> PreparedKey:
    row = require(algorithm, operation)
    key = material if isinstance(material, PreparedKey) else prepare(row, material)
    if key.algorithm is not row and key.algorithm.name != row.name:
        raise InvalidKey("key was prepared for another algorithm")
    return key


def _private(algorithm: str | Algorithm, material: Material, operation: Operation) -> tuple[Any, Any]:
    key = _key(algorithm, material, operation)
    if key.private is None:
        raise InvalidKey(f"{operation} needs the private key")
    return key.algorithm.implementation, key.private


def _public(algorithm: str | Algorithm, material: Material, operation: Operation) -> tuple[Any, Any]:
    key = _key(algorithm, material, operation)
    return key.algorithm.implementation, key.public


def encrypt(algorithm: str | Algorithm, material: Material, plaintext: bytes, aad: bytes = b"") -> bytes:
    """Encrypt; an AEAD returns nonce | ciphertext | tag. Raises UnsupportedAlgorithm, InvalidKey, LimitExceeded."""
    scheme, key = _public(algorithm, material, Operation.ENCRYPT)
    return bytes(scheme.encrypt(key, plaintext, aad))


def decrypt(algorithm: str | Algorithm, material: Material, ciphertext: bytes, aad: bytes = b"") -> bytes:
    """Undo `encrypt`; raises DecryptFailed, and UnsupportedAlgorithm or InvalidKey for a wrong call."""
    scheme, key = _private(algorithm, material, Operation.DECRYPT)
    return bytes(scheme.decrypt(key, ciphertext, aad))


def wrap(algorithm: str | Algorithm, material: Material, secret: SecretBytes, aad: bytes = b"") -> bytes:
    """Encrypt key material under a key or a public key; raises UnsupportedAlgorithm, InvalidKey, LimitExceeded."""
    scheme, key = _public(algorithm, material, Operation.WRAP)
    return bytes(scheme.wrap(key, secret.reveal(), aad))


def unwrap(algorithm: str | Algorithm, material: Material, wrapped: bytes, aad: bytes = b"") -> SecretBytes:
    """Undo `wrap`; raises DecryptFailed, and UnsupportedAlgorithm or InvalidKey for a wrong call."""
    scheme, key = _private(algorithm, material, Operation.UNWRAP)
    return SecretBytes(scheme.unwrap(key, wrapped, aad))


def sign(algorithm: str | Algorithm, material: Material, message: bytes) -> bytes:
    """Sign a whole message (ECDSA in DER); raises UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _private(algorithm, material, Operation.SIGN)
    return bytes(scheme.sign(key, message))


def verify(algorithm: str | Algorithm, material: Material, message: bytes, signature: bytes) -> None:
    """Check a signature; raises InvalidSignature, and UnsupportedAlgorithm or InvalidKey for a wrong call."""
    scheme, key = _public(algorithm, material, Operation.VERIFY)
    scheme.verify(key, message, signature)


def mac(algorithm: str | Algorithm, material: Material, message: bytes) -> bytes:
    """Return the authentication code; raises UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _private(algorithm, material, Operation.MAC)
    return bytes(scheme.mac(key, message))


def verify_mac(algorithm: str | Algorithm, material: Material, message: bytes, tag: bytes) -> None:
    """Check an authentication code in constant time; raises InvalidSignature, UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _private(algorithm, material, Operation.VERIFY_MAC)
    scheme.verify_mac(key, message, tag)


def encapsulate(algorithm: str | Algorithm, material: Material) -> tuple[SecretBytes, bytes]:
    """Return (32-byte shared secret, ciphertext) for a KEM public key; raises UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _public(algorithm, material, Operation.ENCAPSULATE)
    secret, ciphertext = scheme.encapsulate(key)
    return SecretBytes(secret), ciphertext


def decapsulate(algorithm: str | Algorithm, material: Material, ciphertext: bytes) -> SecretBytes:
    """Return the shared secret; raises DecryptFailed on a wrong length, UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _private(algorithm, material, Operation.DECAPSULATE)
    return SecretBytes(scheme.decapsulate(key, ciphertext))


def derive(
    algorithm: str | Algorithm, material: Material, peer: bytes, info: bytes = b"", length: int = 32
) -> SecretBytes:
    """Agree on `length` bytes with the owner of the peer's SPKI; raises UnsupportedAlgorithm, InvalidKey."""
    scheme, key = _private(algorithm, material, Operation.DERIVE)
    return SecretBytes(scheme.derive(key, scheme.load_public(resolve(algorithm), peer), info, length))
