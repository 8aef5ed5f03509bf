"""The act of renewal that other people must agree to."""

from typing import Any
from uuid import UUID

from certificates.models import ManagedCertificate
from certificates.renewal import deploying
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.errors import NotFound


@operation(deploying.DEPLOY_KEY, permission=Permission.KEY_EXPORT, title="Put a private key into a file")
class DeployKey:
    """A place on this machine gets the private key of a managed certificate, now and at every renewal."""

    def build_act(self, params: dict[str, Any]) -> Act:
        rows = ManagedCertificate.objects.select_related("ring", "key")
        row = rows.filter(pk=params["managed_id"]).first()
        if row is None:
            raise NotFound("There is no such managed certificate.")
        return Act(
            operation=deploying.DEPLOY_KEY, params=params, target_type="managed_certificate", target_id=str(row.pk),
            target_label=f"{row.ring.name}/{row}", target_version=f"{row.key_id} {row.key.exportable}", ring_id=row.ring_id,
            policy_version=POLICY_VERSION, consequences=deploying.consequences(row, params["place"]),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        values = {name: params[name] for name in ("kind", "place", "namespace", "secret_name", "reason")}
        hook = deploying.add_hook(
            actor=actor, managed_id=UUID(params["managed_id"]), with_key=True, approval_id=request_id, **values
        )
        return {"hook": str(hook.pk), "url": f"/certificates/renewals/{hook.managed_id}/"}
