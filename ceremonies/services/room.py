"""In the room: arriving, reading the script's hash back, starting, signing steps off, pausing, leaving, attesting."""

import hmac
import secrets
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from ceremonies.models import Ceremony, Participant, SignOff
from ceremonies.planning import RoomRole
from ceremonies.room_errors import AlreadyDone, NotYours, QuorumLost
from ceremonies.script import PEOPLES, Kind, Script, Step, Who
from ceremonies.services.frame import Scene, guest_actor, in_room, move, need_role, note_deviation, seat_of
from ceremonies.states import OPEN, CeremonyState, ShareState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ValidationFailed, WrongState

__all__ = [
    "HERE_FOR", "active_people", "attest", "confirm_script", "guest_actor", "identify", "leave", "mark_present", "missing_signers",
    "note_exception", "pause", "resume", "seat_of", "send_away", "sign_off", "signers", "stand_in", "start",
]  # fmt: skip
READ_BACK = 8  # hexadecimal digits of the script's hash that everybody types
HERE_FOR = timedelta(seconds=15)  # how long after the last poll somebody counts as here
SEEN_EVERY = timedelta(seconds=5)
C = CeremonyState
ROOM = OPEN
AT_WORK = frozenset({C.RUNNING, C.COMMITTED})
DEALING = frozenset({Kind.ESCROW, Kind.REFRESH})
ALL_NEEDED = DEALING | {Kind.BYOK, Kind.REKEY}


def mark_present(seat: Participant) -> None:
    """Note that this seat's page is open; at most every few seconds, and not on the record."""
    now = timezone.now()
    if seat.seen_at is None or now - seat.seen_at > SEEN_EVERY:
        Participant.objects.filter(pk=seat.pk).update(seen_at=now)
        seat.seen_at = now


def confirm_script(*, actor: Actor, ceremony_id: UUID, read_back: str) -> None:
    """Confirm the script by typing the beginning of its hash; raises ValidationFailed when it is another."""
    with in_room(actor, ceremony_id, "confirm_script", states=ROOM) as scene:
        me, expected = scene.me, scene.ceremony.script_hash[:READ_BACK]
        if me.confirmed_at is not None:
            raise AlreadyDone("You have confirmed this script.")
        typed = "".join(read_back.split()).lower()
        if not hmac.compare_digest(typed.encode(), expected.encode()):
            raise ValidationFailed(
                "This is not the beginning of this script's hash.",
                errors={"read_back": ["Stop and say so: you and the leader may be looking at different scripts."]},
            )
        me.confirmed_at = me.seen_at = scene.now
        me.save(update_fields=["confirmed_at", "seen_at"])
        scene.record.record({"seat": str(me.pk), "role": me.role, "script_hash": scene.ceremony.script_hash})


def identify(*, actor: Actor, ceremony_id: UUID, participant_id: UUID, how: str = "") -> None:
    """The internal witness says who somebody is; the leader does for the witnesses. Nobody does for themselves."""
    with in_room(actor, ceremony_id, "identify", states=ROOM) as scene:
        other = _seat(scene.ceremony, participant_id)
        wanted = RoomRole.LEADER if other.room_role is RoomRole.INTERNAL_WITNESS else RoomRole.INTERNAL_WITNESS
        need_role(scene.me, wanted)
        if other.pk == scene.me.pk:
            raise NotYours("Nobody identifies themselves.")
        if other.identified_at is not None:
            raise AlreadyDone(f"{other.name} is identified.")
        other.identified_at, other.identified_by = scene.now, scene.me.name
        other.save(update_fields=["identified_at", "identified_by"])
        scene.record.record({"seat": str(other.pk), "name": other.name, "how": how[:200]})


