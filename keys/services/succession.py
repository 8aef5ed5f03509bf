"""A recovered key takes the place of the lost one: what the old version wrapped is opened with the new one from now on."""

from uuid import UUID

from django.db import transaction

from keys.models import DataKey, Key, KeyVersion
from keys.services import materials
from keys.services.acts import act_on_key
from keys.services.materials import CHAIN, data_key_context, version_context
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, DecryptRefused, NotFound, WrongState


def take_place(*, actor: Actor, lost_version_id: int, version_id: int) -> int:
    """Put version `version_id` where `lost_version_id` stood in the hierarchy; returns how many wrapped keys moved.

    The two must be the same material: everything the lost version wrapped is opened with the new one first, and nothing moves
    unless all of it opens. Call it outside a transaction, since a provider is asked. Raises PermissionRefused, NotFound,
    WrongState (the new one is not in use yet), Conflict (another key, or a provider that seals in a form of its own).
    """
    new, lost = _version(version_id), _version(lost_version_id)
    authorize(actor, Permission.KEY_ROTATE, ring_id=new.key.ring_id, target=f"key {new.key.name}")
    if new.state is not VersionState.ACTIVE:
        raise WrongState(f"{new} is {new.status}.", hint="Wait until its provider has finished the import.")
    if (new.key.algorithm, new.key.kind) != (lost.key.algorithm, lost.key.kind):
        raise Conflict("The two keys are of different kinds.")
    versions = {row.pk: bytes(row.wrapped_material or b"") for row in lost.wraps.exclude(wrapped_material=None)}
    data_keys = {row.pk: bytes(row.wrapped) for row in DataKey.objects.filter(wrapped_by=lost)}
    _all_open(new, versions, data_keys)
    with act_on_key(actor, Permission.KEY_ROTATE, "key.take_place", new.key_id) as (key, act):
        with transaction.atomic():
            moved = KeyVersion.objects.filter(pk__in=versions, wrapped_by=lost).update(wrapped_by=new)
            moved += DataKey.objects.filter(pk__in=data_keys, wrapped_by=lost).update(wrapped_by=new)
            children = Key.objects.filter(parent=lost.key).update(parent=key)
        act.record({
            "version": new.key_version, "lost_key": str(lost.key_id), "lost_version": lost.key_version, "wrapped_keys": moved, "children": children,
        })  # fmt: skip
    materials.forget()
    return moved


def _all_open(new: KeyVersion, versions: dict[int, bytes], data_keys: dict[UUID, bytes]) -> None:
    try:
        for version in KeyVersion.objects.filter(pk__in=versions):
            materials.unwrap_under(new, versions[version.pk], context=version_context(version)).wipe()
        for identifier, wrapped in data_keys.items():
            materials.unwrap_under(new, wrapped, context=data_key_context(identifier)).wipe()
    except DecryptRefused:
        raise Conflict(
            "What the lost key wrapped does not open with this one.",
            hint="It is another key, or its provider seals in a form of its own: import the key where the portal's own form is kept.",
        ) from None


def _version(version_id: int) -> KeyVersion:
    found = KeyVersion.objects.select_related(*CHAIN).filter(pk=version_id).first()
    if found is None:
        raise NotFound("There is no such version.")
    return found
