"""Letting a data store go: its items leave the census, so whoever guards the end of its key must agree."""

from typing import Any
from uuid import UUID

from django.db.models import Sum
from django.utils import timezone

from keys.models import CensusCount, DataStore, FailedItem, Rotation
from keys.services.acts import need_agreement
from keys.services.deletion import many
from keys.states import RotationState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed

DEREGISTER = "store.deregister"
_AT_WORK = [
    RotationState.INTRODUCING.value, RotationState.RE_ENCRYPTING.value, RotationState.PAUSED.value, RotationState.FAILED.value,
]  # fmt: skip


def consequences(store: DataStore) -> list[str]:
    """What the portal no longer knows afterwards, the numbers first."""
    counts = CensusCount.objects.filter(store=store)
    standing = counts.filter(items__gt=0, version__isnull=False).select_related("version__key")
    said = [f"{row.items:,} items of {row.column} on {row.version} are no longer counted." for row in standing[:20]]
    unreadable = counts.filter(version=None).aggregate(total=Sum("items"))["total"] or 0
    if unreadable:
        verb = "is" if unreadable == 1 else "are"
        said.append(
            f"{many(unreadable, 'item')} that could not be read {verb} no longer in the way of a decommissioning."
        )
    return [
        *(said or ["The last census found nothing in it."]),
        "A version can be decommissioned although this store still needs it.",
        "Its data stays as it is; the portal forgets how to connect.",
    ]


def deregister_store(*, actor: Actor, store_id: UUID, reason: str = "", approval_id: UUID | None = None) -> DataStore:
    """Take a store out of census and rotations and erase its sealed connection; what was done in it stays on record.

    Raises NotFound, PermissionRefused, ValidationFailed (the portal's own values), Conflict (a rotation is at work),
    and ApprovalRequired where the policy of the key wants agreement to the end of a version.
    """
    with audit.atomic(actor=actor, action=DEREGISTER, target=("store", store_id, "")) as act:
        store = (
            DataStore.objects.select_for_update(of=("self",))
            .select_related("key__policy", "key__ring", "dsn")
            .filter(pk=store_id)
            .first()
        )
        if store is None:
            raise NotFound("There is no such data store.")
        act.about(target=("store", store.pk, store.name), ring_id=store.ring_id)
        authorize(actor, Permission.STORE_MANAGE, ring_id=store.ring_id, target=str(store))
        if store.kind == DataStore.Kind.SEALED_VALUES:
            raise ValidationFailed("The portal's own values stay registered: it could not open them any more.")
        running = Rotation.objects.filter(key_id=store.key_id, state__in=_AT_WORK).first()
        if running is not None:
            raise Conflict(
                f"{store.key} is being rotated.",
                hint="Let the rotation end or cancel it first, so that nothing is left half moved.",
                rotation=str(running.pk),
            )
        params = {"store_id": str(store.pk), "reason": reason}
        groups = store.key.policy.destroy_groups
        need_agreement(actor, store.key, DEREGISTER, params, groups=groups, approval_id=approval_id, reason=reason)
        left = _forget(store, actor)
        act.record(
            {"store": str(store.pk), "key": str(store.key_id), "reason": reason, "items_no_longer_counted": left}
        )
    return store


def _forget(store: DataStore, actor: Actor) -> list[dict[str, Any]]:
    now = timezone.now()
    counts = CensusCount.objects.filter(store=store)
    left = [
        {"column": column, "version": number, "items": items}
        for column, number, items in counts.order_by("pk").values_list("column", "version__key_version", "items")
    ]
    counts.delete()
    FailedItem.objects.filter(store=store, resolution=FailedItem.Resolution.OPEN).update(
        resolution=FailedItem.Resolution.GIVEN_UP, resolved_at=now, resolved_by=actor.label,
        resolution_note="The data store was deregistered.",
    )  # fmt: skip
    sealed, store.dsn = store.dsn, None
    store.deregistered_at, store.deregistered_by, store.last_error = now, actor.label, ""
    store.save(update_fields=["dsn", "deregistered_at", "deregistered_by", "last_error"])
    if sealed is not None:
        sealed.delete()
    return left