def start(*, actor: Actor, ceremony_id: UUID) -> None:
    """Begin the script; raises WrongState naming who is not here, identified or confirmed, and QuorumLost."""
    with in_room(actor, ceremony_id, "start", states=frozenset({C.GATHERING})) as scene:
        need_role(scene.me, RoomRole.LEADER)
        ceremony = scene.ceremony
        ready: list[Participant] = []
        absent: list[Participant] = []
        for seat in ceremony.participants.filter(left_at=None):
            (ready if seat.confirmed_at and seat.identified_at else absent).append(seat)
        lost = _lost(ceremony)
        needed = [
            seat
            for seat in absent
            if seat.room_role in _NEEDED
            or (seat.role == RoomRole.HOLDER and (_needs_all(ceremony) or seat.share_index in lost))
        ]
        if needed:
            names = ", ".join(f"{seat.name} ({_lacks(seat)})" for seat in needed)
            raise WrongState(f"Not everybody is ready: {names}.")
        if quorum_lost(ceremony, ready):
            ready_shares = _brought(ceremony, ready)
            raise QuorumLost(
                f"{ceremony.threshold} share holders are needed, {len(ready_shares)} are ready: "
                f"{ceremony.quorum.awaited(ready_shares)} must come."
            )
        for seat in absent:
            if seat.room_role is RoomRole.HOLDER:
                seat.left_at = scene.now
                seat.save(update_fields=["left_at"])
                note_deviation(ceremony, expected=f"{seat.name} takes part.", happened=f"{seat.name} did not come.", by=scene.me.name,
                               decision="The ceremony begins without.")  # fmt: skip
        move(ceremony, C.RUNNING)
        ceremony.started_at = scene.now
        if ceremony.kind == Kind.ROLL_CALL:
            ceremony.process = {"roll_call_nonce": secrets.token_hex(16), "proved": {}}
        scene.record.record({
            "script_hash": ceremony.script_hash, "present": [seat.name for seat in ready], "absent": [seat.name for seat in absent],
            "practice": ceremony.practice,
        })  # fmt: skip


