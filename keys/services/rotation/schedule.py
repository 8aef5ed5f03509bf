"""Rotations by policy: when the cryptoperiod ends or the use budget is nearly spent."""

import logging
from uuid import UUID

from django.utils import timezone

from keys.models import Key, KeyVersion, Rotation
from keys.services import budget
from keys.services.acts import act_on_key
from keys.services.rotation.frame import target_of
from keys.services.rotation.starting import is_busy, start
from keys.states import VersionState
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError

logger = logging.getLogger(__name__)
BATCH = 100


def tick_schedules() -> int:
    """Rotate every key whose policy says so and whose time, or use budget, has come; returns how many were started.

    The policy itself was agreed to, so its schedule needs no further agreement.
    """
    started = 0
    for key_id, trigger in [*_overdue(), *_used_up()]:
        try:
            started += _rotate(key_id, trigger)
        except PortalError as error:
            logger.warning("the scheduled rotation of key %s did not start: %s", key_id, error.detail)
    return started


def _overdue() -> list[tuple[UUID, Rotation.Trigger]]:
    due = Key.objects.filter(
        policy__auto_rotate=True, next_rotation_at__lte=timezone.now(), current__status=VersionState.ACTIVE.value
    )
    return [
        (pk, Rotation.Trigger.SCHEDULED) for pk in due.order_by("next_rotation_at").values_list("pk", flat=True)[:BATCH]
    ]


def _used_up() -> list[tuple[UUID, Rotation.Trigger]]:
    due = budget.due_versions().filter(key__policy__auto_rotate=True).order_by("-uses_reserved", "id")
    return [(key_id, Rotation.Trigger.USE_BUDGET) for key_id in due.values_list("key_id", flat=True)[:BATCH]]


def _rotate(key_id: object, trigger: str) -> int:
    actor = system_actor("rotation schedule", Permission.KEY_ROTATE)
    with act_on_key(actor, Permission.KEY_ROTATE, "key.rotate", key_id) as (key, act):  # type: ignore[arg-type]
        current = KeyVersion.objects.filter(key=key, status=VersionState.ACTIVE.value).first()
        if current is None or is_busy(key):
            return 0
        if trigger == Rotation.Trigger.SCHEDULED and (
            key.next_rotation_at is None or key.next_rotation_at > timezone.now()
        ):
            return 0
        rotation = start(actor, key, current, trigger, "By the key's policy.")
        act.record(
            {"rotation": str(rotation.pk), "trigger": trigger, "from": current.key_version}, target=target_of(rotation)
        )
    return 1
