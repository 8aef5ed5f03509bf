"""Planning a ceremony: what, who, where and when; the solver's verdict; and opening the room by agreement."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from ceremonies.models import Ceremony, Participant, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.quorums import MAX_EXPONENT, Quorum
from ceremonies.room_errors import NotInTheRoom, PlanImpossible, RehearsalNeeded
from ceremonies.services import choices
from ceremonies.services.endings import end_without_effect, standing
from ceremonies.services.frame import locked, move, need_state, target_of
from ceremonies.services.invitations import tell_people
from ceremonies.services.minutes import unfit_for_minutes
from ceremonies.services.room import DEALING
from ceremonies.services.scripts import find_script, known_person, officers_besides
from ceremonies.services.verdicts import USES_SHARES, verdict
from ceremonies.states import BEFORE_COMMIT, PLANNING, CeremonyState, ShareState
from keys.models import Key
from keys.services import key_views
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, Conflict, ValidationFailed

OPEN_ROOM = "ceremony.open"
POLICY = {
    "allow_all": False, "distinct_sites": False, "distinct_lines": False, "rehearsed_within_days": 0, "signed_agreement": False,
}  # fmt: skip


def visible_ceremonies(actor: Actor) -> QuerySet[Ceremony]:
    """The ceremonies on rings where the actor may see them, and those in which they have a seat."""
    rings = actor.ring_ids(Permission.CEREMONY_VIEW)
    if rings is None:
        return Ceremony.objects.all()
    seen = Q(ring_id__in=rings)
    if actor.kind == "person" and actor.id:
        seen |= Q(pk__in=Participant.objects.filter(person_id=actor.id).values("ceremony_id"))
    return Ceremony.objects.filter(seen)


def visible_ceremony(actor: Actor, ceremony_id: UUID) -> Ceremony:
    """One of them; raises NotInTheRoom."""
    found = visible_ceremonies(actor).filter(pk=ceremony_id).first()
    if found is None:
        raise NotInTheRoom
    return found


def plan_ceremony(
    *,
    actor: Actor,
    title: str,
    script: str,
    purpose: str,
    key: Key | None,
    place: str,
    time_zone: str,
    starts_at: datetime,
    reserve_at: datetime | None = None,
    threshold: int = 0,
    share_count: int = 0,
    groups: Quorum | None = None,
    with_passphrase: bool = False,
    iteration_exponent: int = 1,
    practice: bool = False,
    provider: str = "",
    policy: dict[str, Any] | None = None,
    minutes_key: Key | None = None,
) -> Ceremony:
    """Write a plan down; people follow. Raises PermissionRefused, ValidationFailed, NotFound.

    Recovery, roll-call and the issuing again of a share take the set that is in force for the key (a rehearsal: the last
    practised one; a roll-call without a key: the seal of the portal) and seat its custodians. Without `groups` any `threshold` of
    `share_count` shares open the escrow. Components are as many as `share_count`, and all are needed.
    """
    ring_id = key.ring_id if key else None
    with audit.atomic(actor=actor, action="ceremony.plan", target=("ceremony", "", title), ring_id=ring_id) as record:
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ring_id, target=f"ceremony {title}")
        chosen = find_script(script)
        wanted = chosen.kind
        errors = choices.wrong_values(
            title=title, purpose=purpose, place=place, time_zone=time_zone, starts_at=starts_at, reserve_at=reserve_at
        )
        source = choices.source_for(chosen, key, practice)
        errors |= choices.wrong_subject(chosen, key, source, practice=practice, provider=provider)
        quorum = choices.quorum_chosen(chosen, source, groups, threshold, share_count, errors)
        if not 0 <= iteration_exponent <= MAX_EXPONENT:
            errors["iteration_exponent"] = [f"From 0 to {MAX_EXPONENT}."]
        if minutes_key is not None and (why := unfit_for_minutes(actor, minutes_key)):
            errors["minutes_key"] = [why]
        if errors:
            raise ValidationFailed("The ceremony cannot be planned.", errors=errors)
        deals = wanted in DEALING
        ceremony = Ceremony.objects.create(
            title=title.strip(), kind=wanted.value, purpose=purpose.strip(), practice=practice, key=key, ring_id=ring_id,
            script=chosen.canonical(), script_hash=chosen.sha256, script_label=f"{chosen.title}, {chosen.name} version {chosen.version}",
            threshold=quorum.fewest, share_count=quorum.count, groups=quorum.as_json() if quorum.named else [], groups_needed=quorum.needed,
            with_passphrase=with_passphrase and deals, iteration_exponent=iteration_exponent if deals else 1,
            policy=POLICY | (policy or {}), provider=provider, place=place.strip(),
            time_zone=time_zone, starts_at=starts_at, reserve_at=reserve_at, planned_by_id=actor.id or UUID(int=0),
            planned_by=actor.label[:200], source=source, minutes_key=minutes_key,
        )  # fmt: skip
        if minutes_key is not None:
            key_views.forget_now_and_on_commit()
        if source is not None and wanted in USES_SHARES:
            _seat_custodians(ceremony, source)
        record.about(target=target_of(ceremony))
        record.record({
            "kind": ceremony.kind, "script_hash": ceremony.script_hash, "key": str(key.pk) if key else None, "practice": practice,
            "threshold": ceremony.threshold, "shares": ceremony.share_count, "groups": ceremony.groups, "passphrase": ceremony.with_passphrase,
            "policy": ceremony.policy, "provider": provider, "minutes_key": str(minutes_key.pk) if minutes_key else None,
        })  # fmt: skip
    return ceremony


def add_person(
    *,
    actor: Actor,
    ceremony_id: UUID,
    role: str,
    email: str,
    name: str = "",
    site: str = "",
    reporting_line: str = "",
    deputy_for: UUID | None = None,
    group: str = "",
) -> Participant:
    """Seat somebody: a person of the portal when the address is known here, a guest otherwise. Raises ValidationFailed, WrongState.

    `group` names the group of a share holder, where the plan has several.
    """
    with _planning(actor, ceremony_id, "add_person") as (ceremony, record):
        person = known_person(email)
        if role not in set(RoomRole):
            raise ValidationFailed(errors={"role": ["Not a role in a ceremony."]})
        if person is None and not name.strip():
            raise ValidationFailed(errors={"name": ["Nobody here has this address: give the guest's name."]})
        principal = None
        if role == RoomRole.DEPUTY:
            principal = (
                ceremony.participants.filter(pk=deputy_for or UUID(int=0)).exclude(role=RoomRole.DEPUTY.value).first()
            )
            if principal is None:
                raise ValidationFailed(errors={"deputy_for": ["Choose for whom they stand in."]})
        seats = list(ceremony.participants.all())
        index = _free_share(ceremony, seats, group) if role == RoomRole.HOLDER else None
        try:
            with transaction.atomic():
                seat = Participant.objects.create(
                    ceremony=ceremony, position=len(seats), role=role, person=person, name=person.name if person else name.strip(),
                    email=(person.email if person else email.strip()).lower(), site=site.strip() or (person.site if person else ""),
                    reporting_line=reporting_line.strip() or (person.reporting_line if person else ""), deputy_for=principal,
                    share_index=index,
                )  # fmt: skip
        except IntegrityError:
            raise ValidationFailed(
                errors={"email": ["This person, or another leader or operator, is in the plan already."]}
            ) from None
        record.record({"seat": str(seat.pk), "name": seat.name, "role": role, "guest": person is None, "share": index})
    return seat


def remove_person(*, actor: Actor, ceremony_id: UUID, participant_id: UUID) -> None:
    """Take somebody out of the plan; raises WrongState once the room is open."""
    with _planning(actor, ceremony_id, "remove_person") as (ceremony, record):
        seat = ceremony.participants.filter(pk=participant_id).first()
        if seat is None:
            raise NotInTheRoom("There is nobody of this name in the plan.")
        if ceremony.participants.filter(deputy_for=seat).exists():
            raise Conflict("A deputy stands in for this person.", hint="Take the deputy out first.")
        record.record({"name": seat.name, "role": seat.role})
        seat.delete()


def plan_digest(ceremony: Ceremony) -> dict[str, Any]:
    """Everything about the plan that people agree to, beside the script's hash."""
    return {
        "script_hash": ceremony.script_hash, "kind": ceremony.kind, "practice": ceremony.practice,
        "key": str(ceremony.key_id) if ceremony.key_id else None, "threshold": ceremony.threshold, "shares": ceremony.share_count,
        "groups": ceremony.groups, "groups_needed": ceremony.groups_needed, "passphrase": ceremony.with_passphrase,
        "iteration_exponent": ceremony.iteration_exponent, "subject": ceremony.subject,
        "policy": ceremony.policy, "provider": ceremony.provider, "source": str(ceremony.source_id) if ceremony.source_id else None,
        "minutes_key": str(ceremony.minutes_key_id) if ceremony.minutes_key_id else None,
        "people": [[seat.role, seat.email, seat.share_index, str(seat.deputy_for_id or "")] for seat in ceremony.participants.all()],
    }  # fmt: skip


