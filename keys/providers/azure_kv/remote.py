"""What a vault says about a key, in the portal's words."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import isodate
from azure.keyvault.keys import (
    DeletedKey,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
    KeyVaultKey,
)

from keys.providers.azure_kv.keyforms import SYMMETRIC_ROWS, algorithm_of, public_key_of, word
from keys.providers.base import TAG, OperationUnsupported, RemoteKey, RemoteState
from keys.providers.metadata import without_mark

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


_DATES = ("not_before", "expires_on")


def kept_with(key: KeyVaultKey) -> dict[str, Any]:
    """The attributes and tags of a version, without what the portal marks and counts itself."""
    about = key.properties
    release = about.release_policy.encoded_policy if about.release_policy else b""
    attributes = {
        "key_operations": sorted(map(word, key.key_operations or [])),
        "exportable": bool(about.exportable),
        "release_policy": hashlib.sha256(release).hexdigest() if release else "none",
        **{name: moment.isoformat() if (moment := getattr(about, name)) else "none" for name in _DATES},
    }
    tags = {name: value for name, value in without_mark(about.tags or {}).items() if name != ENDS}
    return {"attributes": attributes, "tags": tags}


def set_back(key: KeyVaultKey, wanted: dict[str, Any], mark: str) -> dict[str, Any]:
    """What to change so that the version is what the document says; raises OperationUnsupported for what a vault never undoes."""
    there, right = kept_with(key)["attributes"], wanted["attributes"]
    for name in ("exportable", "release_policy"):
        if there[name] != right[name]:
            raise OperationUnsupported(
                f"A vault does not change {name.replace('_', ' ')} back.",
                hint="Make a new version, and retire this one.",
            )
    changed = {name: datetime.fromisoformat(right[name]) for name in _DATES if there[name] != right[name] != "none"}
    if any(there[name] != "none" == right[name] for name in _DATES):
        raise OperationUnsupported("A vault takes no date away from a key once it has one.", hint="Change it by hand.")
    kept = {name: value for name, value in (key.properties.tags or {}).items() if name in {ENDS, TAG}}
    tags = wanted["tags"] | kept | ({TAG: mark} if mark else {})
    return {"key_operations": right["key_operations"], "tags": tags, **changed}


def rotation_days(policy: KeyRotationPolicy) -> int | None:
    """The days after which the vault itself makes a new version; None where it only notifies."""
    for action in policy.lifetime_actions:
        if word(action.action) == "Rotate" and action.time_after_create:
            start = datetime.now(UTC)  # a month has no length of its own
            return int((start + isodate.parse_duration(action.time_after_create) - start).days)
    return None


def with_rotation(policy: KeyRotationPolicy, days: int | None) -> KeyRotationPolicy:
    """The same policy with a rotation so many days after a version was made, or with none."""
    kept = [action for action in policy.lifetime_actions if word(action.action) != "Rotate"]
    rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create=f"P{days}D")
    return KeyRotationPolicy(lifetime_actions=[*kept, rotate] if days else kept, expires_in=policy.expires_in)


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
