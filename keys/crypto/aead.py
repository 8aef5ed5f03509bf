"""Authenticated encryption with associated data (RFC 5116): five schemes behind one small class."""

import hmac
from collections.abc import Callable, Sequence
from hashlib import sha256
from os import urandom
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.padding import PKCS7
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError as NaClError

from keys.crypto.algorithms import Algorithm, Kind, resolve
from keys.crypto.errors import DecryptFailed, InvalidKey, LimitExceeded, UnsupportedAlgorithm
from keys.crypto.keyforms import SymmetricScheme
from keys.crypto.secret import SecretBytes, reveal

_FAILURES = (InvalidTag, NaClError, ValueError, OverflowError)


class BoundCipher(Protocol):
    """The shape of the library's own AEAD objects: one object a key; the tag stands at the end of the ciphertext."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...


class XChaCha20Poly1305:
    """XChaCha20-Poly1305 with a 24-byte nonce (draft-irtf-cfrg-xchacha-03, 2.3)."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        return crypto_aead_xchacha20poly1305_ietf_encrypt(data, associated_data, nonce, self._key)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        if len(nonce) != 24 or len(data) < 16:
            raise InvalidTag
        return crypto_aead_xchacha20poly1305_ietf_decrypt(data, associated_data, nonce, self._key)


