"""Destruction when the grace period is over, after a last look at what stands on the version by then.

The grace period is long: a backup put back, an application with an old copy or another table may stand on it again.
"""

from django.utils import timezone

from keys.models import DataStore, FailedItem, KeyVersion, Rotation
from keys.services import rewrap, set_aside, turns
from keys.services.deletion import (
    PENDING,
    Act,
    consequences_of_destroying,
    delay_deletion,
    destroy_version,
    halt_deletion,
    many,
)
from keys.services.dependents import dependents_of
from keys.states import RotationState
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PortalError, WrongState


def tick_deletions() -> int:
    """Destroy every version whose grace period is over and whose clock nobody stopped; returns how many.

    Where something stands on one whose loss nobody accepted, its clock is stopped; where that cannot be seen now, its end
    is put off. Officers are told of both.
    """
    with turns.first_at("deletions") as first:  # counting may take longer than the time between two ticks
        return _destroy_due() if first else 0


def _destroy_due() -> int:
    due = KeyVersion.objects.filter(status=PENDING.value, deletion_due_at__lte=timezone.now(), deletion_halted_at=None)
    due = due.exclude(intents__act=Act.DESTROY)  # asked of its provider already; if that failed, somebody has to look
    actor = system_actor("deletion schedule", Permission.KEY_DESTROY)
    done = 0
    for version in due.select_related("key").order_by("deletion_due_at"):
        try:
            found = what_stands(version)
        except PortalError as error:
            delay_deletion(actor, version.pk, f"What stands on it cannot be counted: {error.detail}")
            continue
        if found:
            halt_deletion(actor, version.pk, found)
            continue
        try:
            destroy_version(actor=actor, version_id=version.pk)
        except WrongState:
            continue  # used, cancelled or confirmed since the list was read
        done += 1
    return done


def what_stands(version: KeyVersion) -> str:
    """What stands on a version that waits for its destruction and nobody gave up or accepted to lose, counted now.

    Nothing: empty. Raises StoreUnavailable and kin.
    """
    rotation = (
        Rotation.objects.filter(old_version=version, state=RotationState.DECOMMISSIONED.value)
        .select_related("new_version__key")
        .first()
    )
    decided = set_aside.given_up(rotation) if rotation else FailedItem.objects.none()
    new = rotation.new_version if rotation and rotation.new_version else version
    items = 0
    for store in DataStore.objects.filter(key_id=version.key_id):
        try:
            items += sum(set_aside.undecided(store, version, new, decided))
        except PortalError as error:
            DataStore.objects.filter(pk=store.pk).update(last_error=error.detail)
            raise PortalError(f"{store}: {error.detail}", hint=error.hint) from None
    if items > (version.deletion_accepted_items or 0):
        return f"{many(items, 'item')} in data stores"
    if version.deletion_accepted_items is not None:
        return ""
    if rotation is None:
        lost = consequences_of_destroying(version)
        said = [] if lost.harmless else lost.sentences()[:-1]
    else:  # a rotation leaves data keys of the version's own behind
        wrapped = rewrap.count(version.pk)
        said = [*([f"{many(wrapped, 'key')} under it."] if wrapped else []), *dependents_of(version).when_destroyed]
    return f"what needs it: {' '.join(said)}" if said else ""
