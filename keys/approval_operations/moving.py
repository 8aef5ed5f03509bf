"""The act on a key's place that other people must agree to: moving it."""

from typing import Any
from uuid import UUID

from keys.models import Key
from keys.services import moving
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.errors import NotFound


@operation("key.move", permission=Permission.KEY_MOVE, title="Move a key to another provider")
class MoveKey:
    """Makes a new version at another place and brings everything over that stands on the old one."""

    def build_act(self, params: dict[str, Any]) -> Act:
        key = Key.objects.select_related("ring", "policy").filter(pk=params["key_id"]).first()
        if key is None:
            raise NotFound("There is no such key.")
        version = moving.movable(key)
        return Act(
            operation="key.move", params=params, target_type="key", target_id=str(key.pk), target_label=f"{key.ring.name}/{key.name}",
            target_version=f"{version.key_version} {version.status} {version.provider}", ring_id=key.ring_id,
            policy_version=str(key.policy.version),
            consequences=moving.consequences(key, version, params["target"], with_material=params["with_material"]),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        values = params | {"key_id": UUID(params["key_id"])}
        found = moving.request_move(actor=actor, **values, approval_id=request_id)
        return {"move": str(found.pk), "url": f"/keys/moves/{found.pk}/"}
