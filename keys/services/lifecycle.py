"""The life of a key and its versions: every act authorised first, recorded last, in one transaction."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.utils import timezone

from keys.hierarchy import KeyKind
from keys.models import Key, KeyPolicy, KeyVersion, ProviderIntent
from keys.services import notices, policies, versions
from keys.services.acts import act_on_key, act_on_version, need_agreement, target_of
from keys.services.creation import create_key
from keys.services.deletion import (
    cancel_deletion,
    confirm_deletion,
    consequences,
    destroy_version,
    schedule_deletion,
)
from keys.services.last_look import tick_deletions
from keys.services.providers import intents
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed, WrongState

__all__ = [
    "CompromiseReason", "activate_version", "cancel_deletion", "confirm_deletion", "consequences",
    "create_key", "destroy_version", "edit_key", "introduce_version", "mark_compromised", "resume_version",
    "schedule_deletion", "suspend_version", "target_of", "tick_activations", "tick_deletions", "update_policy",
]  # fmt: skip


Act = ProviderIntent.Act


class CompromiseReason(StrEnum):
    """Why a version is compromised (the reasons of RFC 5280, 5.3.1, that fit a key)."""

    KEY_COMPROMISE = "key_compromise"
    CA_COMPROMISE = "ca_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"
    UNSPECIFIED = "unspecified"


def introduce_version(*, actor: Actor, key_id: UUID, activate: bool) -> KeyVersion:
    """Make the next version of a key; with `activate` it protects at once and the old one only processes.

    A token signing key with a version in use must be published first: introduce it without `activate`. This is a
    step of a rotation, which asks for agreement where the policy wants it; nothing else should be let near it.
    A version that will live at a provider is made, and then activated, by the task that carries its intent.
    Raises PermissionRefused, NotFound, WrongState, ValidationFailed (algorithm no longer allowed).
    """
    with act_on_key(actor, Permission.KEY_ROTATE, "key.introduce_version", key_id) as (key, act):
        policies.require_role(actor, key, key.policy.rotate_roles, "rotate")
        policies.require_algorithm(key.algorithm, policies.values_of(key.policy))
        version = versions.new_version(key)
        if intents.is_remote(key):
            intents.write(version, Act.CREATE, actor, activate=activate)
        old = versions.activate(version) if activate and versions.is_made(version) else None
        act.record(
            {
                "version": version.key_version,
                "activated": version.state is VersionState.ACTIVE,
                "replaced": old.key_version if old else None,
            }
        )
    return version


def activate_version(*, actor: Actor, version_id: int, reason: str = "") -> KeyVersion:
    """Let a pre-active version protect from now on; the old one only processes.

    Raises PermissionRefused, NotFound, WrongState (also while a token key has not been published long enough).
    """
    with act_on_version(actor, Permission.KEY_ROTATE, "key.activate_version", version_id) as (key, version, act):
        policies.require_role(actor, key, key.policy.rotate_roles, "rotate")
        if version.moved_from_id is not None:
            raise WrongState(f"{version} is activated by the move that made it.", state=version.status)
        old = versions.activate(version)
        act.record({"version": version.key_version, "replaced": old.key_version if old else None, "reason": reason})
    return version


def tick_activations() -> int:
    """Activate every token signing version that has been published long enough; returns how many."""
    waiting = KeyVersion.objects.filter(
        status=VersionState.PRE_ACTIVE.value, key__kind=KeyKind.TOKEN_SIGNING.value, moved_from=None
    ).select_related("key__policy")
    # What was brought from elsewhere waits for somebody's word; then there is a rotation to it.
    waiting = waiting.exclude(generated_here=False, rotations_to=None)
    done = 0
    for version in waiting.order_by("id"):
        if not versions.is_made(version):
            continue
        due = versions.publication_due(version, version.key.policy)
        if due is None or due <= timezone.now():
            actor = system_actor("token key schedule", Permission.KEY_ROTATE)
            activate_version(actor=actor, version_id=version.pk)
            done += 1
    return done


def suspend_version(*, actor: Actor, version_id: int, reason: str) -> KeyVersion:
    """Stop every use of a version until it is resumed; raises PermissionRefused, NotFound, WrongState."""
    with act_on_version(actor, Permission.KEY_DISABLE, "key.suspend_version", version_id) as (_, version, act):
        before = version.status
        versions.move(version, VersionState.SUSPENDED, "suspend")
        version.suspended_from = before
        version.save(update_fields=["status", "suspended_from"])
        intents.follow(version, Act.DISABLE, actor)
        act.record({"version": version.key_version, "from": before, "reason": reason})
    return version


def resume_version(*, actor: Actor, version_id: int, reason: str = "") -> KeyVersion:
    """Return a suspended version to what it was; to decrypt-only if another became active meanwhile.

    Raises PermissionRefused, NotFound, WrongState.
    """
    with act_on_version(actor, Permission.KEY_DISABLE, "key.resume_version", version_id) as (key, version, act):
        replaced = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).exists()
        was_active = version.suspended_from == VersionState.ACTIVE.value
        back = VersionState.ACTIVE if was_active and not replaced else VersionState.DECRYPT_ONLY
        if version.state is not VersionState.SUSPENDED:
            raise WrongState(f"{version} is not suspended.", state=version.status)
        versions.move(version, back, "resume")
        version.suspended_from = ""
        if was_active and replaced:
            version.rotated_at = timezone.now()
        version.save(update_fields=["status", "suspended_from", "rotated_at"])
        intents.follow(version, Act.ENABLE, actor)
        act.record({"version": version.key_version, "to": back.value, "reason": reason})
    return version


def mark_compromised(
    *, actor: Actor, version_id: int, reason_code: str, occurred_at: datetime, note: str = ""
) -> KeyVersion:
    """Declare a version compromised, at once and without agreement: it protects nothing more and leaves the JWKS.

    A version on its way to destruction, or destroyed, stays so and is marked (SP 800-57 Part 1, 7.5 and 7.6).
    Raises PermissionRefused, NotFound, ValidationFailed (reason, a date in the future), WrongState (already marked).
    """
    with act_on_version(actor, Permission.KEY_COMPROMISE, "key.mark_compromised", version_id) as (_, version, act):
        if reason_code not in {reason.value for reason in CompromiseReason}:
            raise ValidationFailed("Unknown reason.", errors={"reason_code": ["Not a reason code."]})
        if occurred_at > timezone.now():
            raise ValidationFailed("The date lies ahead.", errors={"occurred_at": ["Not in the future."]})
        if version.compromised_at is not None:
            raise WrongState(f"{version} is already marked as compromised.", state=version.status)
        before = version.status
        if version.state is VersionState.SUSPENDED:
            intents.follow(version, Act.ENABLE, actor)  # compromised keys still open what they sealed
        if version.state is VersionState.PENDING_DELETION:
            version.deletion_from = VersionState.COMPROMISED.value
        elif version.state is not VersionState.DESTROYED:
            versions.move(version, VersionState.COMPROMISED, "mark as compromised")
        version.compromised_at, version.compromise_reason, version.compromise_note = occurred_at, reason_code, note
        version.suspended_from = ""
        version.save(
            update_fields=[
                "status", "compromised_at", "compromise_reason", "compromise_note", "deletion_from", "suspended_from",
            ]
        )  # fmt: skip
        notices.compromised(version)
        act.record(
            {
                "version": version.key_version,
                "from": before,
                "reason": reason_code,
                "occurred_at": occurred_at.isoformat(),
                "note": note,
            }
        )
    return version


def edit_key(
    *,
    actor: Actor,
    key_id: UUID,
    title: str | None = None,
    purpose: str | None = None,
    labels: dict[str, str] | None = None,
) -> Key:
    """Change what describes a key, never what it is; raises PermissionRefused, NotFound, ValidationFailed."""
    with act_on_key(actor, Permission.KEY_EDIT, "key.edit", key_id) as (key, act):
        changes = {
            name: value
            for name, value in (("title", title), ("purpose", purpose), ("labels", labels))
            if value is not None and value != getattr(key, name)
        }
        if "title" in changes and not 0 < len(str(changes["title"]).strip()) <= 150:
            raise ValidationFailed("The key needs a title.", errors={"title": ["From 1 to 150 characters."]})
        for name, value in changes.items():
            setattr(key, name, value)
        if changes:
            key.save(update_fields=list(changes))
            act.record({"changed": sorted(changes)})
    return key


def update_policy(
    *, actor: Actor, key_id: UUID, changes: Mapping[str, Any], approval_id: UUID | None = None, reason: str = ""
) -> KeyPolicy:
    """Change a key's policy; what guards the key less needs the agreement the present policy asks for.

    Raises PermissionRefused, NotFound, ValidationFailed (also for a quorum that too few people could fill), ApprovalRequired.
    """
    with act_on_key(actor, Permission.KEY_EDIT, "key.update_policy", key_id) as (key, act):
        stored = KeyPolicy.objects.select_for_update().get(key=key)
        old = policies.values_of(stored)
        new = policies.changed(old, changes)
        policies.check(new, kind=KeyKind(key.kind))
        policies.require_reachable(actor, key.ring_id, old, new)
        weaker = policies.weakens(old, new)
        if weaker:
            need_agreement(
                actor,
                key,
                "key.update_policy",
                {"key_id": str(key_id), "changes": dict(changes)},
                groups=policies.strictest_groups(old),
                approval_id=approval_id,
                reason=reason,
            )
        changed = [name for name in policies.FIELDS if getattr(old, name) != getattr(new, name)]
        if changed:
            for name in changed:
                setattr(stored, name, getattr(new, name))
            stored.version += 1
            stored.save()
            if "cryptoperiod_days" in changed:
                versions.reschedule(key, stored)
            act.record(
                {
                    "policy_version": stored.version,
                    "changed": {name: {"from": getattr(old, name), "to": getattr(new, name)} for name in changed},
                    "weaker": weaker,
                    "approval": str(approval_id) if approval_id else None,
                }
            )
    return stored
