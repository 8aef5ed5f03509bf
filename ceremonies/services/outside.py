"""Acts of other parts of the portal, done from the room: the keyholder's shares, a broken glass, what an app registered."""

from typing import Any
from uuid import UUID

from django.db import transaction

from ceremonies.errors import NotReady
from ceremonies.models import Ceremony, CustodyEntry, Share
from ceremonies.planning import RoomRole
from ceremonies.process.sealing import context
from ceremonies.script import Action
from ceremonies.services.frame import Scene, in_room, need_role, note_deviation
from ceremonies.services.gathering import note_refused, unpacked
from ceremonies.services.room import go_on
from ceremonies.services.subjects import held_act
from ceremonies.services.work import RUNNING, Asked, Deed, commit, need_action, need_signatures, planner_of
from ceremonies.states import ShareState
from keys.services import root_key, unsealing
from keys.services.unsealing import Given
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.held_acts import NotYet
from keyvault_portal.errors import Conflict, ValidationFailed

_HERE = "the keyholder of this machine"


def give_share(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str) -> int:
    """Pass one share of the portal's seal, sealed in the browser, on to this machine's keyholder; how many are still missing.

    The last one opens the portal. A rehearsal asks nobody: the first custodian's turn ends it. Raises ValidationFailed naming
    what is wrong with the share.
    """
    ciphertext = unpacked(sealed)
    with in_room(actor, ceremony_id, "give_share_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.HOLDER)
        need_action(scene, Action.GIVE)
        need_signatures(scene)
        me, practice, ceremony, step_id = scene.me, scene.ceremony.practice, scene.ceremony, scene.step.id
        ceremony.process = ceremony.process | {"passed": sorted({*_passed(ceremony), me.name})}
    bound = context(ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, step=step_id, custodian_id=str(me.pk))
    try:
        given = Given(0, 0) if practice else _offer(ciphertext, bound)
    except (ValidationFailed, Conflict) as error:
        _forget_passed(ceremony_id, me.name)
        if isinstance(error, ValidationFailed):
            note_refused(actor, ceremony_id, me, error)
        raise
    with in_room(actor, ceremony_id, "give_share", states=RUNNING, step=step, any_clock=True) as scene:
        ceremony = scene.ceremony
        ceremony.process = {
            "missing": given.missing,
            "taken": given.taken,
            "passed": _passed(ceremony, without=me.name),
        }
        scene.record.record({"custodian": me.name, "missing": given.missing})
        if not practice:
            _note_access(scene)
        if not given.missing:
            opened = "rehearsed" if practice else _HERE
            ceremony.result = {"opened": opened, "shares": given.taken}
            ceremony.acted = True
            commit(scene)
            go_on(scene, ceremony.read_script())
    return given.missing


def _passed(ceremony: Ceremony, *, without: str = "") -> list[str]:
    """Whose shares were passed on to the keyholder while its answer is not written down."""
    return [name for name in ceremony.process.get("passed", []) if name != without]


def _forget_passed(ceremony_id: UUID, name: str) -> None:
    with transaction.atomic():
        ceremony = Ceremony.objects.select_for_update().get(pk=ceremony_id)
        ceremony.process = ceremony.process | {"passed": _passed(ceremony, without=name)}
        ceremony.save(update_fields=["process"])


def is_found_open(ceremony: Ceremony) -> bool:
    """Whether the portal is open and this room may have opened it: a share was passed on whose answer nobody wrote down."""
    return bool(_passed(ceremony)) and not root_key.keyholder().status()["sealed"]


def _find_open(asked: Asked) -> dict[str, Any]:
    if root_key.keyholder().status()["sealed"]:
        raise NotReady("The portal is sealed.", hint="The custodians give their shares.")
    if not _passed(asked.ceremony):
        raise NotReady("The portal was opened another way.", hint="Abort the ceremony: nothing is left to unseal.")
    return {}


def _found_open(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony = scene.ceremony
    happened = (
        f"The answer to the share of {' and '.join(_passed(ceremony))} was not written down; the portal was found open."
    )
    note_deviation(ceremony, expected=scene.step.expected, happened=happened, by=scene.me.name)
    ceremony.result = {"opened": _HERE, "shares": ceremony.process.get("taken", 0), "unanswered": _passed(ceremony)}
    return dict(ceremony.result)


find_open = Deed(Action.GIVE, RoomRole.OPERATOR, _found_open, _find_open)
"""End the step where this process died between the keyholder's answer to the last share and the note of it."""


def _note_access(scene: Scene) -> None:
    """The custody register of the seal's shares says that this one left its bag."""
    held = Share.objects.filter(generation__seal_id__isnull=False, state=ShareState.HELD.value, email=scene.me.email)
    for share in held:
        CustodyEntry.objects.create(
            generation_id=share.generation_id, share=share, what=CustodyEntry.What.ACCESSED, bag=share.bag,
            reason=f"Handed in: {scene.ceremony}"[:500], by=scene.me.name,
        )  # fmt: skip


def _offer(ciphertext: bytes, bound: bytes) -> Given:
    status = unsealing.attempt()
    if not status["sealed"]:
        raise NotReady("The portal is open already.")
    return unsealing.give_share(nonce=status["nonce"], sealed=ciphertext, bound_to=bound)


def _break(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    if ceremony.practice:
        return {"request": None}
    done = approvals.break_glass(
        actor=asked.actor, request_id=UUID(ceremony.subject["request"]), reason=f"{ceremony.purpose} ({ceremony.title})"
    )
    return {"request": str(done.pk)}


def _broken(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = {"request": found["request"], "reason": scene.ceremony.purpose, "broken_by": scene.me.name}
    return dict(scene.ceremony.result)


break_the_glass = Deed(Action.BREAK_GLASS, RoomRole.OPERATOR, _broken, _break)
"""Perform the waiting request without the missing agreement; the operator needs the right to, and a second factor."""


def _prepare(asked: Asked) -> dict[str, Any]:
    return {"prepared": {} if asked.ceremony.practice else _held(asked, "prepare")}


def _prepared(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.process = {"prepared": found["prepared"]}
    return dict(found["prepared"])


prepare = Deed(Action.PREPARE, RoomRole.OPERATOR, _prepared, _prepare)
"""What comes before the act of another app, with the planner's rights."""


def _act(asked: Asked) -> dict[str, Any]:
    return {"came": {} if asked.ceremony.practice else _held(asked, "perform")}


def _acted(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = {**scene.ceremony.process.get("prepared", {}), **found["came"]}
    return dict(scene.ceremony.result)


act = Deed(Action.ACT, RoomRole.OPERATOR, _acted, _act)
"""The act of another app, with the planner's rights."""


def _held(asked: Asked, part: str) -> dict[str, Any]:
    ceremony = asked.ceremony
    found = held_act(ceremony.read_script().steps[ceremony.step].act)
    try:
        return dict(getattr(found, part)(actor=planner_of(ceremony), subject=ceremony.subject, ceremony_id=ceremony.pk))
    except NotYet as error:
        raise NotReady(error.detail, hint=error.hint) from None
