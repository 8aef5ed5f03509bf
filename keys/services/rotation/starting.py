"""Phase 1, introduce, and the way through phase 2: what a rotation sets in motion and when its walk is over."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from keys.hierarchy import KeyKind
from keys.models import DataStore, FailedItem, Key, KeyVersion, Move, ReEncryptionJob, Rotation
from keys.services import census, lifecycle, policies, reencryption, rewrap, versions
from keys.services.acts import act_on_key, need_agreement
from keys.services.rotation.frame import check_rate, stop, target_of
from keys.states import JobState, MoveState, RotationState, VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed, WrongState
from keyvault_portal.jobs import enqueue_on_commit

Mode = ReEncryptionJob.Mode
# Moves during which the key's versions are theirs.
_UNDER_MOVE = [
    state.value
    for state in MoveState
    if state not in {MoveState.RE_WRAPPED, MoveState.DROPPING, MoveState.COMPLETED, MoveState.UNDONE}
]
_MOVING = [
    state.value
    for state in (RotationState.INTRODUCING, RotationState.RE_ENCRYPTING, RotationState.PAUSED, RotationState.FAILED)
]


def request_rotation(
    *,
    actor: Actor,
    key_id: UUID,
    reason: str,
    rate_limit: int | None = None,
    version_id: int | None = None,
    to_version_id: int | None = None,
    approval_id: UUID | None = None,
) -> Rotation:
    """Rotate a key, or put the rotation before those whom its policy asks; to a version that was brought here, if named.

    Raises PermissionRefused, NotFound, ValidationFailed (no reason, a rate out of bounds), Conflict (one is under way), WrongState, ApprovalRequired.
    """
    with act_on_key(actor, Permission.KEY_ROTATE, "key.rotate", key_id) as (key, act):
        policy = key.policy
        policies.require_role(actor, key, policy.rotate_roles, "rotate")
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        check_rate(rate_limit)
        current = _current(key)
        if version_id is not None and current.pk != version_id:
            raise Conflict(f"{key} has been rotated meanwhile: version {current.key_version} is active.")
        refuse_second(key)
        params: dict[str, Any] = {
            "key_id": str(key.pk),
            "version_id": current.pk,
            "rate_limit": rate_limit,
            "reason": reason.strip(),
        }
        brought = _brought(key, to_version_id) if to_version_id is not None else None
        if brought is not None:
            params["to_version_id"] = brought.pk
        need_agreement(
            actor, key, "key.rotate", params, groups=policy.rotate_groups, approval_id=approval_id, reason=reason
        )
        rotation = start(
            actor,
            key,
            current,
            Rotation.Trigger.ON_DEMAND if brought is None else Rotation.Trigger.IMPORT,
            reason.strip(),
            brought=brought,
            rate_limit=rate_limit,
            approval_id=approval_id,
        )
        act.record(_details(rotation), target=target_of(rotation))
        act.record(_details(rotation))
    return rotation


def take_into_use(*, actor: Actor, version_id: int, reason: str) -> KeyVersion:
    """Let a version that waits protect from now on; where another is in use, this is a rotation to it, and asks as one.

    Raises as `request_rotation` and `lifecycle.activate_version` do.
    """
    version = KeyVersion.objects.select_related("key").filter(pk=version_id).first()
    if version is None:
        raise NotFound("There is no such version.")
    if version.key.current_id is None:
        return lifecycle.activate_version(actor=actor, version_id=version_id, reason=reason)
    request_rotation(actor=actor, key_id=version.key_id, reason=reason, to_version_id=version_id)
    version.refresh_from_db()
    return version


def _brought(key: Key, version_id: int) -> KeyVersion:
    """A version of the key that waits to be taken into use; raises NotFound, WrongState."""
    version = versions.version_in(key, version_id)
    if version.state is not VersionState.PRE_ACTIVE or version.moved_from_id is not None:
        raise WrongState(f"{version} is {version.status.replace('_', ' ')}.", state=version.status)
    if not versions.is_made(version):
        raise WrongState(
            f"{version} is still being made by its provider.",
            hint="Its page says when it is there.",
            state=version.status,
        )
    return version


def rotate_compromised(
    *, actor: Actor, version_id: int, reason_code: str, occurred_at: datetime, note: str = ""
) -> Rotation | None:
    """Mark a version compromised and, if it is the one in use, rotate its key at once, without waiting for agreement.

    A rotation under way would go on writing under it, or wait with a new version: it is stopped where it is, and can be
    taken up again afterwards. Returns the rotation, or None when the version was not in use or the key is being moved.
    Raises as `lifecycle.mark_compromised` does.
    """
    version = KeyVersion.objects.select_related("key").filter(pk=version_id).first()
    if version is None:
        raise NotFound("There is no such version.")
    with act_on_key(actor, Permission.KEY_COMPROMISE, "key.rotate", version.key_id) as (key, act):
        lifecycle.mark_compromised(
            actor=actor, version_id=version_id, reason_code=reason_code, occurred_at=occurred_at, note=note
        )
        if key.current_id != version_id or Move.objects.filter(key=key, state__in=_UNDER_MOVE).exists():
            return None
        if (other := Rotation.objects.select_for_update().filter(key=key, state__in=_MOVING).first()) is not None:
            stop(other)
            act.record(
                {"reason": f"version {version.key_version} is compromised"},
                action="rotation.cancel",
                target=target_of(other),
            )
        old = KeyVersion.objects.get(pk=version_id)
        rotation = start(actor, key, old, Rotation.Trigger.COMPROMISE, note or reason_code)
        act.record(_details(rotation), target=target_of(rotation))
    return rotation


def start(
    actor: Actor,
    key: Key,
    old: KeyVersion,
    trigger: str,
    reason: str,
    *,
    brought: KeyVersion | None = None,
    rate_limit: int | None = None,
    approval_id: UUID | None = None,
) -> Rotation:
    """Introduce the new version, or the one that was brought, and set the jobs going; the caller holds the key's lock, authorised and records."""
    refuse_second(key)
    published_first = key.kind == KeyKind.TOKEN_SIGNING.value and old.state is VersionState.ACTIVE
    new = brought
    if new is None:
        new = lifecycle.introduce_version(actor=actor, key_id=key.pk, activate=not published_first)
    elif not published_first:
        lifecycle.activate_version(actor=actor, version_id=new.pk, reason=reason)
        new.refresh_from_db()
    old.refresh_from_db()
    return walk(actor, key, old, new, trigger, reason, rate_limit=rate_limit, approval_id=approval_id)


