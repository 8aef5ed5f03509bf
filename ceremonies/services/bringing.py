"""A key brought in components: their check values announced, each entered by its custodian, the key compared at the end."""

from typing import Any
from uuid import UUID

from django.db import transaction

from ceremonies.errors import NotReady
from ceremonies.models import Ceremony
from ceremonies.planning import RoomRole
from ceremonies.script import Action
from ceremonies.services.frame import Scene, in_room, need_role
from ceremonies.services.gathering import note_refused
from ceremonies.services.room import go_on
from ceremonies.services.work import RUNNING, Asked, Deed, commit, need_action, need_signatures, planner_of
from keys.crypto.secret import SecretBytes
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
        return {"import": None}
    assert ceremony.key_id is not None  # the plan wants one
    opened = imports.open_import(
        actor=planner_of(ceremony), key_id=ceremony.key_id, method=KeyImport.Method.COMPONENTS, reason=f"Ceremony: {ceremony.title}",
        check_value=asked.values["check_value"], component_values=values,
    )  # fmt: skip
    return {"import": str(opened.pk), "component_values": opened.component_values, "check_value": opened.check_value}


def _announced(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    said = {"check_value": found["check_value"], "component_values": found["component_values"]}
    scene.ceremony.process = {"import": found["import"], "entered": [], **said}
    return said


announce = Deed(Action.ANNOUNCE, RoomRole.OPERATOR, _announced, _announce)
"""Open the import with the planner's rights; whoever planned enters no component unless the key's policy lets them."""


def enter_component(*, actor: Actor, ceremony_id: UUID, step: int, component: SecretBytes) -> int:
    """Take the component with the caller's number; how many are still missing. With the last one nobody can go back.

    It is compared with its check value at once. A rehearsal looks at none. Raises ValidationFailed naming a wrong one, and as
    `imports.enter_component` does.
    """
    with in_room(actor, ceremony_id, "enter_component_begin", states=RUNNING, step=step) as scene:
        need_role(scene.me, RoomRole.HOLDER)
        need_action(scene, Action.ENTER)
        need_signatures(scene)
        me, ceremony = scene.me, scene.ceremony
    number = me.share_index or 0
    try:
        entered = _enter(actor, ceremony, number, component)
    except ValidationFailed as error:
        note_refused(actor, ceremony_id, me, error)
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
    return missing


def _enter(actor: Actor, ceremony: Ceremony, number: int, component: SecretBytes) -> set[int]:
    """The numbers that are in; one that a broken connection left unnoted is not asked for again."""
    if ceremony.practice:
        return {number}
    import_id = UUID(ceremony.process["import"])
    rows = KeyComponent.objects.filter(key_import_id=import_id)
    if actor.id is None or not rows.filter(number=number, person_id=actor.id).exists():
        imports.enter_component(actor=actor, import_id=import_id, number=number, component=component)
    return set(rows.values_list("number", flat=True))


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
