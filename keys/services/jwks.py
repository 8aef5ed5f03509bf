"""JSON Web Key Sets of token signing keys (RFC 7517, 5): published before use, kept until the last token expires."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from keys.crypto.jwk import public_jwk, thumbprint
from keys.hierarchy import KeyKind
from keys.models import KeyVersion
from keys.states import VersionState
from keyvault_portal.errors import NotFound

# Verifiers may keep a set this long; far below the hour that is the least useful time of publication before use.
MAX_AGE_SECONDS = 300

_OFFERED = [
    VersionState.PRE_ACTIVE.value,
    VersionState.ACTIVE.value,
    VersionState.DECRYPT_ONLY.value,
    VersionState.PENDING_DELETION.value,
    VersionState.DESTROYED.value,  # its tokens may live longer than the grace period; its public key is kept
]


def kid(version: KeyVersion) -> str:
    """The RFC 7638 thumbprint of a version's public key: what a token's header names it by."""
    return thumbprint(_members(version))


def _members(version: KeyVersion) -> dict[str, str]:
    if version.public_key is None:
        raise NotFound(f"{version} has no public key.")
    return public_jwk(version.key.algorithm, bytes(version.public_key), "")


def document(ring: str | None = None, name: str | None = None) -> dict[str, list[dict[str, str]]]:
    """The set of one key, or of every token signing key; raises NotFound for a key that is none.

    Versions not yet active are in it, so that verifiers know them beforehand; one that was replaced stays until the
    last token it signed has expired, destroyed or not; suspended and compromised ones are out at once and for good.
    """
    rows = KeyVersion.objects.filter(key__kind=KeyKind.TOKEN_SIGNING.value, public_key__isnull=False)
    if ring is not None:
        rows = rows.filter(key__ring__name=ring, key__name=name)
        if not rows.exists():
            raise NotFound("There is no such token signing key.")
    offered = rows.filter(status__in=_OFFERED, compromised_at=None).select_related("key__policy")
    offered = offered.exclude(deletion_from=VersionState.SUSPENDED.value)  # its end brings no trust back
    return {"keys": list(_jwks(offered.order_by("key__name", "key_id", "-key_version"), timezone.now()))}


def _jwks(versions: Iterable[KeyVersion], now: datetime) -> Iterable[dict[str, Any]]:
    said: set[str] = set()  # a key moved with its material is the same key to verifiers, though it is two versions here
    for version in versions:
        if version.rotated_at is not None:
            if version.rotated_at + timedelta(hours=version.key.policy.token_lifetime_hours) <= now:
                continue
        elif version.state not in {VersionState.PRE_ACTIVE, VersionState.ACTIVE}:
            continue
        members = _members(version)
        name = thumbprint(members)
        if name not in said:
            said.add(name)
            yield {**members, "kid": name}
