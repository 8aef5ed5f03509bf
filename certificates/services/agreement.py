"""Acts of authorities that others must agree to: two security officers, or as many as there are besides whoever asks."""

from typing import Any
from uuid import UUID

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.eligibility import eligible_people
from keyvault_portal.approvals.quorum import Group

POLICY_VERSION = "1"
OFFICERS_WHO_AGREE = 2


def needed_on(actor: Actor, ring_id: UUID | None) -> int:
    """How many officers must agree to what this actor asks for; none while there is no other officer."""
    group = Group(Role.SECURITY_OFFICER.value, OFFICERS_WHO_AGREE, ring_id)
    return min(OFFICERS_WHO_AGREE, len(eligible_people([group], besides=actor.id)))


def need_officers(
    actor: Actor, operation: str, params: dict[str, Any], *, ring_id: UUID | None, reason: str, approval_id: UUID | None
) -> None:
    """Return if this very act was agreed to or there is nobody to ask; raise ApprovalRequired otherwise."""
    if approval_id is not None and approvals.is_executing(approval_id, operation, params):
        return
    if not (threshold := needed_on(actor, ring_id)):
        return
    rule = {"role": Role.SECURITY_OFFICER.value, "threshold": threshold, "ring_id": str(ring_id) if ring_id else None}
    approvals.require(actor=actor, operation=operation, params=params, groups=[rule], reason=reason)
