"""What the record's commands share: a light connection, and the keys that verify checkpoints."""

import re
from argparse import ArgumentTypeError
from collections.abc import Collection
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.db import connection

from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.audit.verification import Settings


def connection_arguments() -> dict[str, Any]:
    """Keyword arguments of psycopg.connect for the portal's database, plain enough to cross to another process."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return parameters


def public_key(text: str) -> bytes:
    """An argument's raw Ed25519 public key: 64 hex digits, or a file with them or with PEM; raises ArgumentTypeError."""
    try:
        content = text if _is_hex(text) else Path(text).read_text().strip()
        if _is_hex(content):
            return bytes.fromhex(content)
        key = load_pem_public_key(content.encode())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ArgumentTypeError(
            f"{text!r} is no Ed25519 public key: give its 64 hex digits, or a file that holds these or PEM"
        )
    return key.public_bytes_raw()


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{64}", text) is not None


def verification_settings(*, every_signature: bool = False, trusted: Collection[bytes] = ()) -> Settings:
    """Settings to verify this portal's own record against the key file here and the public keys `trusted`.

    No key is taken from the database: its owner can write one of their own there. Raises AuditUnavailable for an
    unusable key file, unless there are other keys.
    """
    try:
        own = [load_signer().public_key]
    except AuditUnavailable:
        if not trusted:
            raise
        own = []
    return Settings(connection_arguments(), tuple(dict.fromkeys([*own, *trusted])), every_signature)
