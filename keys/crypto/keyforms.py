"""The forms key material is stored in, and the loading every implementation shares.

Symmetric keys are raw bytes. Private keys are PKCS#8 DER (RFC 5958), public keys SubjectPublicKeyInfo DER (RFC 5280,
4.1.2.7); a scheme without such a form says so in its own docstring.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm as BackendUnsupported
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from keys.crypto.algorithms import Algorithm
from keys.crypto.errors import InvalidKey
from keys.crypto.secret import SecretBytes

_UNREADABLE = (ValueError, TypeError, BackendUnsupported)


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """New key material: `private` raw or PKCS#8 DER, `public` SPKI DER or None for a symmetric key."""

    private: SecretBytes
    public: bytes | None


def pkcs8(key: Any) -> bytes:
    """Return the unencrypted PKCS#8 DER of a private key object."""
    return bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def spki(key: Any) -> bytes:
    """Return the SubjectPublicKeyInfo DER of a public key object."""
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def load_public_key(der: bytes) -> Any:
    """Read SPKI DER; raises InvalidKey."""
    try:
        return load_der_public_key(der)
    except _UNREADABLE:
        raise InvalidKey("not a public key") from None


class SymmetricScheme:
    """Base of schemes whose key is raw bytes, the same on both sides."""

    def generate(self, row: Algorithm) -> KeyMaterial:
        """Draw a new key from the system's generator."""
        return KeyMaterial(SecretBytes(secrets.token_bytes(row.key_bytes)), None)

    def load_private(self, row: Algorithm, raw: bytes) -> Any:
        """Return the key ready for use; raises InvalidKey on a wrong length."""
        if len(raw) != row.key_bytes:
            raise InvalidKey(f"{row.name} takes a key of {row.key_bytes} bytes")
        return raw

    def load_public(self, row: Algorithm, raw: bytes) -> Any:
        raise InvalidKey(f"{row.name} has no public key")

    def public_of(self, private: Any) -> Any:
        """Return what the other side uses: the same key."""
        return private


class PublicKeyScheme:
    """Base of schemes with PKCS#8 private and SPKI public keys of one fixed type and size."""

    def __init__(self, private_type: Any, public_type: Any, parameter: object = None) -> None:
        self.private_type = private_type
        self.public_type = public_type
        self.parameter = parameter

    def new_key(self) -> Any:
        """Return a new private key object."""
        return self.private_type.generate()

    def parameter_of(self, key: Any) -> object:
        """Return what must agree beyond the type (RSA size, curve name); None where the type says all."""
        return None

    def generate(self, row: Algorithm) -> KeyMaterial:
        """Make a new pair."""
        key = self.new_key()
        return KeyMaterial(SecretBytes(pkcs8(key)), spki(key.public_key()))

    def _checked(self, row: Algorithm, key: Any, wanted: Any) -> Any:
        if not isinstance(key, wanted) or self.parameter_of(key) != self.parameter:
            raise InvalidKey(f"not a key for {row.name}")
        return key

    def load_private(self, row: Algorithm, raw: bytes) -> Any:
        """Read PKCS#8 DER; raises InvalidKey when it is none or of another type or size."""
        try:
            key = load_der_private_key(raw, None)
        except _UNREADABLE:
            raise InvalidKey("not a private key") from None
        return self._checked(row, key, self.private_type)

    def load_public(self, row: Algorithm, raw: bytes) -> Any:
        """Read SPKI DER; raises InvalidKey when it is none or of another type or size."""
        return self._checked(row, load_public_key(raw), self.public_type)

    def public_of(self, private: Any) -> Any:
        return private.public_key()

    def public_form(self, row: Algorithm, raw: bytes) -> bytes:
        """The stored form of the public half that belongs to a stored private key; raises InvalidKey."""
        return spki(self.public_of(self.load_private(row, raw)))
