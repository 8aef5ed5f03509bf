"""The frame of every act in the room: the ceremony locked, the seat found, the state and the clock looked at, the record written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models.functions import Now
from django.utils import timezone

from ceremonies.models import Ceremony, DeviationNote, Participant
from ceremonies.planning import RoomRole
from ceremonies.room_errors import ClockChanged, NotInTheRoom, NotYours
from ceremonies.script import Step
from ceremonies.states import BEFORE_COMMIT, CEREMONY_MOVES, CeremonyState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import WrongState

GUEST = "guest"  # kind of the actor who has only an invitation
BACKWARD, APART = timedelta(seconds=2), timedelta(seconds=10)  # how far clocks may step back, and stand apart


@dataclass(slots=True)
class Scene:
    """What one act works on."""

    ceremony: Ceremony
    me: Participant
    record: audit.atomic
    now: datetime

    @property
    def step(self) -> Step:
        return self.ceremony.read_script().steps[self.ceremony.step]


def target_of(ceremony: Ceremony) -> tuple[str, object, str]:
    """How the record names a ceremony."""
    return ("ceremony", ceremony.pk, str(ceremony))


def seat_of(actor: Actor, ceremony_id: UUID) -> Participant | None:
    """The seat of this actor in this ceremony; a guest's actor carries the id of the seat itself."""
    seats = Participant.objects.select_related("ceremony").filter(ceremony_id=ceremony_id)
    if actor.kind == GUEST:
        return seats.filter(pk=str(actor.id), person=None).first()
    return seats.filter(person_id=actor.id).first() if actor.kind == "person" and actor.id else None


def guest_actor(seat: Participant, address: str | None = None) -> Actor:
    """Somebody with an invitation and no account: no rights at all beyond the seat."""
    return Actor(id=seat.pk, kind=GUEST, label=f"{seat.name} (invited)", address=address, second_factor=True)


@contextmanager
def in_room(
    actor: Actor,
    ceremony_id: UUID,
    action: str,
    *,
    states: frozenset[CeremonyState],
    step: int | None = None,
    any_clock: bool = False,
) -> Iterator[Scene]:
    """Open the transaction of one act of somebody in the room.

    `step` is the number the person saw: a page that was overtaken is refused. Raises NotInTheRoom, WrongState, ClockChanged;
    a changed clock pauses the ceremony and is noted on the exception sheet.
    """
    try:
        with audit.atomic(actor=actor, action=f"ceremony.{action}", target=("ceremony", ceremony_id, "")) as record:
            ceremony = locked(ceremony_id)
            record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
            me = seat_of(actor, ceremony_id)
            if me is None:
                raise NotYours("You have no part in this ceremony.")
            me.ceremony = ceremony
            need_state(ceremony, states)
            now = timezone.now()
            if not any_clock:
                _check_clock(ceremony, now)
            if step is not None and step != ceremony.step:
                raise WrongState(
                    "The ceremony has gone on meanwhile.", hint="Look at the current step and decide again."
                )
            if me.left_at is not None:
                raise NotYours("You left this ceremony.", hint="The leader can tell you what comes next.")
            yield Scene(ceremony, me, record, now)
            ceremony.version += 1
            ceremony.last_act_at = now
            ceremony.save()
    except ClockChanged as error:
        _pause_for_clock(ceremony_id, error.detail)
        raise


def locked(ceremony_id: UUID) -> Ceremony:
    """The ceremony, its row locked, with the database's clock beside it; raises NotInTheRoom."""
    found = (
        Ceremony.objects.select_for_update(of=("self",)).annotate(database_clock=Now()).filter(pk=ceremony_id).first()
    )
    if found is None:
        raise NotInTheRoom
    return found


def need_state(ceremony: Ceremony, states: frozenset[CeremonyState]) -> None:
    """Raise WrongState unless the ceremony is in one of `states`."""
    if ceremony.status not in states:
        raise WrongState(
            f"The ceremony is {ceremony.get_state_display().lower()}.", hint=_HINTS.get(ceremony.status, "")
        )


_HINTS = {
    CeremonyState.PAUSED: "The leader resumes it.",
    CeremonyState.ABORTED: "Plan a new ceremony; nothing of this one counts.",
    CeremonyState.CLOSED: "Its minutes are on its page.",
    CeremonyState.COMMITTED: "What it was for is done; only the closing steps remain.",
}


def move(ceremony: Ceremony, new: CeremonyState) -> None:
    """Change the state along the table; raises WrongState. The caller saves."""
    if not may_move(CEREMONY_MOVES, ceremony.status, new):
        raise WrongState(
            f"A ceremony that is {ceremony.get_state_display().lower()} cannot become {new.value.replace('_', ' ')}."
        )
    ceremony.state = new.value


def need_role(me: Participant, *roles: RoomRole) -> None:
    """Raise NotYours unless this seat has one of `roles`."""
    if me.room_role not in roles:
        words = " or ".join(role.value.replace("_", " ") for role in roles)
        raise NotYours(f"This is the part of the {words}.")


def note_deviation(ceremony: Ceremony, *, expected: str, happened: str, by: str, decision: str = "") -> DeviationNote:
    """Write a line of the exception sheet."""
    return DeviationNote.objects.create(
        ceremony=ceremony,
        step=ceremony.step,
        expected=expected[:500],
        happened=happened,
        decision=decision,
        noted_by=by[:200],
    )


def _check_clock(ceremony: Ceremony, now: datetime) -> None:
    database: datetime = ceremony.database_clock  # type: ignore[attr-defined]
    if abs(database - now) > APART:
        raise ClockChanged(
            f"The portal's clock and the database's are {abs(database - now).total_seconds():.0f} s apart.",
            hint=_CLOCK_HINT,
        )
    if ceremony.last_act_at is not None and now < ceremony.last_act_at - BACKWARD:
        raise ClockChanged(
            f"The clock went back by {(ceremony.last_act_at - now).total_seconds():.0f} s.", hint=_CLOCK_HINT
        )


_CLOCK_HINT = "The ceremony is paused. Set the clocks right, then the leader resumes."


def _pause_for_clock(ceremony_id: UUID, detail: str) -> None:
    from keyvault_portal.accounts.actors import system_actor

    with audit.atomic(actor=system_actor("ceremony room"), action="ceremony.pause") as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        if ceremony.status not in BEFORE_COMMIT:
            return
        if ceremony.status is CeremonyState.RUNNING:
            move(ceremony, CeremonyState.PAUSED)
        note_deviation(ceremony, expected="Clocks that agree and go forward.", happened=detail, by="the portal")
        ceremony.version += 1
        ceremony.save()
        record.record({"cause": "clock", "detail": detail})
