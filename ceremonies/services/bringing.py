"""A key brought in components: their check values announced, each entered by its custodian, the key compared at the end.

A component is sealed where it is typed, to the one-time key of the ceremony process, which alone reads it.
"""

from typing import Any
from uuid import UUID

from django.db import transaction

from ceremonies.errors import NotReady, SessionOver
from ceremonies.models import Ceremony, Participant
from ceremonies.planning import RoomRole
from ceremonies.script import Action
from ceremonies.services.dealing import begun, named
from ceremonies.services.frame import Scene, in_room, need_role
from ceremonies.services.gathering import note_refused, unpacked
from ceremonies.services.room import go_on
from ceremonies.services.work import (
    RUNNING,
    Asked,
    Deed,
    ceremony_process,
    commit,
    erase,
    need_action,
    need_signatures,
    nobodys_key,
    planner_of,
)
from keys.models import KeyComponent, KeyImport
from keys.services import imports
from keys.states import ImportState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import PortalError, ValidationFailed


def _announce(asked: Asked) -> dict[str, Any]:
    ceremony, values = asked.ceremony, asked.values["component_values"]
    if len(values) != ceremony.share_count:
        raise ValidationFailed(
            errors={"component_values": [f"One a line, for each of {ceremony.share_count} components."]}
        )
    if ceremony.practice:
        return {"import": None, "names": {"nonce": "", "public_key": nobodys_key(ceremony)}}
    assert ceremony.key_id is not None  # the plan wants one
    opened = imports.open_import(
        actor=planner_of(ceremony), key_id=ceremony.key_id, method=KeyImport.Method.COMPONENTS, reason=f"Ceremony: {ceremony.title}",
        check_value=asked.values["check_value"], component_values=values,
    )  # fmt: skip
    names = named(begun(ceremony))
    return {
        "import": str(opened.pk),
        "names": names,
        "component_values": opened.component_values,
        "check_value": opened.check_value,
    }


def _announced(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    said = {"check_value": found["check_value"], "component_values": found["component_values"]}
    scene.ceremony.process = {"import": found["import"], "entered": [], **said, **found["names"]}
    return said


announce = Deed(Action.ANNOUNCE, RoomRole.OPERATOR, _announced, _announce)
"""Open the import with the planner's rights; whoever planned enters no component unless the key's policy lets them."""


def enter_component(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str) -> int:
    """Take the component with the caller's number; how many are still missing. With the last one nobody can go back.

    It is compared with its check value at once. A rehearsal looks at none. Raises ValidationFailed naming a wrong one, and as
    `imports.enter_component` does; SessionOver when the process was restarted, and the page then has a new key.
    """
    ciphertext = unpacked(sealed)
    with in_room(actor, ceremony_id, "enter_component_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.HOLDER)
        need_action(scene, Action.ENTER)
        need_signatures(scene)
        me, ceremony, step_id = scene.me, scene.ceremony, scene.step.id
    number = me.share_index or 0
    try:
        entered = {number} if ceremony.practice else _enter(actor, ceremony, me, step_id, ciphertext)
    except ValidationFailed as error:
        note_refused(actor, ceremony_id, me, error)
        raise
    except SessionOver:
        _begin_again(actor, ceremony, step)
        raise
    with in_room(actor, ceremony_id, "enter_component", states=RUNNING, step=step, any_clock=True) as scene:
        ceremony = scene.ceremony
        entered |= set(ceremony.process["entered"])
        ceremony.process = ceremony.process | {"entered": sorted(entered)}
        missing = ceremony.share_count - len(entered)
        scene.record.record({"component": number, "custodian": me.name, "missing": missing})
        if not missing:
            ceremony.acted = True
            ceremony.result = {"import": ceremony.process["import"], "check_value": ceremony.process["check_value"]}
            commit(scene)
            go_on(scene, ceremony.read_script())
    if not missing:
        erase(ceremony_id)
    return missing


def _enter(actor: Actor, ceremony: Ceremony, me: Participant, step: str, ciphertext: bytes) -> set[int]:
    """The numbers that are in; one that a broken connection left unnoted is not asked for again."""
    import_id = UUID(ceremony.process["import"])
    rows = KeyComponent.objects.filter(key_import_id=import_id)
    assert actor.id is not None  # the plan seats nobody without an account
    number = me.share_index or 0
    if not rows.filter(number=number, person_id=actor.id).exists():
        ceremony_process().take_component(
            ceremony_id=ceremony.pk, nonce=ceremony.process["nonce"], custodian_id=str(me.pk), step=step, ciphertext=ciphertext,
            import_id=import_id, number=number, person_id=actor.id,
        )  # fmt: skip
    return set(rows.values_list("number", flat=True))


def _begin_again(actor: Actor, ceremony: Ceremony, step: int) -> None:
    """The process has lost its key, and nothing else: what was entered is with the import."""
    names = named(begun(ceremony))
    with in_room(actor, ceremony.pk, "begin_again", states=RUNNING, step=step, any_clock=True) as scene:
        scene.ceremony.process = scene.ceremony.process | names
        scene.record.record({"step": scene.step.id})


def _compare(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    if ceremony.practice:
        return {"came": {"version": None}}
    row = KeyImport.objects.select_related("version").get(pk=ceremony.process["import"])
    if row.state in {ImportState.RECEIVED.value, ImportState.HANDED.value}:
        raise NotReady("A worker puts the key together.", hint="Look again in a moment.")
    if row.state != ImportState.DONE.value or row.version is None:
        return {"came": {"version": None, "failed": row.last_error or f"The import is {row.state}."}}
    return {"came": {"version": row.version.key_version, "check_value": row.check_value, "state": row.version.status}}


def _compared(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.result = scene.ceremony.result | found["came"]
    return dict(found["came"])


compare = Deed(Action.COMPARE, RoomRole.OPERATOR, _compared, _compare)
"""What became of the components: the key's new version and its check value, or why there is none."""


def give_up(ceremony: Ceremony, reason: str) -> None:
    """After an abort: erase the components that were entered. An import whose planner is gone ends by its own clock."""
    import_id = ceremony.process.get("import")
    if import_id is None:
        return

    def end() -> None:
        try:
            imports.abort_import(
                actor=planner_of(ceremony), import_id=UUID(import_id), reason=f"Ceremony aborted: {reason}"
            )
        except PortalError:
            return

    transaction.on_commit(end, robust=True)
