"""What a vault says about a key, in the portal's words."""

from datetime import UTC, datetime
from typing import Any

import isodate
from azure.keyvault.keys import DeletedKey, KeyRotationPolicy, KeyVaultKey

from keys.providers.azure_kv.keyforms import SYMMETRIC_ROWS, algorithm_of, public_key_of, word
from keys.providers.base import RemoteKey, RemoteState

# The vault has no word for where a key came from: ours is a tag. So is the wait of one version for its end.
OWNER, ORIGIN, ENDS = "managed-by", "origin", "portal-deletion-due"


def described(key: KeyVaultKey, rotation_days: int | None) -> RemoteKey:
    """One version; disabled and marked by us, it waits for its deletion."""
    about, tags = key.properties, dict(key.properties.tags or {})
    due = _moment(tags.get(ENDS, ""))
    state = RemoteState.ENABLED if about.enabled else RemoteState.DISABLED
    return RemoteKey(
        opaque=str(key.id),
        name=str(key.name),
        state=RemoteState.PENDING_DELETION if due and not about.enabled else state,
        algorithm=_known(key.key, tags),
        created_at=about.created_on,
        deletion_due_at=due,
        rotation_days=rotation_days,
        imported=tags.get(ORIGIN) == "imported",
        extractable=bool(about.exportable),
        tags=tags,
        public_key=public_key_of(key.key),
    )


def in_bin(key: DeletedKey, opaque: str) -> RemoteKey:
    """A version of a key that the vault keeps until its purge."""
    tags = dict(key.properties.tags or {})
    return RemoteKey(
        opaque=opaque,
        name=str(key.name),
        state=RemoteState.PENDING_DELETION,
        algorithm=_known(key.key, tags),
        created_at=key.properties.created_on,
        deletion_due_at=key.scheduled_purge_date,
        imported=tags.get(ORIGIN) == "imported",
        tags=tags,
    )


def rotation_days(policy: KeyRotationPolicy) -> int | None:
    """The days after which the vault itself makes a new version; None where it only notifies."""
    for action in policy.lifetime_actions:
        if word(action.action) == "Rotate" and action.time_after_create:
            start = datetime.now(UTC)  # a month has no length of its own
            return int((start + isodate.parse_duration(action.time_after_create) - start).days)
    return None


def _moment(text: str) -> datetime | None:
    """The moment in a tag; anybody with rights in the vault may have written something else there."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None


def _known(key: Any, tags: dict[str, str]) -> str | None:
    """The key's row; of a symmetric key the vault does not tell the length, so only one the portal made is known."""
    found = algorithm_of(key)
    return None if found in SYMMETRIC_ROWS and OWNER not in tags else found
