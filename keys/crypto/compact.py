"""The binary and the text forms of a ciphertext that names its key.

    DIRECT   01 | algorithm code (1) | key id (16) | key version (4, big-endian) | nonce | ciphertext | tag
    SEGMENT  02 | algorithm code (1) | data key id (16)                          | nonce | ciphertext | tag
    INLINE   03 | algorithm code (1) | key id (16) | key version (4) | length (2) | wrapped data key | nonce | ...

The associated data is the header (everything before the nonce) followed by `context_aad(context)`. Bulk code builds
one header a key, keeps one `Aead` a key, and calls `seal_compact` and `open_compact`, which only slice.
"""

import re
from binascii import b2a_base64
from dataclasses import dataclass
from struct import Struct
from uuid import UUID

from keys.crypto.aead import Aead
from keys.crypto.algorithms import BY_CODE, Algorithm, Kind
from keys.crypto.envelope import MAX_WRAPPED_DEK_BYTES, decode_base64
from keys.crypto.errors import LimitExceeded, MalformedEnvelope

DIRECT, SEGMENT, INLINE = 1, 2, 3
_DIRECT = Struct(">BB16sI")
_SEGMENT = Struct(">BB16s")
_INLINE = Struct(">BB16sIH")
DIRECT_HEADER_SIZE = _DIRECT.size
SEGMENT_HEADER_SIZE = _SEGMENT.size
_PREFIX = re.compile(r"vault:v([1-9][0-9]{0,9}):", re.ASCII)


@dataclass(frozen=True, slots=True)
class Compact:
    """A parsed compact ciphertext; fields a form does not carry are None."""

    form: int
    algorithm: Algorithm
    key_id: UUID | None
    key_version: int | None
    data_key_id: UUID | None
    wrapped_dek: bytes | None
    header: bytes
    nonce: bytes
    ciphertext: bytes


def direct_header(algorithm: Algorithm, key_id: UUID, key_version: int) -> bytes:
    """Return the 22 bytes that name a key version; raises LimitExceeded when the version does not fit 32 bits."""
    if not 0 <= key_version < 2**32:
        raise LimitExceeded("key version does not fit the compact form")
    return _DIRECT.pack(DIRECT, algorithm.code, key_id.bytes, key_version)


def segment_header(algorithm: Algorithm, data_key_id: UUID) -> bytes:
    """Return the 18 bytes that name a segment's data key."""
    return _SEGMENT.pack(SEGMENT, algorithm.code, data_key_id.bytes)


def inline_header(algorithm: Algorithm, key_id: UUID, key_version: int, wrapped_dek: bytes) -> bytes:
    """Return the header that carries the wrapped data key itself; raises LimitExceeded."""
    if not 0 <= key_version < 2**32 or len(wrapped_dek) > MAX_WRAPPED_DEK_BYTES:
        raise LimitExceeded("key version or wrapped key does not fit the compact form")
    return _INLINE.pack(INLINE, algorithm.code, key_id.bytes, key_version, len(wrapped_dek)) + wrapped_dek


def seal_compact(cipher: Aead, header: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Return header | nonce | ciphertext | tag; `context` is the output of `context_aad`."""
    return header + cipher.encrypt(plaintext, header + context)


def open_compact(cipher: Aead, blob: bytes, header_size: int, context: bytes) -> bytes:
    """Open a blob whose form the caller knows; raises DecryptFailed."""
    start = header_size + cipher.nonce_size
    return cipher.decrypt(blob[header_size:start], blob[start:], blob[:header_size] + context)


def direct_key(blob: bytes) -> tuple[int, bytes, int]:
    """Return (algorithm code, key id bytes, key version) of a DIRECT blob; raises MalformedEnvelope."""
    if len(blob) < DIRECT_HEADER_SIZE or blob[0] != DIRECT:
        raise MalformedEnvelope("not a direct ciphertext")
    return blob[1], blob[2:18], int.from_bytes(blob[18:22])


def segment_key(blob: bytes) -> tuple[int, bytes]:
    """Return (algorithm code, data key id bytes) of a SEGMENT blob; raises MalformedEnvelope."""
    if len(blob) < SEGMENT_HEADER_SIZE or blob[0] != SEGMENT:
        raise MalformedEnvelope("not a segment ciphertext")
    return blob[1], blob[2:18]


def parse_compact(blob: bytes) -> Compact:
    """Take any of the three forms apart; raises MalformedEnvelope and nothing else."""
    if len(blob) < SEGMENT_HEADER_SIZE:
        raise MalformedEnvelope("ciphertext is truncated")
    form = blob[0]
    row = BY_CODE.get(blob[1])
    if row is None or row.kind is not Kind.AEAD:
        raise MalformedEnvelope("unknown algorithm")
    identifier = UUID(bytes=blob[2:18])
    version: int | None = None
    wrapped: bytes | None = None
    if form == SEGMENT:
        size = SEGMENT_HEADER_SIZE
    elif form == DIRECT:
        size = DIRECT_HEADER_SIZE
        version = int.from_bytes(blob[18:22])
    elif form == INLINE:
        size = _INLINE.size + int.from_bytes(blob[22:24])
        version = int.from_bytes(blob[18:22])
        wrapped = blob[_INLINE.size : size]
    else:
        raise MalformedEnvelope("unknown form")
    if len(blob) < size + row.nonce_size + row.tag_size:
        raise MalformedEnvelope("ciphertext is truncated")
    start = size + row.nonce_size
    return Compact(
        form=form,
        algorithm=row,
        key_id=None if form == SEGMENT else identifier,
        key_version=version,
        data_key_id=identifier if form == SEGMENT else None,
        wrapped_dek=wrapped,
        header=blob[:size],
        nonce=blob[size:start],
        ciphertext=blob[start:],
    )


def format_text(key_version: int, payload: bytes) -> str:
    """Return `vault:v<version>:<base64 of nonce | ciphertext | tag>`."""
    return f"vault:v{key_version}:{b2a_base64(payload, newline=False).decode('ascii')}"


def parse_text(text: str) -> tuple[int, bytes]:
    """Return (key version, nonce | ciphertext | tag); raises MalformedEnvelope."""
    match = _PREFIX.match(text) if isinstance(text, str) else None
    if match is None or len(text) == match.end():
        raise MalformedEnvelope("not a vault:v<version>:<base64> ciphertext")
    return int(match[1]), decode_base64(text[match.end() :], "ciphertext")
