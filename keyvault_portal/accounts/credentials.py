"""Secrets handed out once: how they are drawn, and the only thing kept of them, a peppered digest."""

import hashlib
import hmac
import secrets
from uuid import UUID

from django.conf import settings

SECRET_BYTES = 32


def new_secret() -> str:
    """256 random bits as 43 characters of base64url (RFC 4648, section 5)."""
    return secrets.token_urlsafe(SECRET_BYTES)


def credential_digest(credential_id: UUID, secret: str) -> bytes:
    """HMAC-SHA256 under TOKEN_PEPPER of the id and the secret; 32 bytes.

    The id is part of the message, so a digest copied to another row opens nothing.
    """
    return hmac.digest(settings.TOKEN_PEPPER.encode(), credential_id.bytes + secret.encode(), hashlib.sha256)


def credential_matches(digest: bytes, credential_id: UUID, secret: str) -> bool:
    """Whether `secret` is the one `digest` was made of; takes the same time wherever they differ."""
    return hmac.compare_digest(bytes(digest), credential_digest(credential_id, secret))
