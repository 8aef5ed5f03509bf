"""How a ceremony ends: aborted with the old state proven intact, closed, or with a key destroyed or a page visited."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.script import Action, Kind
from ceremonies.services import bringing
from ceremonies.services.dealing import end_generation
from ceremonies.services.frame import Scene, in_room, move
from ceremonies.services.work import Asked, Deed, erase, planner_of
from ceremonies.states import BEFORE_COMMIT, CeremonyState, GenerationState
from keys.models import KeyVersion, RootSeal
from keys.services import lifecycle
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.approvals.registry import digest
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.canonical import dumps
from keyvault_portal.errors import ApprovalRequired, ValidationFailed
from keyvault_portal.jobs import enqueue_on_commit

ROLL_CALL_DAYS = 90  # quarterly, as practitioners do
_SHARES_PROVED = frozenset({Kind.ESCROW, Kind.REFRESH, Kind.REKEY, Kind.ROLL_CALL})  # a roll-call is the next date
_CLOCK = system_actor("ceremony schedule")
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
    bringing.give_up(ceremony, reason.strip())
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
    if Kind(ceremony.kind) in _SHARES_PROVED and not ceremony.practice:
        ceremony.next_due_at = scene.now + timedelta(days=ROLL_CALL_DAYS)
    declined = list(ceremony.participants.filter(attests=False).values_list("name", flat=True))
    scene.record.record({
        "script_hash": ceremony.script_hash, "deviations": ceremony.deviations.count(), "declined": declined, "result": ceremony.result,
        "next_due_at": ceremony.next_due_at.isoformat() if ceremony.next_due_at else None,
    }, action="ceremony.close")  # fmt: skip
    sign_minutes_of(ceremony)


def _destroy(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    if ceremony.practice:
        return {"versions": []}
    planner = planner_of(ceremony)
    versions = KeyVersion.objects.filter(key=ceremony.key).exclude(status=VersionState.DESTROYED.value)
    reason = f"Destruction ceremony: {ceremony.title}"
    return {"versions": [_end(planner, version, reason) for version in versions.order_by("key_version")]}


def _destroyed(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = {"destroyed": found["versions"]}
    return dict(scene.ceremony.result)


destroy_key = Deed(Action.DESTROY, RoomRole.OPERATOR, _destroyed, _destroy)
"""End every version of the key with the planner's rights: a version in use is suspended, then its grace period begins.

Where the key's own policy asks for agreement, the request is made and named in the result. Its shares stay in force for as long
as somebody may still change their mind: `end_sets_of_destroyed_keys` ends them once nothing is left to recover.
"""


def end_sets_of_what_is_gone() -> int:
    """End every set of shares whose key has no version left, or whose seal of the portal is retired; how many.

    Custodians are then due to destroy their cards.
    """
    active = ShareGeneration.objects.filter(state=GenerationState.ACTIVE.value, practice=False)
    alive = KeyVersion.objects.filter(key=OuterRef("key")).exclude(status=VersionState.DESTROYED.value)
    retired = RootSeal.objects.filter(pk=OuterRef("seal_id"), retired_at__isnull=False)
    gone = [
        (active.filter(key__isnull=False).exclude(Exists(alive)), "The key is destroyed."),
        (active.filter(Exists(retired)), "The seal is retired."),
    ]
    return sum(_end_set(set_id, why) for sets, why in gone for set_id in sets.values_list("pk", flat=True))


def _end_set(set_id: UUID, why: str) -> bool:
    with audit.atomic(actor=_CLOCK, action="custody.end_set", target=("share_set", set_id, "")) as record:
        found = ShareGeneration.objects.select_for_update(of=("self",)).select_related("ceremony").get(pk=set_id)
        if found.state != GenerationState.ACTIVE:
            return False
        end_generation(found, why, by=_CLOCK.label)
        record.about(target=("share_set", found.pk, str(found)), ring_id=found.ceremony.ring_id)
        record.record({"why": why, "key": str(found.key_id) if found.key_id else None})
    return True


def _need_outcome(values: Mapping[str, Any]) -> None:
    if not values["outcome"].strip():
        raise ValidationFailed(errors={"outcome": ["Say what came of it."]})


def _visited(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = {"outcome": found["outcome"].strip()[:2000]}
    return dict(scene.ceremony.result)


visited = Deed(Action.VISIT, RoomRole.OPERATOR, _visited, check=_need_outcome)
"""Say what came of the act that was done on another page of the portal."""


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
