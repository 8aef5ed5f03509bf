"""Phase 3, decommission: refused unless the census is zero and a sampled re-read agrees, then a grace period."""

from uuid import UUID

from django.utils import timezone

from keys.models import DataStore, FailedItem, KeyVersion, Rotation
from keys.services import census, deletion, policies, rewrap, set_aside, versions
from keys.services.acts import need_agreement
from keys.services.dependents import dependents_of
from keys.services.rotation.frame import act_on_rotation, move
from keys.states import RotationState, VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, NotFound, WrongState
from keyvault_portal.numbers import counted

R = RotationState


class StillInUse(Conflict):
    code, title = "still_in_use", "The old version is still needed"


def request_decommission(*, actor: Actor, rotation_id: UUID, reason: str, approval_id: UUID | None = None) -> Rotation:
    """Let the old version wait out its grace period, after agreement by the policy's groups for destruction.

    The census is taken and a sample read before asking, and again before acting. Raises PermissionRefused, NotFound,
    WrongState, StillInUse saying what still stands on it, StoreUnavailable, ApprovalRequired.
    """
    with act_on_rotation(actor, Permission.KEY_DESTROY, "rotation.decommission", rotation_id) as (rotation, _):
        _check_decommission(actor, rotation)  # before the census, which is much work for a refusal
    checked = verify(rotation_id)
    with act_on_rotation(actor, Permission.KEY_DESTROY, "rotation.decommission", rotation_id) as (rotation, act):
        _check_decommission(actor, rotation)
        key, policy = rotation.key, rotation.key.policy
        params = {
            "rotation_id": str(rotation.pk),
            "version_id": rotation.old_version_id,
            "grace_days": policy.grace_days,
            "reason": reason,
        }
        need_agreement(
            actor,
            key,
            "rotation.decommission",
            params,
            groups=policy.destroy_groups,
            approval_id=approval_id,
            reason=reason,
        )
        version = versions.version_in(key, rotation.old_version_id)
        before = version.status
        versions.move(version, VersionState.PENDING_DELETION, "decommission")
        deletion.start_grace(version, before, policy.grace_days)
        KeyVersion.objects.filter(pk=version.pk).update(re_encrypt_done=True)
        move(rotation, R.DECOMMISSIONED, "decommission")
        rotation.decommissioned_at, rotation.decommission_approval_id, rotation.sample_checked = (
            timezone.now(),
            approval_id,
            checked,
        )
        rotation.save(update_fields=["state", "decommissioned_at", "decommission_approval_id", "sample_checked"])
        act.record(
            {"version": version.key_version, "due_at": version.deletion_due_at.isoformat() if version.deletion_due_at else None, "reason": reason,
             "sample": checked, "census": 0, "approval": str(approval_id) if approval_id else None}
        )  # fmt: skip
    return rotation


def _check_decommission(actor: Actor, rotation: Rotation) -> None:
    policies.require_role(actor, rotation.key, rotation.key.policy.destroy_roles, "destroy")
    if rotation.state != R.RE_ENCRYPTED.value:
        raise WrongState(
            f"This rotation is {rotation.state.replace('_', ' ')}.",
            hint="Re-encryption has to be over first.",
            state=rotation.state,
        )


def verify(rotation_id: UUID) -> int:
    """Take the census and read a sample; returns the size of the sample. Raises StillInUse, NotFound, StoreUnavailable."""
    rotation = Rotation.objects.select_related("old_version__key", "new_version__key").filter(pk=rotation_id).first()
    if rotation is None or rotation.new_version is None:
        raise NotFound("There is no such rotation.")
    old, new = rotation.old_version, rotation.new_version
    items = FailedItem.objects.filter(job__rotation=rotation, store__deregistered_at=None)
    if number := items.filter(resolution=FailedItem.Resolution.OPEN).count():
        raise StillInUse(
            f"{counted(number, 'item set aside waits', 'items set aside wait')} for a decision.",
            hint="Read them again or give them up, with a reason.",
        )
    given_up = set_aside.given_up(rotation)
    left, untold = rewrap.count(old.pk), 0
    for store in DataStore.objects.filter(key_id=rotation.key_id):
        found = set_aside.undecided(store, old, new, given_up)
        left, untold = left + found.on, untold + found.untold
    if left:
        raise StillInUse(
            f"{counted(left, 'item still stands', 'items still stand')} on version {old.key_version}.",
            hint="Run the re-encryption again.",
        )
    if untold:
        raise StillInUse(
            f"{counted(untold, 'item names', 'items name')} no version of {rotation.key}, and may stand on version {old.key_version}.",
            hint="Run the re-encryption again: it sets them aside, for a decision on each.",
        )
    if standing_on := dependents_of(old).when_destroyed:
        raise StillInUse(standing_on[0], hint="End, renew or roll over what stands on it first.")
    sampled = census.sample(old, new, set(given_up.values_list("store_id", "item", "column")))
    if sampled.left:
        raise StillInUse(
            f"{counted(sampled.left, 'sampled item still stands', 'sampled items still stand')} on version {old.key_version}."
        )
    if sampled.unreadable:
        raise StillInUse(
            f"{sampled.unreadable:,} of {sampled.read + sampled.unreadable:,} sampled items cannot be read."
        )
    return sampled.read


def cancel_decommission(*, actor: Actor, rotation_id: UUID, reason: str) -> Rotation:
    """Take the old version back from its grace period; raises PermissionRefused, NotFound, WrongState."""
    with act_on_rotation(actor, Permission.KEY_DESTROY, "rotation.cancel_decommission", rotation_id) as (rotation, act):
        move(rotation, R.RE_ENCRYPTED, "take back")
        deletion.cancel_deletion(actor=actor, version_id=rotation.old_version_id, reason=reason)
        rotation.decommissioned_at = None
        rotation.save(update_fields=["state", "decommissioned_at"])
        act.record({"reason": reason})
    return rotation


def tick_completions() -> int:
    """Close rotations whose old version is destroyed; reopen those whose deletion was cancelled on the key's page."""
    closed = 0
    for rotation in Rotation.objects.filter(state=R.DECOMMISSIONED.value).select_related("old_version"):
        status = rotation.old_version.state
        if status is VersionState.DESTROYED:
            changes = {"state": R.COMPLETED.value, "completed_at": timezone.now()}
        elif status is not VersionState.PENDING_DELETION:
            changes = {"state": R.RE_ENCRYPTED.value, "decommissioned_at": None}
        else:
            continue
        closed += Rotation.objects.filter(pk=rotation.pk, state=R.DECOMMISSIONED.value).update(**changes)
    return closed


def consequences(rotation: Rotation) -> list[str]:
    """What ending this rotation means, in numbers."""
    stores = DataStore.objects.filter(key_id=rotation.key_id).count()
    follow = f"{deletion.many(stores, 'data store')} follow{'s' if stores == 1 else ''}"
    return [
        f"Version {rotation.old_version.key_version} of {rotation.key}; {follow} this key.",
        *deletion.consequences(rotation.old_version),
        f"The grace period is {rotation.key.policy.grace_days} days; any use in it stops the clock and names the caller.",
    ]
