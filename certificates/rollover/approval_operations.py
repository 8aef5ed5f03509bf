"""The act of a rollover that other people must agree to."""

from typing import Any
from uuid import UUID

from certificates.models import Rollover
from certificates.rollover import steps
from certificates.rollover.states import RolloverState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, operation
from keyvault_portal.approvals.services import POLICY_VERSION
from keyvault_portal.errors import NotFound


@operation(steps.STEP, permission=Permission.AUTHORITY_MANAGE, title="Take a step of a rollover")
class TakeStep:
    """Params: rollover_id, to, reason, force. The gate is looked at again when it is performed."""

    def build_act(self, params: dict[str, Any]) -> Act:
        related = ("ring", "old__certificate", "new__certificate")
        row = Rollover.objects.select_related(*related).filter(pk=params["rollover_id"]).first()
        if row is None:
            raise NotFound("There is no such rollover.")
        to = RolloverState(params["to"])
        return Act(
            operation=steps.STEP, params=params, target_type="rollover", target_id=str(row.pk),
            target_label=f"{row.ring.name}/{row}: {steps.words(to)}",
            target_version=row.state, ring_id=row.ring_id, policy_version=POLICY_VERSION, consequences=steps.consequences(row, to),
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        row = steps.take_step(
            actor=actor, rollover_id=UUID(params["rollover_id"]), to=params["to"], reason=params["reason"], force=params["force"],
            approval_id=request_id,
        )  # fmt: skip
        return {"state": row.state, "url": f"/certificates/rollovers/{row.pk}/"}
