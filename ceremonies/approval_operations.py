"""What others must agree to: holding a ceremony with exactly this script and these people, and a script of one's own."""

from typing import Any
from uuid import UUID

from django.urls import reverse

from ceremonies.models import Ceremony, CustodyEntry, ScriptTemplate, Share
from ceremonies.planning import RoomRole, Verdict
from ceremonies.services import custody, plans, risks, scripts, subjects, verdicts
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals.registry import Act, digest, operation
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import NotFound


@operation(plans.OPEN_ROOM, permission=Permission.CEREMONY_MANAGE, title="Hold a ceremony")
class OpenRoom:
    """Params: ceremony_id. Bound are the script's hash, the key, the numbers, the policy and every person with their role."""

    def build_act(self, params: dict[str, Any]) -> Act:
        ceremony = Ceremony.objects.select_related("key__ring").filter(pk=params["ceremony_id"]).first()
        if ceremony is None:
            raise NotFound("There is no such ceremony.")
        plan = plans.plan_digest(ceremony)
        found = verdicts.verdict(ceremony)
        said = [f"Script: {ceremony.script_label}, SHA-256 {ceremony.script_hash}."]
        if ceremony.key is not None:
            said.append(f"Key: {ceremony.key.ring.name}/{ceremony.key.name}.")
        if ceremony.threshold:
            said.append(f"Shares: {ceremony.quorum.words} open it; {_reach(found)}")
        if ceremony.with_passphrase:
            said.append("A passphrase is wanted beside the shares.")
        said += [f"{name}: {value}." for name, value in subjects.described(ceremony)]
        if ceremony.provider:
            said.append(f"The recovered key goes to the provider {ceremony.provider}.")
        for role in RoomRole:
            names = [seat.name for seat in ceremony.participants.all() if seat.role == role.value]
            if names:
                said.append(f"{role.value.replace('_', ' ').capitalize()}: {', '.join(names)}.")
        return Act(
            operation=plans.OPEN_ROOM, params=params, target_type="ceremony", target_id=str(ceremony.pk), target_label=str(ceremony),
            target_version=digest(dumps(plan)), ring_id=ceremony.ring_id, policy_version=ceremony.script_hash, consequences=said,
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        ceremony = plans.open_room(actor=actor, ceremony_id=UUID(params["ceremony_id"]), approval_id=request_id)
        return {"url": reverse("ceremonies:detail", args=[ceremony.pk])}


@operation(scripts.APPROVE_SCRIPT, permission=Permission.CEREMONY_MANAGE, title="Use an own ceremony script")
class ApproveScript:
    """Params: script_id. Bound is the hash of the script's canonical form."""

    def build_act(self, params: dict[str, Any]) -> Act:
        row = ScriptTemplate.objects.filter(pk=params["script_id"]).first()
        if row is None:
            raise NotFound("There is no such script.")
        script = scripts.read_script(row.text)
        said = [f"{number}. {step.title}: {step.text}" for number, step in enumerate(script.steps, 1)]
        return Act(
            operation=scripts.APPROVE_SCRIPT, params=params, target_type="script", target_id=str(row.pk), target_label=str(row),
            target_version=script.sha256, ring_id=None, policy_version=script.sha256, consequences=said,
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        scripts.approve_script(actor=actor, script_id=UUID(params["script_id"]), approval_id=request_id)
        return {"url": reverse("ceremonies:script-list")}


@operation(risks.ACCEPT_RISK, permission=Permission.CEREMONY_MANAGE, title="Accept the risk of a lost share")
class AcceptRisk:
    """Params: share_id, reason. Bound are the set, the share's custodian and what happened to it, and the quorum that is left."""

    def build_act(self, params: dict[str, Any]) -> Act:
        share = (
            Share.objects.select_related("generation__ceremony", "generation__key")
            .filter(pk=params["share_id"])
            .first()
        )
        if share is None:
            raise NotFound("There is no such share.")
        generation, what = share.generation, risks.risk_of(share)
        said = [
            f"{share.custodian}: {CustodyEntry.What(what).label.lower()}.",
            "The words of this share stay valid for as long as the set is in force; only a refresh with a new escrow key ends that.",
            f"The set stands at: {custody.health_of(generation).words}.",
        ]
        return Act(
            operation=risks.ACCEPT_RISK, params=params, target_type="share", target_id=str(share.pk),
            target_label=f"{generation}: share {share.index}", target_version=f"{generation.pk} {generation.state} {share.state} {what}",
            ring_id=generation.ceremony.ring_id, policy_version=generation.ceremony.script_hash, consequences=said,
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        share = risks.accept_risk(
            actor=actor, share_id=params["share_id"], reason=params["reason"], approval_id=request_id
        )
        return {"url": reverse("ceremonies:share-detail", args=[share.pk])}


def _reach(found: Verdict) -> str:
    return f"the fewest people who could reach it are {found.reach.size}." if found.reach else "nobody could reach it."
