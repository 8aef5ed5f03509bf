"""Wrapping keys under keys: RFC 3394, RFC 5649, and an AEAD bound to a context."""

import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import keywrap as backend

from keys.crypto.aead import Aead
from keys.crypto.algorithms import Algorithm, Kind, Operation, require
from keys.crypto.errors import DecryptFailed, InvalidKey, MalformedEnvelope, UnsupportedAlgorithm
from keys.crypto.keyforms import SymmetricScheme
from keys.crypto.secret import SecretBytes, reveal

# Keeps a wrapped key from being opened as data, and data from being unwrapped as a key, under the same AEAD key.
_DOMAIN = b"key wrap\x00"


def canonical_context(context: Mapping[str, str]) -> bytes:
    """Return the order-free bytes of a wrapping context; raises MalformedEnvelope unless it maps text to text."""
    for name, value in context.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise MalformedEnvelope("a wrapping context must map text to text")
    return _DOMAIN + json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode()


class AesKeyWrap(SymmetricScheme):
    """AES key wrap; it carries no associated data, so a non-empty one is refused rather than dropped."""

    def __init__(self, *, padded: bool) -> None:
        self._wrap = backend.aes_key_wrap_with_padding if padded else backend.aes_key_wrap
        self._unwrap = backend.aes_key_unwrap_with_padding if padded else backend.aes_key_unwrap

    def wrap(self, key: bytes, material: bytes, aad: bytes) -> bytes:
        """Return the wrapped key; raises InvalidKey when the length does not fit the scheme."""
        self._refuse_aad(aad)
        try:
            return self._wrap(key, material)
        except ValueError:
            raise InvalidKey("key length does not fit the wrapping scheme") from None

    def unwrap(self, key: bytes, wrapped: bytes, aad: bytes) -> bytes:
        """Return the key; raises DecryptFailed."""
        self._refuse_aad(aad)
        try:
            return self._unwrap(key, wrapped)
        except (backend.InvalidUnwrap, ValueError):
            raise DecryptFailed from None

    @staticmethod
    def _refuse_aad(aad: bytes) -> None:
        if aad:
            raise UnsupportedAlgorithm("AES key wrap cannot be bound to a context")


AES_256_KW = AesKeyWrap(padded=False)
AES_256_KWP = AesKeyWrap(padded=True)


def wrap_key(
    algorithm: str | Algorithm, wrapper: SecretBytes | bytes | Aead, material: SecretBytes, context: Mapping[str, str]
) -> bytes:
    """Wrap key material under a symmetric key: nonce | ciphertext | tag for an AEAD, RFC 3394 or 5649 otherwise.

    Raises UnsupportedAlgorithm (also for a context on AES key wrap), InvalidKey, MalformedEnvelope.
    """
    row = _symmetric(algorithm, Operation.WRAP)
    if row.kind is Kind.AEAD:
        cipher = wrapper if isinstance(wrapper, Aead) else Aead(row, wrapper)
        return cipher.encrypt(material.reveal(), canonical_context(context))
    scheme = row.implementation
    key = scheme.load_private(row, _raw(wrapper))
    return bytes(scheme.wrap(key, material.reveal(), canonical_context(context) if context else b""))


def unwrap_key(
    algorithm: str | Algorithm, wrapper: SecretBytes | bytes | Aead, wrapped: bytes, context: Mapping[str, str]
) -> SecretBytes:
    """Undo `wrap_key`; raises DecryptFailed, and the errors of `wrap_key` for a wrong call."""
    row = _symmetric(algorithm, Operation.UNWRAP)
    if row.kind is Kind.AEAD:
        cipher = wrapper if isinstance(wrapper, Aead) else Aead(row, wrapper)
        return SecretBytes(cipher.decrypt_joined(wrapped, canonical_context(context)))
    scheme = row.implementation
    key = scheme.load_private(row, _raw(wrapper))
    return SecretBytes(scheme.unwrap(key, wrapped, canonical_context(context) if context else b""))


def _symmetric(algorithm: str | Algorithm, operation: Operation) -> Algorithm:
    row = require(algorithm, operation)
    if not row.symmetric:
        raise UnsupportedAlgorithm(f"{row.name} wraps through its key pair")
    return row


def _raw(wrapper: SecretBytes | bytes | Aead) -> bytes:
    if isinstance(wrapper, Aead):
        raise InvalidKey("an AEAD object cannot serve AES key wrap")
    return reveal(wrapper)
