"""The seed form of an envelope: a JSON object with the wrapped data key beside the data.

`{wrapped_dek, nonce, ciphertext, encryption_context, algorithm, kms_key_id}`, standard base64. The associated data
is `json.dumps(encryption_context)` exactly as Python writes it: the order of the keys belongs to the envelope.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation, require
from keys.crypto.errors import DecryptFailed, InvalidKey, MalformedEnvelope
from keys.crypto.secret import SecretBytes

MAX_ENVELOPE_BYTES = 64 * 1024 * 1024
MAX_CONTEXT_BYTES = 8 * 1024
MAX_WRAPPED_DEK_BYTES = 0xFFFF
MAX_KEY_ID_CHARS = 2048
_FIELDS = frozenset({"wrapped_dek", "nonce", "ciphertext", "encryption_context", "algorithm", "kms_key_id"})


def context_aad(context: Mapping[str, str]) -> bytes:
    """Return the associated data of an encryption context; raises MalformedEnvelope unless it maps text to text."""
    if not isinstance(context, dict):
        raise MalformedEnvelope("encryption_context must be an object")
    for name, value in context.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise MalformedEnvelope("encryption_context must map text to text")
    aad = json.dumps(context).encode()
    if len(aad) > MAX_CONTEXT_BYTES:
        raise MalformedEnvelope("encryption_context is too long")
    return aad


def decode_base64(text: object, field: str) -> bytes:
    """Decode canonical standard base64 (RFC 4648, 4 and 3.5); raises MalformedEnvelope."""
    if not isinstance(text, str):
        raise MalformedEnvelope(f"{field} must be text")
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise MalformedEnvelope(f"{field} is not base64") from None
    # Two texts for the same bytes would make stored envelopes malleable; only the last group has bits to spare.
    if (spare := len(raw) % 3) and base64.b64encode(raw[-spare:]).decode("ascii") != text[-4:]:
        raise MalformedEnvelope(f"{field} is not canonical base64")
    return raw


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedEnvelope("duplicate name in JSON")
    return found


def _no_constant(_name: str) -> NoReturn:
    raise MalformedEnvelope("NaN and Infinity are not JSON")


def _load(source: str | bytes) -> Any:
    if len(source) > MAX_ENVELOPE_BYTES:
        raise MalformedEnvelope("envelope is too large")
    try:
        text = source.decode("utf-8") if isinstance(source, bytes) else source
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise MalformedEnvelope("envelope is not UTF-8") from None
    except (ValueError, RecursionError):
        raise MalformedEnvelope("envelope is not JSON") from None


def key_named(source: str | bytes) -> str:
    """Return the `kms_key_id` of JSON text, whatever else is wrong with the envelope; raises MalformedEnvelope."""
    data = _load(source)
    named = data.get("kms_key_id") if isinstance(data, dict) else None
    if not isinstance(named, str) or not 0 < len(named) <= MAX_KEY_ID_CHARS:
        raise MalformedEnvelope("kms_key_id must be text of a sane length")
    return named


@dataclass(frozen=True, slots=True)
class Envelope:
    """One encrypted message with its wrapped data key; all byte fields are raw, `ciphertext` ends with the tag."""

    wrapped_dek: bytes
    nonce: bytes
    ciphertext: bytes
    encryption_context: dict[str, str]
    algorithm: str
    kms_key_id: str

    @classmethod
    def from_json(cls, source: "str | bytes | Mapping[str, Any]") -> "Envelope":
        """Read the JSON text or the object itself, strictly; raises MalformedEnvelope and nothing else."""
        data = _load(source) if isinstance(source, str | bytes) else source
        if not isinstance(data, Mapping):
            raise MalformedEnvelope("envelope must be an object")
        names = set(data)
        if missing := sorted(_FIELDS - names):
            raise MalformedEnvelope(f"missing field: {missing[0]}")
        if names != _FIELDS:
            raise MalformedEnvelope("unknown field")
        algorithm, key_id = data["algorithm"], data["kms_key_id"]
        row = ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
        if row is None or row.kind is not Kind.AEAD:
            raise MalformedEnvelope("unknown algorithm")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARS:
            raise MalformedEnvelope("kms_key_id must be text of a sane length")
        context = data["encryption_context"]
        context_aad(context)
        wrapped = decode_base64(data["wrapped_dek"], "wrapped_dek")
        nonce = decode_base64(data["nonce"], "nonce")
        ciphertext = decode_base64(data["ciphertext"], "ciphertext")
        if not 0 < len(wrapped) <= MAX_WRAPPED_DEK_BYTES:
            raise MalformedEnvelope("wrapped_dek has an impossible length")
        if len(nonce) != row.nonce_size:
            raise MalformedEnvelope(f"nonce must be {row.nonce_size} bytes")
        if len(ciphertext) < row.tag_size:
            raise MalformedEnvelope("ciphertext is truncated")
        return cls(wrapped, nonce, ciphertext, dict(context), row.name, key_id)

    def to_dict(self) -> dict[str, Any]:
        """Return the object with base64 fields, in the order of the recipe."""
        return {
            "wrapped_dek": base64.b64encode(self.wrapped_dek).decode("ascii"),
            "nonce": base64.b64encode(self.nonce).decode("ascii"),
            "ciphertext": base64.b64encode(self.ciphertext).decode("ascii"),
            "encryption_context": self.encryption_context,
            "algorithm": self.algorithm,
            "kms_key_id": self.kms_key_id,
        }

    def to_json(self) -> str:
        """Return the JSON text; `from_json` reads it back equal."""
        return json.dumps(self.to_dict())


def seal_envelope(
    plaintext: bytes,
    context: dict[str, str],
    kms_key_id: str,
    data_key: SecretBytes,
    wrapped_dek: bytes,
    algorithm: str = "AES-256-GCM",
) -> Envelope:
    """Encrypt under a data key that the caller had generated and wrapped.

    Raises MalformedEnvelope (context), UnsupportedAlgorithm, InvalidKey, LimitExceeded.
    """
    cipher = Aead(require(algorithm, Operation.ENCRYPT), data_key)
    return seal_with(cipher, plaintext, context, kms_key_id, wrapped_dek)


def seal_with(cipher: Aead, plaintext: bytes, context: dict[str, str], kms_key_id: str, wrapped_dek: bytes) -> Envelope:
    """As `seal_envelope`, under the cipher of a data key that serves several messages; raises MalformedEnvelope, LimitExceeded."""
    payload, size = cipher.encrypt(plaintext, context_aad(context)), cipher.algorithm.nonce_size
    return Envelope(wrapped_dek, payload[:size], payload[size:], dict(context), cipher.algorithm.name, kms_key_id)


def open_envelope(envelope: Envelope, data_key: SecretBytes) -> bytes:
    """Decrypt with the unwrapped data key; raises DecryptFailed (also when the key has the wrong length)."""
    row = require(envelope.algorithm, Operation.DECRYPT)
    try:
        cipher = Aead(row, data_key)
    except InvalidKey:
        raise DecryptFailed from None
    return open_with(cipher, envelope)


def open_with(cipher: Aead, envelope: Envelope) -> bytes:
    """As `open_envelope`, with the cipher of its data key; raises DecryptFailed."""
    return cipher.decrypt(envelope.nonce, envelope.ciphertext, context_aad(envelope.encryption_context))
