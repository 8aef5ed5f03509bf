"""What the portal itself does in a step: an intent, the effect in the ceremony process, and its result, in this order."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from ceremonies.errors import NotReady, ProcessUnavailable, SessionOver
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


def nobodys_key(ceremony: Ceremony) -> str:
    """What a rehearsal's pages seal to, where nobody is to read what is typed: 32 bytes whose private half nobody has."""
    return ceremony.script_hash


@dataclass(frozen=True, slots=True)
class Asked:
    """A step's act as somebody asked for it: the ceremony as it was when the act was claimed, and what the form gave."""

    ceremony: Ceremony
    actor: Actor
    values: Mapping[str, Any]


type Effect = Callable[[Asked], dict[str, Any]]
type Result = Callable[[Scene, dict[str, Any]], dict[str, Any]]


def _nothing(asked: Asked) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Deed:
    """The portal's own part in the steps of one action: who asks for it, what is done, what is written of it.

    `check` looks at the values before anything is claimed; `effect` works outside any transaction; `result` writes, from the
    values and what the effect found, and returns what the record says. `done` is False for an act after which people still have
    their own part in the same step, `erases` where the process has nothing to keep afterwards.
    """

    action: Action
    role: RoomRole
    result: Result
    effect: Effect = _nothing
    check: Callable[[Mapping[str, Any]], None] | None = None
    done: bool = True
    erases: bool = False

    def __call__(self, *, actor: Actor, ceremony_id: UUID, step: int, **values: Any) -> None:
        """Do it in step number `step`: claim it, run the effect, write the result. Of two people at once one performs; the
        other gets AlreadyDone."""
        if self.check is not None:
            self.check(values)
        asked = Asked(self._claim(actor, ceremony_id, step), actor, values)
        try:
            with session_over(actor, ceremony_id, step):
                found = {**values, **self.effect(asked)}
        except PortalError as error:
            _release(ceremony_id, actor.label, "" if isinstance(error, NotReady) else f"{self.word}: {error.detail}")
            raise
        except BaseException:
            _release(ceremony_id, actor.label, f"{self.word} failed inside the portal.")
            raise
        with in_room(actor, ceremony_id, self.action.value, states=AT_WORK, step=step, any_clock=True) as scene:
            commits = scene.step.commits
            said = self.result(scene, found)
            scene.ceremony.busy_at = None
            scene.ceremony.acted = self.done
            if commits:
                commit(scene)
            scene.record.record({"step": scene.step.id, **said})
            if self.done:
                go_on(scene, scene.ceremony.read_script())
        if self.erases:
            erase(ceremony_id)

    @property
    def word(self) -> str:
        return self.action.value.replace("_", " ").capitalize()

    def _claim(self, actor: Actor, ceremony_id: UUID, step: int) -> Ceremony:
        with in_room(actor, ceremony_id, f"{self.action.value}_begin", states=AT_WORK, step=step) as scene:
            need_role(scene.me, self.role)
            need_action(scene, self.action)
            ceremony = scene.ceremony
            if ceremony.busy_at is not None and scene.now - ceremony.busy_at < LEASE:
                raise AlreadyDone("Somebody is doing this right now.", hint="Wait until the page shows the result.")
            need_signatures(scene)
            ceremony.busy_at = scene.now
            scene.record.record({"step": scene.step.id})
        return ceremony


def need_signatures(scene: Scene) -> None:
    """Raise WrongState before an act that cannot be taken back, unless everybody has signed that it is done now."""
    if scene.step.commits and not may_commit(scene.ceremony, scene.step):
        raise WrongState("Not everybody has signed before the act that cannot be taken back.")


def commit(scene: Scene) -> None:
    """From here nobody can go back."""
    move(scene.ceremony, C.COMMITTED)
    scene.ceremony.committed_at = scene.now


def need_action(scene: Scene, *actions: Action) -> None:
    """Raise WrongState unless the current step is one of these actions that is still to be done."""
    if scene.step.action not in actions:
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
    ceremony.step, ceremony.acted, ceremony.busy_at, ceremony.process = number, False, None, {}


@contextmanager
def session_over(actor: Actor, ceremony_id: UUID, step: int, *, nonce: str = "") -> Iterator[None]:
    """When the process lost what it held, people begin again where it is gathered or made; nothing was changed outside.

    With `nonce`, that of the session that was asked: one that somebody has begun since is left alone.
    """
    try:
        yield
    except SessionOver:
        with in_room(actor, ceremony_id, "begin_again", states=RUNNING, step=step, any_clock=True) as scene:
            script = scene.ceremony.read_script()
            begun_since = bool(nonce) and scene.ceremony.process.get("nonce") != nonce
            beginnings = (Action.COLLECT, Action.DEAL, Action.DEAL_SEAL)
            first = next((action for action in beginnings if script.number_of(action) is not None), None)
            if not begun_since and first is not None and scene.ceremony.step >= (script.number_of(first) or 0):
                go_back(
                    scene,
                    first,
                    happened="The ceremony process lost what it held in memory.",
                    decision="This part is done again.",
                )
            scene.record.record({"step": scene.step.id})
        raise


def _release(ceremony_id: UUID, by: str, happened: str) -> None:
    from django.db import transaction

    with transaction.atomic():
        ceremony = Ceremony.objects.select_for_update().get(pk=ceremony_id)
        if ceremony.busy_at is None:
            return
        if happened:
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
