"""Encryption of large files in constant memory: the STREAM construction (Hoang et al., CRYPTO 2015, 7).

    header = magic "KVS\\x01" | algorithm code (1) | chunk size (4, big-endian) | salt (32) | key commitment (32)
    chunk  = ciphertext | tag of up to `chunk size` bytes of plaintext; only the last may be shorter

HKDF over the key, the salt, the header and the associated data yields the file's own key, the nonce prefix and the
commitment. A chunk's nonce is prefix | counter (4) | last flag (1), so chunks cannot be dropped, reordered, repeated
or added. Each chunk is authentic when it is yielded; the file is complete only when the generator ends by itself.
"""

import hmac
from collections.abc import Iterator
from os import urandom
from struct import Struct
from typing import Protocol

from keys.crypto.aead import Aead
from keys.crypto.algorithms import BY_CODE, Algorithm, Kind, Operation, require
from keys.crypto.errors import DecryptFailed, LimitExceeded, MalformedEnvelope, UnsupportedAlgorithm
from keys.crypto.kdf import hkdf
from keys.crypto.secret import SecretBytes

MAGIC = b"KVS\x01"
CHUNK_SIZE = 64 * 1024
_LABEL = b"stream\x00"
_FIXED = Struct(">4sBI32s")
_COMMITMENT = 32
HEADER_SIZE = _FIXED.size + _COMMITMENT
_MIN_CHUNK, _MAX_CHUNK = 16, 16 * 1024 * 1024
_MAX_CHUNKS = 2**32
_COUNTER_AND_FLAG = 5


class Readable(Protocol):
    """A binary file object; `read(n)` may return less than asked, and nothing at the end."""

    def read(self, size: int, /) -> bytes: ...


def _serves(row: Algorithm) -> bool:
    return row.kind is Kind.AEAD and row.unique_nonce_suffices


def _read_full(source: Readable, size: int) -> bytes:
    parts = []
    while size:
        part = source.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _file_cipher(row: Algorithm, key: SecretBytes, fixed: bytes, salt: bytes, aad: bytes) -> tuple[Aead, bytes, bytes]:
    prefix_size = row.nonce_size - _COUNTER_AND_FLAG
    size = row.key_bytes
    block = hkdf(salt, key.reveal(), _LABEL + fixed + aad, size + prefix_size + _COMMITMENT)
    return Aead(row, block[:size]), block[size : size + prefix_size], block[size + prefix_size :]


def _chunks(source: Readable, size: int) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield (chunk, nonce suffix, last); looks one chunk ahead to know the last."""
    current = _read_full(source, size)
    for counter in range(_MAX_CHUNKS):
        following = _read_full(source, size)
        last = not following
        yield current, counter.to_bytes(4) + bytes([last]), last
        if last:
            return
        current = following
    raise LimitExceeded("stream has too many chunks")


def encrypt_stream(
    key: SecretBytes,
    source: Readable,
    aad: bytes = b"",
    *,
    algorithm: str | Algorithm = "AES-256-GCM",
    chunk_size: int = CHUNK_SIZE,
) -> Iterator[bytes]:
    """Yield the header, then one encrypted chunk after the other.

    Raises UnsupportedAlgorithm, LimitExceeded (chunk size outside 16 bytes to 16 MiB, over 2**32 chunks).
    """
    row = require(algorithm, Operation.ENCRYPT)
    if not _serves(row):
        raise UnsupportedAlgorithm(f"{row.name} does not serve streams")
    if not _MIN_CHUNK <= chunk_size <= _MAX_CHUNK:
        raise LimitExceeded("chunk size must lie between 16 bytes and 16 MiB")
    salt = urandom(32)
    fixed = _FIXED.pack(MAGIC, row.code, chunk_size, salt)
    cipher, prefix, commitment = _file_cipher(row, key, fixed, salt, aad)
    yield fixed + commitment
    for chunk, suffix, _last in _chunks(source, chunk_size):
        yield cipher.encrypt_with_nonce(prefix + suffix, chunk)


def decrypt_stream(key: SecretBytes, source: Readable, aad: bytes = b"") -> Iterator[bytes]:
    """Yield the plaintext chunk by chunk.

    Raises DecryptFailed (wrong key or associated data, any change, truncation or extension) and MalformedEnvelope
    (not a stream of ours). What was yielded before an error is authentic but incomplete: discard it.
    """
    header = _read_full(source, HEADER_SIZE)
    if len(header) < HEADER_SIZE:
        raise DecryptFailed
    fixed, claimed = header[: _FIXED.size], header[_FIXED.size :]
    magic, code, chunk_size, salt = _FIXED.unpack(fixed)
    row = BY_CODE.get(code)
    if magic != MAGIC or row is None or not _serves(row) or not _MIN_CHUNK <= chunk_size <= _MAX_CHUNK:
        raise MalformedEnvelope("not an encrypted stream")
    cipher, prefix, commitment = _file_cipher(require(row, Operation.DECRYPT), key, fixed, salt, aad)
    if not hmac.compare_digest(claimed, commitment):
        raise DecryptFailed
    for chunk, suffix, last in _chunks(source, chunk_size + row.tag_size):
        plaintext = cipher.decrypt(prefix + suffix, chunk)
        # An empty last chunk after others would give one plaintext two encodings.
        if last and not plaintext and any(suffix[:4]):
            raise DecryptFailed
        yield plaintext
