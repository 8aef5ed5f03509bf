"""How a ceremony ends: aborted with the old state proven intact, closed, or with a key destroyed or a page visited."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.script import Action, Kind
from ceremonies.services.dealing import end_generation
from ceremonies.services.frame import Scene, in_room, move
from ceremonies.services.work import erase, perform, planner_of
from ceremonies.states import BEFORE_COMMIT, CeremonyState, GenerationState
from keys.models import KeyVersion
from keys.services import lifecycle
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.approvals.registry import digest
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import ApprovalRequired, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

ROLL_CALL_DAYS = 90  # quarterly, as practitioners do
ENDABLE = (VersionState.DECRYPT_ONLY, VersionState.SUSPENDED, VersionState.COMPROMISED)


def standing(ceremony: Ceremony) -> dict[str, Any]:
    """How the key and its escrow stand now: what an aborted ceremony has to leave as it was."""
    versions = KeyVersion.objects.filter(key=ceremony.key).order_by("key_version") if ceremony.key_id else []
    sets = (
        ShareGeneration.objects.filter(key=ceremony.key, practice=ceremony.practice)
        .exclude(ceremony=ceremony)
        .order_by("number")
    )
    return {
        "versions": [[version.key_version, version.status, version.kms_key_arn] for version in versions],
        "sets": [[found.number, found.state, found.set_id, found.package_sha256] for found in sets],
    }  # fmt: skip


def abort(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """End the ceremony without effect, at any step before the commit; anybody in the room may. The process forgets everything."""
    with in_room(actor, ceremony_id, "abort", states=BEFORE_COMMIT, any_clock=True) as scene:
        end_without_effect(scene.ceremony, by=scene.me.name, reason=reason, record=scene.record)


def end_without_effect(ceremony: Ceremony, *, by: str, reason: str, record: audit.atomic) -> None:
    """The abort itself: the old state is read again and compared with what it was when the room was opened; the caller locked the row."""
    if not reason.strip():
        raise ValidationFailed(errors={"reason": ["Say why."]})
    dealt = ShareGeneration.objects.filter(ceremony=ceremony, state=GenerationState.DEALING.value).first()
    if dealt is not None:
        end_generation(dealt, "The ceremony was aborted.", by=by)
    move(ceremony, CeremonyState.ABORTED)
    ceremony.aborted_by, ceremony.abort_reason, ceremony.ended_at = by[:200], reason.strip(), timezone.now()
    ceremony.busy_at, ceremony.version, ceremony.process = None, ceremony.version + 1, {}
    now = standing(ceremony)
    before = ceremony.before or now
    ceremony.result = {"before": digest(dumps(before)), "after": digest(dumps(now)), "intact": before == now}
    ceremony.save()
    record.record({"reason": reason.strip(), "step": ceremony.step + 1, **ceremony.result})
    transaction.on_commit(lambda: erase(ceremony.pk), robust=True)
    sign_minutes_of(ceremony)


def sign_minutes_of(ceremony: Ceremony) -> None:
    """Let a worker sign the minutes once the end is durable, when the plan names a key for it."""
    from ceremonies.tasks import sign_minutes

    if ceremony.minutes_key_id is not None and ceremony.opened_at is not None:
        enqueue_on_commit(sign_minutes, str(ceremony.pk))


def after_close(scene: Scene) -> None:
    """What follows the last attestation: the next date is set, and the end is on the record."""
    ceremony = scene.ceremony
    if ceremony.kind in {Kind.ESCROW.value, Kind.REFRESH.value, Kind.ROLL_CALL.value} and not ceremony.practice:
        ceremony.next_due_at = scene.now + timedelta(days=ROLL_CALL_DAYS)
    declined = list(ceremony.participants.filter(attests=False).values_list("name", flat=True))
    scene.record.record({
        "script_hash": ceremony.script_hash, "deviations": ceremony.deviations.count(), "declined": declined, "result": ceremony.result,
        "next_due_at": ceremony.next_due_at.isoformat() if ceremony.next_due_at else None,
    }, action="ceremony.close")  # fmt: skip
    sign_minutes_of(ceremony)


def destroy_key(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """End every version of the key with the planner's rights: a version in use is suspended, then its grace period begins.

    Where the key's own policy asks for agreement, the request is made and named in the result.
    """

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        if ceremony.practice:
            return {"versions": []}
        planner = planner_of(ceremony)
        found = []
        for version in (
            KeyVersion.objects.filter(key=ceremony.key)
            .exclude(status=VersionState.DESTROYED.value)
            .order_by("key_version")
        ):
            found.append(_end(planner, version, f"Destruction ceremony: {ceremony.title}"))
        return {"versions": found}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        scene.ceremony.result = {"destroyed": found["versions"]}
        key = scene.ceremony.key
        if key is not None and not scene.ceremony.practice:
            for generation in ShareGeneration.objects.select_for_update().filter(
                key=key, state=GenerationState.ACTIVE.value, practice=False
            ):
                end_generation(generation, f"The key is destroyed: {scene.ceremony.title}"[:200], by=scene.me.name)
        return dict(scene.ceremony.result)

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.DESTROY,
        roles=(RoomRole.OPERATOR,),
        effect=effect,
        result=result,
    )


def visited(*, actor: Actor, ceremony_id: UUID, step: int, outcome: str) -> None:
    """Say what came of the act that was done on another page of the portal."""
    if not outcome.strip():
        raise ValidationFailed(errors={"outcome": ["Say what came of it."]})

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        scene.ceremony.result = {"outcome": outcome.strip()[:2000]}
        return dict(scene.ceremony.result)

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.VISIT,
        roles=(RoomRole.OPERATOR,),
        effect=lambda _: {},
        result=result,
    )


def _end(planner: Actor, version: KeyVersion, reason: str) -> dict[str, Any]:
    said: dict[str, Any] = {"version": version.key_version}
    try:
        if version.status == VersionState.ACTIVE:
            lifecycle.suspend_version(actor=planner, version_id=version.pk, reason=reason)
        elif version.state not in ENDABLE:
            return said | {"state": version.status}
        ended = lifecycle.schedule_deletion(actor=planner, version_id=version.pk, accept_loss=True, reason=reason)
    except ApprovalRequired as waiting:
        return said | {"state": "awaiting_approval", "approval": str(waiting.request_id)}
    return said | {
        "state": ended.status,
        "due_at": ended.deletion_due_at.isoformat() if ended.deletion_due_at else None,
    }