def walk(
    actor: Actor,
    key: Key,
    old: KeyVersion,
    new: KeyVersion,
    trigger: str,
    reason: str,
    *,
    rate_limit: int | None = None,
    approval_id: UUID | None = None,
) -> Rotation:
    """Let everything that stands on `old` go to `new`, as soon as that is active; the caller does the rest as in `start`."""
    now = timezone.now()
    rotation = Rotation.objects.create(
        key=key, old_version=old, new_version=new, trigger=trigger, reason=reason, approval_id=approval_id, requested_by=actor.label,
        state=RotationState.INTRODUCING.value,
    )  # fmt: skip
    if new.state is VersionState.ACTIVE:
        _introduced(rotation, now)
    if not add_jobs(rotation, rate_limit) and rotation.state == RotationState.RE_ENCRYPTING.value:
        _walk_over(rotation)
    return rotation


def _introduced(rotation: Rotation, now: datetime) -> None:
    rotation.state, rotation.introduced_at = RotationState.RE_ENCRYPTING.value, now
    rotation.save(update_fields=["state", "introduced_at"])


def introduced(rotation_id: UUID) -> None:
    """The version that was waited for is active: let the walk begin, or be over where there is nothing to move."""
    with transaction.atomic():
        rotation = Rotation.objects.select_for_update(of=("self",)).get(pk=rotation_id)
        if rotation.state != RotationState.INTRODUCING.value:
            return
        _introduced(rotation, timezone.now())
        for job_id in rotation.jobs.values_list("pk", flat=True):
            enqueue_workers(job_id)
    settle(rotation_id)


def follow_active(rotation: Rotation) -> None:
    """Let the walk go to the version that is active now, if the one it began with is not any more; the caller holds the locks.

    Raises WrongState when the key has none but the one that is being left.
    """
    new = rotation.new_version
    if rotation.trigger == Rotation.Trigger.MOVE or rotation.introduced_at is None or new is None:
        return
    if new.state is not VersionState.ACTIVE:
        active = KeyVersion.objects.filter(key=rotation.key, status=VersionState.ACTIVE.value).first()
        if active is None or active.pk == rotation.old_version_id:
            raise WrongState(f"{rotation.key} has no version to move to.", hint="Resume one, or rotate the key.")
        rotation.new_version = active
        rotation.save(update_fields=["new_version"])


def add_jobs(rotation: Rotation, rate_limit: int | None) -> list[ReEncryptionJob]:
    """One job a store, and one for the wrapped keys below, where there is none yet; returns the new ones."""
    key = rotation.key
    jobs: list[ReEncryptionJob] = []
    there = set(rotation.jobs.values_list("store_id", flat=True))
    if key.kind in {KeyKind.MASTER.value, KeyKind.KEK.value} and None not in there:
        jobs.append(
            ReEncryptionJob(
                rotation=rotation,
                mode=Mode.REWRAP_KEYS,
                rate_limit=rate_limit,
                items_total=rewrap.count(rotation.old_version_id),
            )
        )
    mode = Mode.REWRAP_ENVELOPES if key.kind == KeyKind.KEK.value else Mode.RE_ENCRYPT
    for store in DataStore.objects.filter(key=key).exclude(pk__in=there - {None}).order_by("created_at"):
        jobs.append(
            ReEncryptionJob(rotation=rotation, store=store, mode=mode, rate_limit=rate_limit or store.rate_limit)
        )
    ReEncryptionJob.objects.bulk_create(jobs)
    for job in jobs:
        enqueue_workers(job.pk)
    return jobs


