"""The act on a data store that other people must agree to: letting it go."""

from typing import Any
from uuid import UUID

from keys.models import DataStore
from keys.services import store_removal
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.errors import NotFound


@operation(store_removal.DEREGISTER, permission=Permission.STORE_MANAGE, title="Deregister a data store")
class DeregisterStore:
    """Takes the store out of census and rotations."""

    def build_act(self, params: dict[str, Any]) -> Act:
        rows = DataStore.objects.select_related("key__policy", "key__current")
        store = rows.filter(pk=params["store_id"]).first()
        if store is None:
            raise NotFound("There is no such data store.")
        current = store.key.current
        return Act(
            operation=store_removal.DEREGISTER, params=params, target_type="store", target_id=str(store.pk), target_label=str(store),
            target_version=f"{store.schema_name}.{store.table_name} {','.join(store.columns)} {store.key_id} {current.key_version if current else 0}",
            ring_id=store.ring_id, policy_version=str(store.key.policy.version), consequences=store_removal.consequences(store),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        store = store_removal.deregister_store(
            actor=actor, store_id=UUID(params["store_id"]), reason=params["reason"], approval_id=request_id
        )
        return {"store": str(store.pk)}
