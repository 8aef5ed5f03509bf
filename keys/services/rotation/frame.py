"""The frame of every act on a rotation: its key locked, then itself; states moved by the one table."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.utils import timezone

from keys.models import ReEncryptionJob, Rotation
from keys.services.acts import act_on_key
from keys.states import ROTATION_MOVES, JobState, RotationState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, ValidationFailed, WrongState

MOST_ITEMS_A_SECOND = 1_000_000


def target_of(rotation: Rotation) -> tuple[str, object, str]:
    """How the record names a rotation."""
    return ("rotation", rotation.pk, str(rotation))


@contextmanager
def act_on_rotation(
    actor: Actor, permission: Permission, action: str, rotation_id: UUID
) -> Iterator[tuple[Rotation, audit.atomic]]:
    """Open the transaction of one act on a rotation; raises NotFound and PermissionRefused."""
    with audit.atomic(actor=actor, action=action, target=("rotation", rotation_id, "")):
        key_id = Rotation.objects.filter(pk=rotation_id).values_list("key_id", flat=True).first()
        if key_id is None:
            raise NotFound("There is no such rotation.")
        with act_on_key(actor, permission, action, key_id) as (_, act):
            rows = Rotation.objects.select_for_update(of=("self",)).select_related(
                "key__ring", "key__policy", "old_version__key", "new_version__key"
            )
            rotation = rows.get(pk=rotation_id)
            act.about(target=target_of(rotation))
            yield rotation, act


def check_rate(rate_limit: int | None) -> None:
    """Raise ValidationFailed unless it is a number of items a second that a walk can be held to; None: no limit."""
    if rate_limit is not None and not 1 <= rate_limit <= MOST_ITEMS_A_SECOND:
        raise ValidationFailed(errors={"rate_limit": [f"From 1 to {MOST_ITEMS_A_SECOND:,} items a second."]})


def move(rotation: Rotation, new: RotationState, act: str) -> None:
    """Set the state if the table lets it; raises WrongState. The caller saves."""
    if not may_move(ROTATION_MOVES, RotationState(rotation.state), new):
        raise WrongState(
            f"This rotation is {rotation.state.replace('_', ' ')}: you cannot {act} it.", state=rotation.state
        )
    rotation.state = new.value


def stop(rotation: Rotation) -> None:
    """End a rotation's walk where it is; the caller holds the locks, authorised and records."""
    if rotation.state == RotationState.RE_ENCRYPTED.value:
        move(rotation, RotationState.RE_ENCRYPTING, "reopen")
    move(rotation, RotationState.CANCELLED, "cancel")
    rotation.completed_at = timezone.now()
    rotation.save(update_fields=["state", "completed_at"])
    move_jobs(rotation, {JobState.RUNNING, JobState.PENDING, JobState.PAUSED, JobState.FAILED}, JobState.CANCELLED)


def move_jobs(rotation: Rotation, old: set[JobState], new: JobState) -> None:
    """Move every job of the rotation that is in one of `old`."""
    ReEncryptionJob.objects.filter(rotation=rotation, state__in=[state.value for state in old]).update(state=new.value)
