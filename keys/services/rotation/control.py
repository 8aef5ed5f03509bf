"""Phase 2 under control: pause, resume, throttle, cancel, and what to do with unreadable items."""

from collections import Counter
from hashlib import sha256
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from keys.models import FailedItem, KeyVersion, ReEncryptionJob, ReEncryptionRange, Rotation
from keys.services import policies
from keys.services.rotation.frame import act_on_rotation, check_rate, move, move_jobs, stop
from keys.services.rotation.starting import add_jobs, enqueue_workers, follow_active, refuse_second, standing_jobs
from keys.states import MAY_PROCESS, JobState, RotationState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed, WrongState
from keyvault_portal.numbers import counted

J, R = JobState, RotationState
_CONTROL = Permission.ROTATION_CONTROL
_AGAIN = {R.RE_ENCRYPTING.value, R.RE_ENCRYPTED.value, R.FAILED.value, R.CANCELLED.value}


def pause(*, actor: Actor, rotation_id: UUID) -> Rotation:
    """Stop the workers after the page they are on; raises PermissionRefused, NotFound, WrongState."""
    with act_on_rotation(actor, _CONTROL, "rotation.pause", rotation_id) as (rotation, act):
        move(rotation, R.PAUSED, "pause")
        rotation.save(update_fields=["state"])
        move_jobs(rotation, {J.RUNNING, J.PENDING}, J.PAUSED)
        act.record()
    return rotation


def resume(*, actor: Actor, rotation_id: UUID) -> Rotation:
    """Go on where it was paused; raises PermissionRefused, NotFound, WrongState."""
    with act_on_rotation(actor, _CONTROL, "rotation.resume", rotation_id) as (rotation, act):
        if rotation.state != R.PAUSED.value:
            raise WrongState("Only a paused rotation can be resumed.", state=rotation.state)
        move(rotation, R.RE_ENCRYPTING, "resume")
        rotation.save(update_fields=["state"])
        _restart(rotation, {J.PAUSED})
        act.record()
    return rotation


def throttle(*, actor: Actor, rotation_id: UUID, rate_limit: int | None) -> Rotation:
    """Set how many items a second the rotation may move in each store (None: no limit); holds from the next page on."""
    with act_on_rotation(actor, _CONTROL, "rotation.throttle", rotation_id) as (rotation, act):
        check_rate(rate_limit)
        rotation.jobs.update(rate_limit=rate_limit)
        act.record({"rate_limit": rate_limit})
    return rotation


def cancel(*, actor: Actor, rotation_id: UUID, reason: str) -> Rotation:
    """End the walk: the new version stays active, what was not moved stays readable on the old one."""
    with act_on_rotation(actor, _CONTROL, "rotation.cancel", rotation_id) as (rotation, act):
        if rotation.trigger == Rotation.Trigger.MOVE:
            raise WrongState("This rotation belongs to a move.", hint="Undo the move instead.", state=rotation.state)
        stop(rotation)
        act.record({"reason": reason})
    return rotation


def retry_failed(*, actor: Actor, rotation_id: UUID) -> Rotation:
    """Read the items set aside again, and start stopped jobs anew; a walk that was over or cancelled begins again whole.

    What still stands on the old version goes to the version that is active by now. Raises PermissionRefused, NotFound,
    WrongState, Conflict (another rotation or a move of the key is under way).
    """
    with act_on_rotation(actor, _CONTROL, "rotation.retry", rotation_id) as (rotation, act):
        if rotation.state not in _AGAIN:
            raise WrongState(f"This rotation is {rotation.state.replace('_', ' ')}.", state=rotation.state)
        whole = rotation.state in {R.RE_ENCRYPTED.value, R.CANCELLED.value}
        if whole:
            _check_begin_again(rotation)
        follow_active(rotation)
        items = open_items(rotation)
        jobs = standing_jobs(rotation) if whole else rotation.jobs.filter(state=J.FAILED.value)
        touched = set(items.values_list("job_id", flat=True)) | set(jobs.values_list("pk", flat=True))
        dropped = items.delete()[0]
        if rotation.state != R.RE_ENCRYPTING.value:
            move(rotation, R.RE_ENCRYPTING, "retry")
            rotation.last_error, rotation.re_encrypted_at, rotation.completed_at = "", None, None
            rotation.save(update_fields=["state", "last_error", "re_encrypted_at", "completed_at"])
            KeyVersion.objects.filter(pk=rotation.old_version_id).update(re_encrypt_done=False)
        if whole:
            add_jobs(rotation, None)  # for stores registered since
        for job in ReEncryptionJob.objects.filter(pk__in=touched):
            job.items_failed = job.failed_items.count()
            job.save(update_fields=["items_failed"])
        ReEncryptionRange.objects.filter(job_id__in=touched).delete()
        ReEncryptionJob.objects.filter(pk__in=touched).update(state=J.PENDING.value, finished_at=None, last_error="")
        for job_id in touched:
            enqueue_workers(job_id)
        act.record({"items": dropped, "jobs": len(touched)})
    return rotation


