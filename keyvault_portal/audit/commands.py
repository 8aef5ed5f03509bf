"""What the record's commands share: a light connection, and the keys that verify checkpoints."""

from typing import Any

from django.db import connection

from keyvault_portal.audit.models import AuditSigner
from keyvault_portal.audit.verification import Settings


def connection_arguments() -> dict[str, Any]:
    """Keyword arguments of psycopg.connect for the portal's database, plain enough to cross to another process."""
    parameters = connection.get_connection_params()
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    return parameters


def known_keys() -> dict[str, bytes]:
    """Hex key hash -> raw public key of every key that has signed checkpoints here."""
    return {signer.key_id: bytes(signer.public_key) for signer in AuditSigner.objects.all()}


def verification_settings(*, every_signature: bool = False) -> Settings:
    """Settings to verify this portal's own record."""
    return Settings(connection_arguments(), known_keys(), every_signature)