def sign_off(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Say that step number `step` went as written; the last signature leads on to the next step."""
    with in_room(actor, ceremony_id, "sign_off", states=AT_WORK, step=step) as scene:
        ceremony, script = scene.ceremony, scene.ceremony.read_script()
        people = active_people(ceremony)
        if scene.me not in signers(scene.step, people):
            raise NotYours("This step is signed off by others.")
        if not _may_sign(ceremony, scene.step):
            raise WrongState("The step is not done yet.", hint=scene.step.expected)
        _, made = SignOff.objects.get_or_create(
            participant=scene.me, step=step, defaults={"ceremony": ceremony, "at": scene.now}
        )
        if not made:
            raise AlreadyDone("You have signed this step off.")
        scene.record.record(
            {"step": scene.step.id, "number": step + 1, "seat": str(scene.me.pk), "role": scene.me.role}
        )
        go_on(scene, script)


def go_on(scene: Scene, script: Script) -> None:
    """Lead on when the current step is done and signed by everybody it needs; close after the last one."""
    ceremony = scene.ceremony
    step = script.steps[ceremony.step]
    people = active_people(ceremony)
    done = ceremony.acted or step.action in PEOPLES
    if not done or missing_signers(ceremony, step, people):
        return
    if ceremony.step + 1 < len(script.steps):
        scene.record.record({"step": step.id, "number": ceremony.step + 1}, action="ceremony.step_done")
        ceremony.step, ceremony.acted = ceremony.step + 1, False
        return
    if all(seat.attested_at for seat in people):
        _close(scene)


def attest(*, actor: Actor, ceremony_id: UUID, agrees: bool, reason: str = "") -> None:
    """Attest presence and that the script was followed except as noted, or decline and say why; the last one closes the ceremony."""
    with in_room(actor, ceremony_id, "attest", states=frozenset({C.COMMITTED})) as scene:
        script = scene.ceremony.read_script()
        if scene.ceremony.step + 1 < len(script.steps):
            raise WrongState("Attesting is for the last step.")
        if scene.me.attested_at is not None:
            raise AlreadyDone("You have said so already.")
        if not agrees and not reason.strip():
            raise ValidationFailed(errors={"attest_reason": ["Say why you decline."]})
        scene.me.attested_at, scene.me.attests, scene.me.attest_reason = scene.now, agrees, reason.strip()
        scene.me.save(update_fields=["attested_at", "attests", "attest_reason"])
        scene.record.record(
            {"seat": str(scene.me.pk), "name": scene.me.name, "attests": agrees, "reason": reason.strip()}
        )
        go_on(scene, script)


def note_exception(*, actor: Actor, ceremony_id: UUID, expected: str, happened: str, decision: str = "") -> None:
    """Write on the exception sheet what went otherwise than written; anybody in the room may."""
    with in_room(actor, ceremony_id, "note_exception", states=ROOM, any_clock=True) as scene:
        if not happened.strip():
            raise ValidationFailed(errors={"happened": ["Say what happened."]})
        note_deviation(
            scene.ceremony,
            expected=expected.strip() or scene.step.expected,
            happened=happened.strip(),
            decision=decision.strip(),
            by=scene.me.name,
        )
        scene.record.record({"step": scene.step.id, "happened": happened.strip(), "decision": decision.strip()})


def pause(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Hold the ceremony; anybody in the room may."""
    with in_room(actor, ceremony_id, "pause", states=frozenset({C.RUNNING}), any_clock=True) as scene:
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        move(scene.ceremony, C.PAUSED)
        note_deviation(
            scene.ceremony, expected=scene.step.expected, happened=f"Paused: {reason.strip()}", by=scene.me.name
        )
        scene.record.record({"reason": reason.strip()})


def resume(*, actor: Actor, ceremony_id: UUID) -> None:
    """Go on where it was paused; raises WrongState while a role that must be there is empty."""
    with in_room(actor, ceremony_id, "resume", states=frozenset({C.PAUSED}), any_clock=True) as scene:
        need_role(scene.me, RoomRole.LEADER)
        people = active_people(scene.ceremony)
        lacking = [role.value.replace("_", " ") for role in _NEEDED if all(seat.role != role.value for seat in people)]
        if lacking:
            raise WrongState(
                f"Without {' and '.join(lacking)} it cannot go on.", hint="A deputy steps in, or somebody aborts."
            )
        if quorum_lost(scene.ceremony, people):
            raise QuorumLost(_QUORUM)
        move(scene.ceremony, C.RUNNING)
        scene.record.record({})


def leave(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Leave for good; without a leader, operator or witness the ceremony is paused until a deputy steps in or somebody aborts."""
    with in_room(actor, ceremony_id, "leave", states=ROOM, any_clock=True) as scene:
        _gone(scene, scene.me, reason)


def send_away(*, actor: Actor, ceremony_id: UUID, participant_id: UUID, reason: str) -> None:
    """The leader or the internal witness notes that somebody is gone."""
    with in_room(actor, ceremony_id, "note_gone", states=ROOM, any_clock=True) as scene:
        need_role(scene.me, RoomRole.LEADER, RoomRole.INTERNAL_WITNESS)
        other = _seat(scene.ceremony, participant_id)
        if other.left_at is not None:
            raise AlreadyDone(f"{other.name} is noted as gone.")
        _gone(scene, other, reason)


def stand_in(*, actor: Actor, ceremony_id: UUID) -> None:
    """A deputy takes the seat of the one who left: same role, same share number, from here on."""
    with in_room(actor, ceremony_id, "stand_in", states=ROOM, any_clock=True) as scene:
        need_role(scene.me, RoomRole.DEPUTY)
        me, principal = scene.me, scene.me.deputy_for
        if principal is None or principal.left_at is None:
            raise WrongState(f"{principal or 'The one you stand in for'} has not left.")
        if not (me.confirmed_at and me.identified_at):
            raise WrongState("Confirm the script and be identified first.")
        index, principal.share_index = principal.share_index, None
        principal.save(update_fields=["share_index"])
        me.role, me.share_index, me.seen_at = principal.role, index, scene.now
        me.save(update_fields=["role", "share_index", "seen_at"])
        note_deviation(
            scene.ceremony,
            expected=f"{principal.name} is {_word(me.role)}.",
            happened=f"{me.name} stands in.",
            by=me.name,
        )
        scene.record.record({"for": principal.name, "role": me.role, "share": index})


def active_people(ceremony: Ceremony) -> list[Participant]:
    """Who takes part now: neither gone, nor a deputy who waits, nor an external witness."""
    passive = {RoomRole.DEPUTY.value, RoomRole.EXTERNAL_WITNESS.value}
    return [seat for seat in ceremony.participants.all() if seat.left_at is None and seat.role not in passive]


def signers(step: Step, people: list[Participant]) -> list[Participant]:
    """Which of `people` this step's sign-off needs."""
    if Who.EVERYBODY in step.sign_off:
        return people
    roles = {who.value for who in step.sign_off}
    return [seat for seat in people if seat.role in roles]


def missing_signers(ceremony: Ceremony, step: Step, people: list[Participant]) -> list[Participant]:
    """Who has yet to sign the current step off."""
    signed = set(ceremony.sign_offs.filter(step=ceremony.step).values_list("participant_id", flat=True))
    return [seat for seat in signers(step, people) if seat.pk not in signed]


def quorum_lost(ceremony: Ceremony, people: list[Participant]) -> bool:
    """Whether too few share holders are left for what is still to come; after the commit nothing needs them."""
    if ceremony.committed_at is not None or not ceremony.threshold or ceremony.kind == Kind.ROLL_CALL:
        return False  # a roll-call is called above all when too few have their shares
    here = _brought(ceremony, people)
    return len(here) < ceremony.share_count if _needs_all(ceremony) else bool(ceremony.quorum.missing(here))


def _brought(ceremony: Ceremony, people: list[Participant]) -> set[int]:
    """The shares that these people can bring, or are to receive where shares are dealt."""
    held = {seat.share_index for seat in people if seat.role == RoomRole.HOLDER and seat.share_index}
    return held - _lost(ceremony)


def _lost(ceremony: Ceremony) -> set[int]:
    """Shares that are reported lost, in a ceremony that issues one of them again."""
    if ceremony.kind != Kind.REISSUE or ceremony.source is None:
        return set()
    return set(ceremony.source.shares.filter(state=ShareState.LOST.value).values_list("index", flat=True))


def may_commit(ceremony: Ceremony, step: Step) -> bool:
    """Whether everybody has signed before the step that cannot be taken back is performed."""
    return not missing_signers(ceremony, step, active_people(ceremony))


_NEEDED = (RoomRole.LEADER, RoomRole.OPERATOR, RoomRole.INTERNAL_WITNESS)
_QUORUM = "Too few share holders are left. A deputy may step in; otherwise somebody aborts, and nothing has changed."


def _needs_all(ceremony: Ceremony) -> bool:
    return Kind(ceremony.kind) in ALL_NEEDED


def _may_sign(ceremony: Ceremony, step: Step) -> bool:
    """Before the act where it cannot be taken back, after it everywhere else."""
    return ceremony.acted or step.commits or step.action in PEOPLES


def _gone(scene: Scene, seat: Participant, reason: str) -> None:
    if not reason.strip():
        raise ValidationFailed(errors={"reason": ["Say why."]})
    ceremony = scene.ceremony
    seat.left_at = scene.now
    seat.save(update_fields=["left_at"])
    note_deviation(
        ceremony, expected=f"{seat.name} stays.", happened=f"{seat.name} left: {reason.strip()}", by=scene.me.name
    )
    people = active_people(ceremony)
    empty = any(all(other.role != role.value for other in people) for role in _NEEDED)
    if ceremony.status is C.RUNNING and (empty or quorum_lost(ceremony, people)):
        move(ceremony, C.PAUSED)
    scene.record.record(
        {"seat": str(seat.pk), "name": seat.name, "role": seat.role, "reason": reason.strip(), "state": ceremony.state}
    )
    if ceremony.status in AT_WORK:
        go_on(scene, ceremony.read_script())


def _close(scene: Scene) -> None:
    from ceremonies.services.endings import after_close

    move(scene.ceremony, C.CLOSED)
    scene.ceremony.ended_at = scene.now
    after_close(scene)


def _seat(ceremony: Ceremony, participant_id: UUID) -> Participant:
    found = ceremony.participants.filter(pk=participant_id).first()
    if found is None:
        raise WrongState("There is nobody of this name in the plan.")
    return found


def _lacks(seat: Participant) -> str:
    lacks = [
        word
        for word, at in (("not identified", seat.identified_at), ("script not confirmed", seat.confirmed_at))
        if at is None
    ]
    return " and ".join(lacks)


def _word(role: str) -> str:
    return role.replace("_", " ")


def transcript(ceremony: Ceremony, limit: int = 2000) -> list[AuditEvent]:
    """The record's events about this ceremony, oldest first; each is a leaf of the audit tree."""
    return audit.events_for_target("ceremony", ceremony.pk, limit)[::-1]
