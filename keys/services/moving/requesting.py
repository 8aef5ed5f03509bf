"""Asking for a move, and what it sets in motion: the new version at the new place, nothing else yet."""

from uuid import UUID

from django.utils import timezone

from keys.models import Key, KeyImport, KeyVersion, Move, ProviderIntent
from keys.services import materials, policies, versions
from keys.services.acts import act_on_key, need_agreement
from keys.services.moving import offers
from keys.services.moving.frame import send, target_of
from keys.services.providers import intents
from keys.services.rotation import starting
from keys.services.rotation.frame import check_rate
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, ValidationFailed

Act = ProviderIntent.Act


def request_move(
    *,
    actor: Actor,
    key_id: UUID,
    target: str,
    reason: str,
    with_material: bool = False,
    rate_limit: int | None = None,
    version_id: int | None = None,
    approval_id: UUID | None = None,
) -> Move:
    """Move a key to another provider, or put the move before those who guard the key most strictly.

    Its new version is made at `target`, with the material of the old one where that can go along and is wanted. The
    old version protects until the new one was read back and compared. Raises PermissionRefused, NotFound,
    ValidationFailed (no reason, a rate out of bounds, a place the key cannot go to), WrongState, Conflict (something is under way),
    ApprovalRequired.
    """
    with act_on_key(actor, Permission.KEY_MOVE, "key.move", key_id) as (key, act):
        policy = key.policy
        policies.require_role(actor, key, policy.destroy_roles, "move")
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        check_rate(rate_limit)
        policies.require_algorithm(key.algorithm, policies.values_of(policy))
        current = offers.movable(key)
        if version_id is not None and current.pk != version_id:
            raise Conflict(f"{key} has been rotated meanwhile: version {current.key_version} is active.")
        starting.refuse_second(key)
        if open_move := Move.objects.filter(key=key, ended_at=None).first():
            raise Conflict(f"{key} is being moved already.", hint="Finish or undo that first.", move=str(open_move.pk))
        if KeyImport.objects.filter(key=key, finished_at=None).exists():
            raise Conflict(f"An import of {key} is open.", hint="Finish or abort it first; the key's page shows it.")
        if with_material and not offers.offer_of(key, current, target).with_material:
            raise ValidationFailed(errors={"with_material": ["The material cannot go along to this place."]})
        offers.offer_of(key, current, target)
        params = {
            "key_id": str(key.pk), "version_id": current.pk, "target": target, "with_material": with_material,
            "rate_limit": rate_limit, "reason": reason.strip(),
        }  # fmt: skip
        groups = policies.strictest_groups(policies.values_of(policy))
        need_agreement(actor, key, "key.move", params, groups=groups, approval_id=approval_id, reason=reason)
        current.key = key
        move = _start(actor, key, current, target, with_material, reason.strip(), rate_limit, approval_id)
        details = {
            "move": str(move.pk), "from": current.provider, "to": target, "version": current.key_version,
            "new_version": move.new_version.key_version, "with_material": with_material, "reason": move.reason,
            "approval": str(approval_id) if approval_id else None,
        }  # fmt: skip
        act.record(details, target=target_of(move))
        act.record(details)
    return move


def _start(
    actor: Actor,
    key: Key,
    current: KeyVersion,
    target: str,
    with_material: bool,
    reason: str,
    rate_limit: int | None,
    approval_id: UUID | None,
) -> Move:
    version = versions.new_version(key, place=target, imported=with_material)
    version.moved_from = current
    version.save(update_fields=["moved_from"])
    if with_material:
        # One way only, and before anything leaves: from now on the material is not at its first place alone.
        current.never_extractable, current.exported_at = False, current.exported_at or timezone.now()
        current.save(update_fields=["never_extractable", "exported_at"])
    move = Move.objects.create(
        key=key, source=current.provider, target=target, with_material=with_material, old_version=current,
        new_version=version, reason=reason, rate_limit=rate_limit, approval_id=approval_id, requested_by=actor.label[:200],
    )  # fmt: skip
    if not versions.is_made(version):
        secret = materials.material(current) if with_material else None
        intents.write(version, Act.IMPORT if with_material else Act.CREATE, actor, secret=secret, activate=False)
    send(move.pk)
    return move
