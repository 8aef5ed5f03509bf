"""The life of a key and its versions: every act authorised first, recorded last, in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.utils import timezone

from keys.models import Key, KeyVersion
from keys.services import policies, versions
from keys.services.creation import create_key
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import WrongState

__all__ = ["activate_version", "create_key", "introduce_version"]


def target_of(key: Key) -> tuple[str, object, str]:
    """How the record names a key."""
    return ("key", key.pk, f"{key.ring.name}/{key.name}")


@contextmanager
def act_on_key(actor: Actor, permission: Permission, action: str, key_id: UUID) -> Iterator[tuple[Key, Any]]:
    """Open the transaction of one act: the key locked, the actor authorised, a refusal recorded with its target."""
    with audit.atomic(actor=actor, action=action, target=("key", key_id, "")) as act:
        key = versions.locked_key(key_id)
        act.about(target=target_of(key), ring_id=key.ring_id)
        authorize(actor, permission, ring_id=key.ring_id, target=f"key {key.name}")
        yield key, act


def introduce_version(*, actor: Actor, key_id: UUID, activate: bool) -> KeyVersion:
    """Make the next version of a key; with `activate` it protects at once and the old one only processes.

    A token signing key with a version in use must be published first: introduce it without `activate`. This is a
    step of a rotation, which asks for agreement where the policy wants it; nothing else should be let near it.
    Raises PermissionRefused, NotFound, WrongState, ValidationFailed (algorithm no longer allowed).
    """
    with act_on_key(actor, Permission.KEY_ROTATE, "key.introduce_version", key_id) as (key, act):
        policies.require_role(actor, key, key.policy.rotate_roles, "rotate")
        policies.require_algorithm(key.algorithm, policies.values_of(key.policy))
        version = versions.new_version(key)
        old = _activate(version) if activate else None
        act.record({"version": version.key_version, "activated": activate, "replaced": old.key_version if old else None})
    return version


def activate_version(*, actor: Actor, key_id: UUID, version_id: int) -> KeyVersion:
    """Let a pre-active version protect from now on; the old one only processes.

    Raises PermissionRefused, NotFound, WrongState (also while a token key has not been published long enough).
    """
    with act_on_key(actor, Permission.KEY_ROTATE, "key.activate_version", key_id) as (key, act):
        policies.require_role(actor, key, key.policy.rotate_roles, "rotate")
        version = versions.version_in(key, version_id)
        old = _activate(version)
        act.record({"version": version.key_version, "replaced": old.key_version if old else None})
    return version


def _activate(version: KeyVersion) -> KeyVersion | None:
    now = timezone.now()
    policy = version.key.policy
    published_at = versions.publication_due(version, policy)
    if published_at is not None and published_at > now:
        raise WrongState(
            f"{version} has to be published for {policy.publish_before_use_hours} hours before it signs.",
            hint="It is activated by itself when that time is over.",
            available_at=published_at.isoformat(),
        )
    return versions.make_active(version, policy, now=now)
