"""What a ceremony is about where that is no key of ours: a waiting request, or an act that another app registered."""

from typing import Any
from uuid import UUID

from django import forms

from ceremonies.models import Ceremony
from ceremonies.script import Action
from ceremonies.services.frame import locked, need_state, target_of
from ceremonies.states import PLANNING
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import held_acts
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.held_acts import Subject
from keyvault_portal.approvals.states import RequestState
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, ValidationFailed, WrongState


class _Glass:
    """A request whose missing agreement is to be done without."""

    title = "Break the glass"

    def form(self, data: Any, *, actor: Actor) -> forms.Form:
        waiting = approvals.visible_requests(actor).filter(state=RequestState.PENDING.value)
        choices = [
            (str(row.pk), f"{row.title}: {row.target_label}, asked by {row.requester_label}") for row in waiting[:200]
        ]

        class Request(forms.Form):
            request = forms.ChoiceField(
                choices=choices, label="The waiting request",
                help_text="" if choices else "No request that you may see waits for agreement: ask for the act itself first.",
            )  # fmt: skip

        return Request(data)

    def check(self, *, actor: Actor, subject: Subject) -> UUID | None:
        found = approvals.visible_request(actor, UUID(str(subject["request"])))
        if found.state != RequestState.PENDING.value:
            raise WrongState(f"This request is {found.state}.", hint="Only what waits can be done without agreement.")
        return found.ring_id

    def describe(self, subject: Subject) -> list[tuple[str, str]]:
        return [("Request", str(subject["label"])), ("SHA-256 of the act", str(subject["act_hash"]))]


_GLASS = _Glass()


def act_name(ceremony: Ceremony) -> str:
    """The registered act of its script; empty where it has none."""
    return next((step.act for step in ceremony.read_script().steps if step.act), "")


def needs_subject(ceremony: Ceremony) -> bool:
    """Whether the plan has to say what the ceremony is about."""
    return bool(act_name(ceremony)) or ceremony.read_script().number_of(Action.BREAK_GLASS) is not None


def subject_form(ceremony: Ceremony, data: Any, *, actor: Actor) -> forms.Form:
    """The form that asks for it; raises PermissionRefused, and WrongState where nothing is to be asked."""
    authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
    form: forms.Form = _act_of(ceremony).form(data, actor=actor)
    return form


def set_subject(*, actor: Actor, ceremony_id: UUID, values: dict[str, Any]) -> Ceremony:
    """Write down what the ceremony is about; `values` are the form's. Raises what the act's own check does, WrongState."""
    with audit.atomic(actor=actor, action="ceremony.subject", target=("ceremony", ceremony_id, "")) as record:
        ceremony = locked(ceremony_id)
        record.about(target=target_of(ceremony), ring_id=ceremony.ring_id)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ceremony.ring_id, target=str(ceremony))
        need_state(ceremony, PLANNING)
        act = _act_of(ceremony)
        subject = dict(values)
        if isinstance(act, _Glass):
            found = approvals.visible_request(actor, UUID(str(values["request"])))
            subject |= {"label": str(found)[:200], "act_hash": found.act_hash}
        ring_id = act.check(actor=actor, subject=subject)
        authorize(actor, Permission.CEREMONY_MANAGE, ring_id=ring_id, target=str(ceremony))
        ceremony.subject, ceremony.ring_id, ceremony.version = subject, ring_id, ceremony.version + 1
        ceremony.save(update_fields=["subject", "ring_id", "version"])
        record.about(ring_id=ring_id)
        record.record({"subject": subject})
    return ceremony


def described(ceremony: Ceremony) -> list[tuple[str, str]]:
    """What people read of it before they agree and in the room."""
    return _act_of(ceremony).describe(ceremony.subject) if ceremony.subject else []


def held_act(name: str) -> held_acts.HeldAct:
    """The act a step names; raises NotFound when no app offers it any more."""
    found = held_acts.find(name)
    if found is None:
        raise NotFound(f"No part of the portal offers the act {name}.")
    return found


def check_acts(names: list[str]) -> None:
    """Raise ValidationFailed unless every name is an act that some app offers."""
    if unknown := sorted(set(names) - set(held_acts.names())):
        raise ValidationFailed(
            errors={
                "text": [f"Not an act of the portal: {', '.join(unknown)}. There are: {', '.join(held_acts.names())}."]
            }
        )


def _act_of(ceremony: Ceremony) -> Any:
    if name := act_name(ceremony):
        return held_act(name)
    if needs_subject(ceremony):
        return _GLASS
    raise WrongState("Nothing else is asked about this ceremony.")