def standing_jobs(rotation: Rotation) -> QuerySet[ReEncryptionJob]:
    """The jobs of a rotation but those on stores that were deregistered since."""
    return rotation.jobs.filter(Q(store=None) | Q(store__deregistered_at=None))


def enqueue_workers(job_id: UUID) -> None:
    """Send this job to as many workers as share one."""
    from keys.tasks import reencrypt

    for _ in range(reencryption.worker_count()):
        enqueue_on_commit(reencrypt, str(job_id))


def settle(rotation_id: UUID) -> None:
    """Look whether the rotation's jobs are over, and move it on: to re_encrypted when all are done, to failed when one is."""
    with audit.atomic(
        actor=system_actor("re-encryption"), action="rotation.re_encrypted", target=("rotation", rotation_id, "")
    ) as act:
        rotation = (
            Rotation.objects.select_for_update(of=("self",))
            .select_related("key", "old_version", "new_version")
            .get(pk=rotation_id)
        )
        if rotation.state != RotationState.RE_ENCRYPTING.value:
            return
        act.about(target=target_of(rotation), ring_id=rotation.key.ring_id)
        jobs = list(standing_jobs(rotation))
        failed = [job for job in jobs if job.state == JobState.FAILED.value]
        if failed:
            rotation.state, rotation.last_error = RotationState.FAILED.value, failed[0].last_error
            rotation.save(update_fields=["state", "last_error"])
            act.record({"error": rotation.last_error}, action="rotation.stopped", outcome="failed")
        elif all(job.state == JobState.DONE.value for job in jobs):
            _walk_over(rotation)
            assert rotation.new_version_id is not None
            # A worker that died may have moved more than it wrote down; what stands where is the census's to say.
            act.record(
                {
                    "items_at_least": sum(job.items_done for job in jobs),
                    "items_on_new_version": census.stored_counts([rotation.new_version_id]).get(
                        rotation.new_version_id, 0
                    ),
                    "set_aside": sum(job.items_failed for job in jobs),
                }
            )


def _walk_over(rotation: Rotation) -> None:
    from keys.tasks import take_census

    rotation.state, rotation.re_encrypted_at, rotation.last_error = RotationState.RE_ENCRYPTED.value, timezone.now(), ""
    rotation.save(update_fields=["state", "re_encrypted_at", "last_error"])
    if not FailedItem.objects.filter(job__rotation=rotation, resolution=FailedItem.Resolution.OPEN).exists():
        KeyVersion.objects.filter(pk=rotation.old_version_id).update(re_encrypt_done=True)
    for store_id in standing_jobs(rotation).exclude(store=None).values_list("store_id", flat=True):
        enqueue_on_commit(take_census, str(store_id))


def tick_introductions() -> int:
    """Move rotations on whose new version was waited for, and is active by now."""
    moved = 0
    waiting = Rotation.objects.filter(
        state=RotationState.INTRODUCING.value, new_version__status=VersionState.ACTIVE.value
    )
    for rotation_id in list(waiting.values_list("pk", flat=True)):
        introduced(rotation_id)
        moved += 1
    return moved


def _current(key: Key) -> KeyVersion:
    found = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).first() or key.current
    if found is None or found.state not in {VersionState.ACTIVE, VersionState.COMPROMISED}:
        raise WrongState(f"{key} has no version to rotate from.", hint="Resume or introduce one first.")
    return found


def is_busy(key: Key) -> bool:
    """Whether a rotation or a move of the key is under way that a second one would disturb."""
    return (
        Rotation.objects.filter(key=key, state__in=_MOVING).exists()
        or Move.objects.filter(key=key, state__in=_UNDER_MOVE).exists()
    )


def refuse_second(key: Key) -> None:
    """Raise Conflict while a rotation or a move of the key is under way."""
    refuse_while_moving(key)
    open_ = Rotation.objects.filter(key=key, state__in=_MOVING).first()
    if open_ is not None:
        raise Conflict(f"{key} is being rotated already.", hint="Wait for it, or cancel it.", rotation=str(open_.pk))


def refuse_while_moving(key: Key) -> None:
    """Raise Conflict while the versions of the key belong to a move."""
    move = Move.objects.filter(key=key, state__in=_UNDER_MOVE).first()
    if move is not None:
        raise Conflict(
            f"{key} is being moved to {move.target}.", hint="Wait for it, or undo the move.", move=str(move.pk)
        )


def _details(rotation: Rotation) -> dict[str, Any]:
    return {
        "rotation": str(rotation.pk), "from": rotation.old_version.key_version,
        "to": rotation.new_version.key_version if rotation.new_version else None, "trigger": rotation.trigger, "reason": rotation.reason,
        "approval": str(rotation.approval_id) if rotation.approval_id else None, "jobs": rotation.jobs.count(),
    }  # fmt: skip