class AesCbcHmac:
    """AES-256-CBC with PKCS#7 padding, then HMAC-SHA-256 over AAD | IV | ciphertext | AL (RFC 7518, 5.2.2).

    Key: 64 bytes, the MAC key first (5.2.2.1 step 1). AL is the length of the AAD in bits, 64 bits big-endian. The
    tag is the whole 32 bytes; it is compared in constant time and before any padding is looked at.
    """

    __slots__ = ("_cipher", "_mac_key")

    def __init__(self, key: bytes) -> None:
        self._mac_key = key[:32]
        self._cipher = algorithms.AES256(key[32:])

    def _tag(self, iv: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        return hmac.digest(self._mac_key, b"".join((aad, iv, ciphertext, (len(aad) * 8).to_bytes(8))), sha256)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        padder = PKCS7(128).padder()
        encryptor = Cipher(self._cipher, modes.CBC(nonce)).encryptor()
        ciphertext = encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()
        return ciphertext + self._tag(nonce, ciphertext, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        ciphertext, tag = data[:-32], data[-32:]
        if not hmac.compare_digest(self._tag(nonce, ciphertext, associated_data), tag):
            raise InvalidTag
        decryptor = Cipher(self._cipher, modes.CBC(nonce)).decryptor()
        unpadder = PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(ciphertext) + decryptor.finalize()) + unpadder.finalize()


class Aead:
    """A cipher bound to one key; keep it and use it again, building it costs as much as a message of 1 KiB.

    `encrypt` draws a fresh random nonce. It does not count messages: the caller holds `algorithm.use_limit`.
    """

    __slots__ = ("_open", "_seal", "algorithm", "nonce_size", "tag_size")

    def __init__(self, algorithm: str | Algorithm, key: SecretBytes | bytes) -> None:
        """Bind the key; raises UnsupportedAlgorithm (not an AEAD) and InvalidKey (wrong length)."""
        row = resolve(algorithm)
        if row.kind is not Kind.AEAD:
            raise UnsupportedAlgorithm(f"{row.name} is not an AEAD")
        if len(key) != row.key_bytes:
            raise InvalidKey(f"{row.name} takes a key of {row.key_bytes} bytes")
        scheme: BoundCipher = row.implementation.bind(reveal(key))
        self.algorithm = row
        self.nonce_size = row.nonce_size
        self.tag_size = row.tag_size
        self._seal = scheme.encrypt
        self._open = scheme.decrypt

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return nonce | ciphertext | tag under a fresh random nonce; raises LimitExceeded over 2 GiB."""
        nonce = urandom(self.nonce_size)
        try:
            return nonce + self._seal(nonce, plaintext, aad)
        except OverflowError:
            raise LimitExceeded("message too long for one call; use the stream form") from None

    def encrypt_all(self, plaintexts: Sequence[bytes], aads: Sequence[bytes], head: bytes = b"") -> list[bytes]:
        """`head` | nonce | ciphertext | tag of each, all nonces drawn together: a call to the system costs like a message.

        Raises LimitExceeded.
        """
        size, seal = self.nonce_size, self._seal
        drawn = urandom(size * len(plaintexts))
        nonces = [drawn[at : at + size] for at in range(0, len(drawn), size)]
        try:
            return [
                head + nonce + seal(nonce, plaintext, aad)
                for nonce, plaintext, aad in zip(nonces, plaintexts, aads, strict=True)
            ]
        except OverflowError:
            raise LimitExceeded("message too long for one call; use the stream form") from None

    def decrypt_all(self, payloads: Sequence[bytes], aads: Sequence[bytes], skip: int = 0) -> list[bytes]:
        """Undo `encrypt_all` over what comes after `skip` bytes of each; raises DecryptFailed when one does not open."""
        start, open_ = skip + self.nonce_size, self._open
        try:
            return [
                open_(payload[skip:start], payload[start:], aad)
                for payload, aad in zip(payloads, aads, strict=True)
            ]  # fmt: skip
        except _FAILURES:
            raise DecryptFailed from None

    def encrypt_with_nonce(self, nonce: bytes, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return ciphertext | tag under a nonce the caller guarantees to be unique for this key."""
        if len(nonce) != self.nonce_size:
            raise LimitExceeded(f"nonce must be {self.nonce_size} bytes")
        try:
            return self._seal(nonce, plaintext, aad)
        except OverflowError:
            raise LimitExceeded("message too long for one call; use the stream form") from None

    def decrypt(self, nonce: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Return the plaintext; raises DecryptFailed, whatever the cause."""
        if len(nonce) != self.nonce_size:
            raise DecryptFailed
        try:
            return self._open(nonce, ciphertext, aad)
        except _FAILURES:
            raise DecryptFailed from None

    def decrypt_joined(self, payload: bytes, aad: bytes = b"") -> bytes:
        """Open nonce | ciphertext | tag as `encrypt` returned it; raises DecryptFailed."""
        return self.decrypt(payload[: self.nonce_size], payload[self.nonce_size :], aad)


class AeadScheme(SymmetricScheme):
    """What the table attaches to an AEAD: how to bind a key, and the generic operations on a bound one."""

    def __init__(self, bind: Callable[[bytes], BoundCipher]) -> None:
        self.bind = bind

    def load_private(self, row: Algorithm, raw: bytes) -> Aead:
        """Return the cipher bound to its key; raises InvalidKey."""
        return Aead(row, raw)

    def encrypt(self, cipher: Aead, plaintext: bytes, aad: bytes) -> bytes:
        """Return nonce | ciphertext | tag; raises LimitExceeded."""
        return cipher.encrypt(plaintext, aad)

    def decrypt(self, cipher: Aead, payload: bytes, aad: bytes) -> bytes:
        """Undo `encrypt`; raises DecryptFailed."""
        return cipher.decrypt_joined(payload, aad)

    wrap = encrypt
    unwrap = decrypt


AES_256_GCM = AeadScheme(AESGCM)
CHACHA20_POLY1305 = AeadScheme(ChaCha20Poly1305)
XCHACHA20_POLY1305 = AeadScheme(XChaCha20Poly1305)
AES_256_GCM_SIV = AeadScheme(AESGCMSIV)
AES_256_CBC_HMAC_SHA256 = AeadScheme(AesCbcHmac)


def seal(
    algorithm: str | Algorithm, key: SecretBytes | bytes, plaintext: bytes, aad: bytes = b"", nonce: bytes | None = None
) -> tuple[bytes, bytes]:
    """Encrypt once and return (nonce, ciphertext | tag); raises UnsupportedAlgorithm, InvalidKey, LimitExceeded."""
    cipher = Aead(algorithm, key)
    nonce = urandom(cipher.nonce_size) if nonce is None else nonce
    return nonce, cipher.encrypt_with_nonce(nonce, plaintext, aad)


def open_(
    algorithm: str | Algorithm, key: SecretBytes | bytes, nonce: bytes, ciphertext: bytes, aad: bytes = b""
) -> bytes:
    """Decrypt once; raises DecryptFailed, and UnsupportedAlgorithm or InvalidKey for a wrong call."""
    return Aead(algorithm, key).decrypt(nonce, ciphertext, aad)
