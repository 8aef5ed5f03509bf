"""Lifecycle acts that other people must agree to: the end of a version, and a policy that guards less."""

from typing import Any
from uuid import UUID

from keys.models import Key, KeyVersion
from keys.services import lifecycle, policies, policy_words
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.errors import NotFound


@operation("key.destroy", permission=Permission.KEY_DESTROY, title="Destroy a key version")
class DestroyVersion:
    """Starts the grace period of one version; it is destroyed when that is over and nobody used it."""

    def build_act(self, params: dict[str, Any]) -> Act:
        version = KeyVersion.objects.select_related("key__ring", "key__policy").filter(pk=params["version_id"]).first()
        if version is None:
            raise NotFound("There is no such key version.")
        key = version.key
        return Act(
            operation="key.destroy",
            params=params,
            target_type="key",
            target_id=str(key.pk),
            target_label=f"{key.ring.name}/{key.name} v{version.key_version}",
            target_version=f"{version.key_version} {version.status} {version.deletion_due_at or ''}".strip(),
            ring_id=key.ring_id,
            policy_version=str(key.policy.version),
            consequences=[
                *lifecycle.consequences(version),
                f"Destroyed {params['grace_days']} days after agreement unless it is used.",
            ],
        )

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        version = lifecycle.schedule_deletion(actor=actor, **params, approval_id=request_id)
        return {
            "version": version.key_version,
            "due_at": version.deletion_due_at.isoformat() if version.deletion_due_at else None,
        }


@operation("key.update_policy", permission=Permission.KEY_EDIT, title="Weaken the policy of a key")
class UpdatePolicy:
    """Changes a policy so that it guards its key less in some way."""

    def build_act(self, params: dict[str, Any]) -> Act:
        key = Key.objects.select_related("ring", "policy").filter(pk=params["key_id"]).first()
        if key is None:
            raise NotFound("There is no such key.")
        old = policies.values_of(key.policy)
        new = policies.changed(old, params["changes"])
        return Act(
            operation="key.update_policy",
            params=params,
            target_type="key",
            target_id=str(key.pk),
            target_label=f"{key.ring.name}/{key.name}",
            target_version=str(key.policy.version),
            ring_id=key.ring_id,
            policy_version=str(key.policy.version),
            consequences=policy_words.weakening(old, new),
        )

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        policy = lifecycle.update_policy(
            actor=actor, key_id=UUID(params["key_id"]), changes=params["changes"], approval_id=request_id
        )
        return {"policy_version": policy.version}