def open_room(*, actor: Actor, ceremony_id: UUID, reason: str = "", approval_id: UUID | None = None) -> Ceremony:
    """Let people in: at once for a rehearsal, by agreement of others for the real thing.

    Raises PlanImpossible with the solver's sentences, RehearsalNeeded, ApprovalRequired.
    """
    states = frozenset({CeremonyState.PLANNED, CeremonyState.AWAITING_APPROVAL})
    with audit.atomic(actor=actor, action="ceremony.open", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        need_state(ceremony, states)
        found = verdict(ceremony)
        if not found.possible:
            raise PlanImpossible("This plan cannot be held.", errors={"people": list(found.problems)})
        _need_rehearsal(ceremony)
        params = {"ceremony_id": str(ceremony.pk)}
        if not ceremony.practice and not (approval_id and approvals.is_executing(approval_id, OPEN_ROOM, params)):
            if ceremony.status is CeremonyState.PLANNED:
                move(ceremony, CeremonyState.AWAITING_APPROVAL)
                ceremony.version += 1
                ceremony.save()
            request = approvals.require_or_request(
                actor,
                OPEN_ROOM,
                params,
                groups=[
                    group | {"signed": bool(ceremony.policy.get("signed_agreement"))}
                    for group in officers_besides(actor, ceremony.ring_id)
                ],
                reason=reason or ceremony.purpose,
            )
            Ceremony.objects.filter(pk=ceremony.pk).update(approval_id=request.pk)
            raise ApprovalRequired(request.pk, "The ceremony waits for agreement.")
        move(ceremony, CeremonyState.GATHERING)
        ceremony.opened_at, ceremony.version, ceremony.before = timezone.now(), ceremony.version + 1, standing(ceremony)
        try:
            with transaction.atomic():
                ceremony.save()
        except IntegrityError:
            raise Conflict("Another ceremony about this key is open.", hint="Finish or abort that one first.") from None
        tell_people(ceremony, "The room is open")
        record.record({"approval": str(approval_id) if approval_id else None, **plan_digest(ceremony)})
    return ceremony


def back_to_planning(*, actor: Actor, ceremony_id: UUID) -> None:
    """Take a plan that waits for agreement back, to change it; what was agreed to so far counts no more."""
    with audit.atomic(actor=actor, action="ceremony.replan", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        move(ceremony, CeremonyState.PLANNED)
        ceremony.version += 1
        ceremony.save()
        record.record({})


def call_off(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Call a ceremony off from its page, before the commit; whoever plans may, and it counts as an abort."""
    with audit.atomic(actor=actor, action="ceremony.abort", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        need_state(ceremony, BEFORE_COMMIT)
        end_without_effect(ceremony, by=actor.label, reason=reason, record=record)


class _planning:
    """The plan locked by somebody who may change it, and one more version of it at the end."""

    def __init__(self, actor: Actor, ceremony_id: UUID, what: str) -> None:
        self.actor, self.ceremony_id = actor, ceremony_id
        self.scope = audit.atomic(actor=actor, action=f"ceremony.{what}", target=("ceremony", ceremony_id, ""))

    def __enter__(self) -> tuple[Ceremony, audit.atomic]:
        record = self.scope.__enter__()
        try:
            self.ceremony = locked(self.ceremony_id)
            record.about(target=target_of(self.ceremony), ring_id=self.ceremony.ring_id)
            authorize(self.actor, Permission.CEREMONY_MANAGE, ring_id=self.ceremony.ring_id, target=str(self.ceremony))
            need_state(self.ceremony, PLANNING)
        except BaseException as error:
            self.scope.__exit__(type(error), error, error.__traceback__)
            raise
        return self.ceremony, record

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.ceremony.version += 1
            self.ceremony.save(update_fields=["version"])
        self.scope.__exit__(*error)


def _free_share(ceremony: Ceremony, seats: list[Participant], group: str) -> int:
    """The number of the next share to be held, in its group where there are several; raises ValidationFailed."""
    taken, quorum = {seat.share_index for seat in seats}, ceremony.quorum
    if not ceremony.groups:
        return next(number for number in range(1, 99) if number not in taken)
    numbers = range(1, quorum.count + 1)
    if group or ceremony.source is None:
        wanted = next((place for place, one in enumerate(quorum.groups) if one.name == group), None)
        if wanted is None:
            raise ValidationFailed(errors={"group": ["Choose the group for which they hold a share."]})
        numbers = quorum.indices(wanted)
    free = next((number for number in numbers if number not in taken), None)
    if free is None:
        raise ValidationFailed(errors={"group": ["All shares of this group have their holders."]})
    return free


def _seat_custodians(ceremony: Ceremony, source: ShareGeneration) -> None:
    for position, share in enumerate(source.shares.exclude(state__in=[ShareState.LOST.value, ShareState.DEAD.value])):
        Participant.objects.create(
            ceremony=ceremony, position=position, role=RoomRole.HOLDER.value, person=share.person, name=share.custodian, email=share.email,
            site=share.site, reporting_line=share.person.reporting_line if share.person else "", share_index=share.index,
        )  # fmt: skip


def _need_rehearsal(ceremony: Ceremony) -> None:
    days = int(ceremony.policy.get("rehearsed_within_days") or 0)
    if ceremony.practice or not days:
        return
    since = timezone.now() - timedelta(days=days)
    rehearsals = Ceremony.objects.filter(
        practice=True, state=CeremonyState.CLOSED.value, script_hash=ceremony.script_hash, ended_at__gte=since
    )
    if not rehearsals.exists():
        raise RehearsalNeeded(
            f"The policy asks for a rehearsal of this very script within {days} days before.",
            hint="Plan and hold a rehearsal first.",
        )