def _check_begin_again(rotation: Rotation) -> None:
    """Raise what stands in the way of walking a second time."""
    if rotation.state == R.CANCELLED.value:
        if rotation.trigger == Rotation.Trigger.MOVE:
            raise WrongState("This rotation belongs to a move.", hint="Move the key again.", state=rotation.state)
        if rotation.introduced_at is None or rotation.old_version.state not in MAY_PROCESS:
            raise WrongState("There is nothing that could be moved.", hint="Ask for a rotation.", state=rotation.state)
    refuse_second(rotation.key)


def decide_failed(*, actor: Actor, rotation_id: UUID, item_id: int, reason: str) -> FailedItem:
    """Give one item that was set aside up, with a reason; it no longer stands in the way of decommissioning.

    Raises PermissionRefused, NotFound, ValidationFailed, WrongState (decided already).
    """
    with act_on_rotation(actor, Permission.KEY_DESTROY, "rotation.give_up_item", rotation_id) as (rotation, act):
        policies.require_role(actor, rotation.key, rotation.key.policy.destroy_roles, "give up items of")
        item = FailedItem.objects.select_for_update().filter(pk=item_id, job__rotation=rotation).first()
        if item is None:
            raise NotFound("This rotation has no such item.")
        _check_why(reason)
        if item.resolution != FailedItem.Resolution.OPEN:
            raise WrongState("This item is decided already.", state=item.resolution)
        item.resolution, item.resolved_at = FailedItem.Resolution.GIVEN_UP, timezone.now()
        item.resolved_by, item.resolution_note = actor.label, reason.strip()
        item.save(update_fields=["resolution", "resolved_at", "resolved_by", "resolution_note"])
        _note_decided(rotation)
        act.record(
            {
                "item": item.item,
                "column": item.column,
                "store": str(item.store_id),
                "why": item.reason,
                "reason": reason.strip(),
            }
        )
    return item


def give_up_open(*, actor: Actor, rotation_id: UUID, items: int, reason: str) -> int:
    """Give up every item of a rotation that waits for a decision, with one reason; returns how many.

    `items` is how many the caller believes them to be. The record holds their number, how many in each store, and the
    SHA-256 over them: of a line of canonical JSON for each, [store, item, column, why], the lines sorted as bytes.
    Raises PermissionRefused, NotFound, ValidationFailed, WrongState (none waits), Conflict (they are not so many).
    """
    with act_on_rotation(actor, Permission.KEY_DESTROY, "rotation.give_up_items", rotation_id) as (rotation, act):
        policies.require_role(actor, rotation.key, rotation.key.policy.destroy_roles, "give up items of")
        _check_why(reason)
        now = timezone.now()
        # Set first and read afterwards: workers may set more aside meanwhile, and what is recorded is what was decided.
        found = open_items(rotation).update(
            resolution=FailedItem.Resolution.GIVEN_UP, resolved_at=now, resolved_by=actor.label,
            resolution_note=reason.strip(),
        )  # fmt: skip
        if not found:
            raise WrongState("No item of this rotation waits for a decision.", state=rotation.state)
        if found != items:
            raise Conflict(
                f"{counted(found, 'item waits', 'items wait')} for a decision, not {items:,}.",
                hint="Look at them again.",
            )
        decided = FailedItem.objects.filter(job__rotation=rotation, resolved_at=now).values_list(
            "store_id", "item", "column", "reason"
        )
        lines = sorted(dumps([str(store_id), *rest]) + b"\n" for store_id, *rest in decided)
        stores = Counter(str(store_id) for store_id, *_ in decided)
        _note_decided(rotation)
        digest = sha256(b"".join(lines)).hexdigest()
        act.record({"items": found, "stores": dict(stores), "digest": digest, "reason": reason.strip()})
    return found


def open_items(rotation: Rotation) -> QuerySet[FailedItem]:
    """What the rotation set aside and nobody decided on."""
    return FailedItem.objects.filter(job__rotation=rotation, resolution=FailedItem.Resolution.OPEN)


def _check_why(reason: str) -> None:
    if not reason.strip():
        raise ValidationFailed("Say why it is given up.", errors={"reason": ["This field is required."]})


def _note_decided(rotation: Rotation) -> None:
    """Where the walk is over, the last decision makes the old version free of data."""
    if rotation.state == R.RE_ENCRYPTED.value and not open_items(rotation).exists():
        KeyVersion.objects.filter(pk=rotation.old_version_id).update(re_encrypt_done=True)


def _restart(rotation: Rotation, old: set[JobState]) -> None:
    jobs = list(rotation.jobs.filter(state__in=[state.value for state in old]).values_list("pk", "started_at"))
    for job_id, started_at in jobs:
        state = J.RUNNING if started_at else J.PENDING
        ReEncryptionJob.objects.filter(pk=job_id).update(state=state.value, heartbeat_at=timezone.now())
        enqueue_workers(job_id)
