"""What the portal itself does in a step: an intent, the effect in the ceremony process, and its result, in this order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from ceremonies.errors import ProcessUnavailable, SessionOver
from ceremonies.models import Ceremony, SignOff
from ceremonies.planning import RoomRole
from ceremonies.process.client import CeremonyProcess
from ceremonies.room_errors import AlreadyDone
from ceremonies.script import Action
from ceremonies.services.frame import Scene, in_room, move, need_role, note_deviation
from ceremonies.services.room import go_on, may_commit
from ceremonies.states import CeremonyState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import PortalError, WrongState

LEASE = timedelta(minutes=2)  # after which a step whose worker died may be performed again
RUNNING = frozenset({CeremonyState.RUNNING})
AT_WORK = frozenset({CeremonyState.RUNNING, CeremonyState.COMMITTED})
C = CeremonyState


def ceremony_process() -> CeremonyProcess:
    """The process that alone ever holds an escrow key or a share; raises ProcessUnavailable where none is configured."""
    if not settings.CEREMONY_SOCKET:
        raise ProcessUnavailable(
            "This portal runs without a ceremony process.", hint="Start it: ./manage.py ceremony_process"
        )
    return CeremonyProcess(Path(settings.CEREMONY_SOCKET))


def erase(ceremony_id: UUID) -> None:
    """Have the process forget everything of this ceremony; one that is away has forgotten already."""
    try:
        ceremony_process().destroy(ceremony_id=ceremony_id)
    except ProcessUnavailable:
        return


type Effect = Callable[[Ceremony], dict[str, Any]]
type Result = Callable[[Scene, dict[str, Any]], dict[str, Any]]


def perform(
    *,
    actor: Actor,
    ceremony_id: UUID,
    step: int,
    action: Action,
    roles: tuple[RoomRole, ...],
    effect: Effect,
    result: Result,
    done: bool = True,
) -> None:
    """Do the portal's part of step number `step`: claim it, run `effect` outside any transaction, then write `result`.

    `result` returns what the record says. Of two people at once one performs; the other gets AlreadyDone. `done` is False for
    an act after which people still have their own part in the same step.
    """
    with in_room(actor, ceremony_id, f"{action.value}_begin", states=AT_WORK, step=step) as scene:
        need_role(scene.me, *roles)
        need_action(scene, action)
        ceremony = scene.ceremony
        if ceremony.busy_at is not None and scene.now - ceremony.busy_at < LEASE:
            raise AlreadyDone("Somebody is doing this right now.", hint="Wait until the page shows the result.")
        if scene.step.commits and not may_commit(ceremony, scene.step):
            raise WrongState("Not everybody has signed before the act that cannot be taken back.")
        ceremony.busy_at = scene.now
        scene.record.record({"step": scene.step.id})
    try:
        with _session_over(actor, ceremony_id, step):
            found = effect(ceremony)
    except PortalError as error:
        _release(ceremony_id, actor.label, f"{action.value.replace('_', ' ').capitalize()}: {error.detail}")
        raise
    except BaseException:
        _release(ceremony_id, actor.label, f"{action.value.replace('_', ' ').capitalize()} failed inside the portal.")
        raise
    with in_room(actor, ceremony_id, action.value, states=AT_WORK, step=step, any_clock=True) as scene:
        commits = scene.step.commits
        said = result(scene, found)
        scene.ceremony.busy_at = None
        scene.ceremony.acted = done
        if commits:
            move(scene.ceremony, C.COMMITTED)
            scene.ceremony.committed_at = scene.now
        scene.record.record({"step": scene.step.id, **said})
        if done:
            go_on(scene, scene.ceremony.read_script())


def need_action(scene: Scene, action: Action) -> None:
    """Raise WrongState unless the current step is one of this action that is still to be done."""
    if scene.step.action is not action:
        raise WrongState("This is not what the current step is about.")
    if scene.ceremony.acted:
        raise AlreadyDone("This is done.", hint="Whoever has to signs it off.")


def go_back(scene: Scene, action: Action, *, happened: str, decision: str) -> None:
    """Return to an earlier step, to do it again; the sign-offs since then are void. Never past a commit."""
    ceremony = scene.ceremony
    number = ceremony.read_script().number_of(action)
    if ceremony.committed_at is not None or number is None or number > ceremony.step:
        raise WrongState("From here nobody can go back.")
    note_deviation(ceremony, expected=scene.step.expected, happened=happened, decision=decision, by=scene.me.name)
    SignOff.objects.filter(ceremony=ceremony, step__gte=number).delete()
    ceremony.step, ceremony.acted, ceremony.busy_at = number, False, None


@contextmanager
def _session_over(actor: Actor, ceremony_id: UUID, step: int) -> Iterator[None]:
    """When the process lost what it held, people begin again where it is gathered or made; nothing was changed outside."""
    try:
        yield
    except SessionOver:
        with in_room(actor, ceremony_id, "begin_again", states=RUNNING, step=step, any_clock=True) as scene:
            script = scene.ceremony.read_script()
            first = next(
                (action for action in (Action.COLLECT, Action.DEAL) if script.number_of(action) is not None), None
            )
            if first is not None:
                go_back(
                    scene,
                    first,
                    happened="The ceremony process lost what it held in memory.",
                    decision="This part is done again.",
                )
                scene.ceremony.process = {}
            scene.record.record({"step": scene.step.id})
        raise


def _release(ceremony_id: UUID, by: str, happened: str) -> None:
    from django.db import transaction

    with transaction.atomic():
        ceremony = Ceremony.objects.select_for_update().get(pk=ceremony_id)
        if ceremony.busy_at is None:
            return
        note_deviation(ceremony, expected="The step is done.", happened=happened, by=by)
        ceremony.busy_at, ceremony.version = None, ceremony.version + 1
        ceremony.save(update_fields=["busy_at", "version"])


def rfc3339() -> str:
    """Now, in UTC, as the package's manifest writes it."""
    return timezone.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def planner_of(ceremony: Ceremony) -> Actor:
    """Whoever planned the ceremony, with the rights held now: acts on keys are done with these."""
    person = Person.objects.filter(pk=ceremony.planned_by_id, is_active=True).first()
    if person is None:
        raise WrongState("Whoever planned this ceremony has no account any more.", hint="Abort it and plan it again.")
    return actor_for_person(person)
