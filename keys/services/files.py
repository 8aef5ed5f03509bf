"""Encryption of whole files in constant memory: a data key under a key encryption key, then the stream form.

    magic "KVF\\x01" | length of header (4, big-endian) | header (JSON) | stream

The header is `{wrapped_dek, encryption_context, algorithm, kms_key_id}` and is the stream's associated data.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from keys.crypto.envelope import decode_base64
from keys.crypto.errors import MalformedEnvelope
from keys.crypto.stream import Readable, decrypt_stream, encrypt_stream
from keys.providers.base import portal_errors
from keys.services.key_views import KeyRef
from keys.services.operations.envelopes import generate_data_key, unwrap_data_key
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import ValidationFailed

MAGIC = b"KVF\x01"
ALGORITHM = "AES-256-GCM"
MAX_HEADER = 256 * 1024


def encrypt_file(
    actor: Actor, key_ref: KeyRef, source: Readable, context: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    """Yield the encrypted file piece by piece; raises as `generate_data_key` does, before the first piece."""
    made = generate_data_key(actor, key_ref, context, ALGORITHM)
    fields = {
        "wrapped_dek": base64.b64encode(made.wrapped).decode("ascii"),
        "encryption_context": dict(context or {}),
        "algorithm": made.algorithm,
        "kms_key_id": made.kms_key_id,
    }
    header = json.dumps(fields).encode()
    with portal_errors(), made.plaintext as data_key:
        yield MAGIC + len(header).to_bytes(4) + header
        yield from encrypt_stream(data_key, source, header, algorithm=made.algorithm)


def decrypt_file(actor: Actor, source: Readable) -> Iterator[bytes]:
    """Yield the plaintext piece by piece; what came before an error is authentic but incomplete: discard it.

    Raises ValidationFailed (not such a file), NotFound, PermissionRefused, WrongState, and DecryptRefused for any
    change, truncation or extension.
    """
    header, fields = _header(source)
    try:
        wrapped = decode_base64(fields.get("wrapped_dek"), "wrapped_dek")
    except MalformedEnvelope as error:
        raise _not_a_file(str(error)) from None
    data_key = unwrap_data_key(actor, str(fields.get("kms_key_id")), wrapped, fields["encryption_context"])
    with portal_errors(), data_key:
        yield from decrypt_stream(data_key, source, header)


def key_of(source: Readable) -> str:
    """The kms_key_id in the header of an encrypted file; raises ValidationFailed."""
    return str(_header(source)[1].get("kms_key_id"))


def _header(source: Readable) -> tuple[bytes, dict[str, Any]]:
    start = source.read(8)
    size = int.from_bytes(start[4:])
    if start[:4] != MAGIC or len(start) < 8 or size > MAX_HEADER:
        raise _not_a_file("wrong magic")
    header = source.read(size)
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError):
        raise _not_a_file("damaged header") from None
    if len(header) < size or not isinstance(fields, dict) or not isinstance(fields.get("encryption_context"), dict):
        raise _not_a_file("damaged header")
    return header, fields


def _not_a_file(cause: str) -> ValidationFailed:
    return ValidationFailed("This is not an encrypted file.", errors={"file": [cause]})
