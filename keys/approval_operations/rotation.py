"""Rotation acts that other people must agree to: starting one, and ending the old version."""

from typing import Any
from uuid import UUID

from keys.models import Key, Rotation
from keys.services import rotation as rotations
from keys.services.dependents import dependents_of
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.errors import NotFound


@operation("key.rotate", permission=Permission.KEY_ROTATE, title="Rotate a key")
class RotateKey:
    """Introduces a new version at once and moves what stands on the old one in the background."""

    def build_act(self, params: dict[str, Any]) -> Act:
        key = Key.objects.select_related("ring", "policy", "current").filter(pk=params["key_id"]).first()
        if key is None:
            raise NotFound("There is no such key.")
        current = key.current
        number = current.key_version if current else 0
        brought = key.versions.filter(pk=params["to_version_id"]).first() if "to_version_id" in params else None
        new = f"Version {brought.key_version}, which was made elsewhere," if brought else f"Version {number + 1}"
        state = f"{number} {current.status if current else ''}"
        if brought:
            state += f" {brought.key_version} {brought.status}"
        return Act(
            operation="key.rotate", params=params, target_type="key", target_id=str(key.pk), target_label=f"{key.ring.name}/{key.name}",
            target_version=state, ring_id=key.ring_id, policy_version=str(key.policy.version),
            consequences=[
                f"{new} protects everything from the first moment on; version {number} may only open.",
                "Workers move what stands on the old version; the census shows how far they are.",
                "The old version stays until its decommissioning is agreed to by itself.",
                *(dependents_of(current).when_rotated if current else ()),
            ],
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        found = rotations.request_rotation(
            actor=actor, key_id=UUID(params["key_id"]), reason=params["reason"], rate_limit=params["rate_limit"],
            version_id=params["version_id"], to_version_id=params.get("to_version_id"), approval_id=request_id,
        )  # fmt: skip
        return {"rotation": str(found.pk), "url": f"/keys/rotations/{found.pk}/"}


@operation("rotation.decommission", permission=Permission.KEY_DESTROY, title="Decommission an old key version")
class Decommission:
    """Starts the grace period after which the old version's material is destroyed."""

    def build_act(self, params: dict[str, Any]) -> Act:
        rows = Rotation.objects.select_related("key__ring", "key__policy", "old_version__key")
        found = rows.filter(pk=params["rotation_id"]).first()
        if found is None:
            raise NotFound("There is no such rotation.")
        key, version = found.key, found.old_version
        return Act(
            operation="rotation.decommission", params=params, target_type="rotation", target_id=str(found.pk),
            target_label=f"{key.ring.name}/{key.name} v{version.key_version}", target_version=f"{version.key_version} {version.status} {found.state}",
            ring_id=key.ring_id, policy_version=str(key.policy.version), consequences=rotations.consequences(found),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        found = rotations.request_decommission(
            actor=actor, rotation_id=UUID(params["rotation_id"]), reason=params["reason"], approval_id=request_id
        )
        return {"rotation": str(found.pk), "url": f"/keys/rotations/{found.pk}/"}
