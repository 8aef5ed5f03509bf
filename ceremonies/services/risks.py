"""What remains after a share was lost or its custodian left: a new escrow key, or somebody's word that the risk is accepted."""

from uuid import UUID

from ceremonies.models import CustodyEntry, Share, ShareGeneration
from ceremonies.services.custody import visible_share
from ceremonies.services.scripts import officers_besides
from ceremonies.states import GenerationState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, ValidationFailed, WrongState

ACCEPT_RISK = "custody.accept_risk"
What = CustodyEntry.What


def open_risks(generation: ShareGeneration) -> dict[int, str]:
    """Shares (by primary key) that were lost or whose custodian leaves, unless that was accepted since; and which of the two."""
    found: dict[int, str] = {}
    rows = generation.log.filter(what__in=[What.LOST, What.LEAVING, What.ACCEPTED], share__isnull=False)
    for share_id, what in rows.order_by("at", "pk").values_list("share_id", "what"):
        found[share_id] = what
    return {share_id: what for share_id, what in found.items() if what != What.ACCEPTED}


def accept_risk(*, actor: Actor, share_id: int, reason: str, approval_id: UUID | None = None) -> Share:
    """Keep a set of which a share was lost or a custodian leaves, by agreement of other officers to this very share.

    Raises NotFound, PermissionRefused, ValidationFailed without a reason, WrongState where there is no such risk,
    ApprovalRequired.
    """
    with audit.atomic(actor=actor, action="custody.accept_risk", target=("share", share_id, "")) as record:
        visible_share(actor, share_id)
        share = Share.objects.select_for_update(of=("self",)).select_related("generation__ceremony").get(pk=share_id)
        generation, ring_id = share.generation, share.generation.ceremony.ring_id
        record.about(target=("share", share.pk, f"{generation}: share {share.index}"), ring_id=ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ring_id, target=str(share))
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why the risk can be borne."]})
        what = risk_of(share)
        params = {"share_id": share.pk, "reason": reason.strip()}
        if not (approval_id and approvals.is_executing(approval_id, ACCEPT_RISK, params)):
            request = approvals.require_or_request(
                actor, ACCEPT_RISK, params, groups=officers_besides(actor, ring_id), reason=reason
            )
            raise ApprovalRequired(request.pk, "The remaining risk waits for agreement.")
        CustodyEntry.objects.create(
            generation=generation, share=share, what=What.ACCEPTED, bag=share.bag, place=share.place,
            reason=f"{reason.strip()} (agreed to in {approval_id})"[:500], by=actor.label[:200],
        )  # fmt: skip
        record.record({"risk": what, "reason": reason.strip(), "approval": str(approval_id)})
    return share


def risk_of(share: Share) -> str:
    """Which risk of this share is open; raises WrongState."""
    what = open_risks(share.generation).get(share.pk)
    if what is None or share.generation.state != GenerationState.ACTIVE:
        raise WrongState(
            "Nothing about this share is to be accepted.", hint="Report it lost, or its custodian as leaving, first."
        )
    return str(what)
