"""The room: the page everybody has open, its live parts, and the acts in it."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.views import View

from ceremonies import quiet
from ceremonies.forms import (
    AnnounceForm,
    AttestForm,
    ConfirmScriptForm,
    ConfirmShareForm,
    ExceptionForm,
    OutcomeForm,
    OwnKeyForm,
    PackageForm,
    ProofForm,
    SealedForm,
    WhyForm,
)
from ceremonies.models import Ceremony, Participant
from ceremonies.script import Action, Step
from ceremonies.services import (
    bringing,
    dealing,
    endings,
    gathering,
    handing,
    looking,
    outside,
    proving,
    room,
    subjects,
)
from ceremonies.services.deeds import deed_of
from ceremonies.states import ENDED
from ceremonies.views.entering import enter, frame_for
from ceremonies.views.guests import banner
from keys.forms import ServiceForm
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import NotAuthenticated, NotFound, PermissionRefused, PortalError, ValidationFailed


class Room(View):
    """The whole page."""

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        return room_page(request, ceremony_id)


class RoomLive(View):
    """What changed since the page's tags; 204 when nothing did. Asked twice a second by everybody in the room.

    Most polls end before they come here (`ceremonies.quiet`).
    """

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        try:
            _, seat, ceremony = enter(request, ceremony_id)
        except NotAuthenticated:
            if not request.headers.get("HX-Request"):
                raise
            return HttpResponse(headers={"HX-Refresh": "true"})
        if seat is not None:
            room.mark_present(seat)
        seats = list(ceremony.participants.all())
        quiet.note_look(ceremony.pk, seat.pk if seat else "", ceremony.version, looking.here_tag(seats))
        expired = quiet.is_stale(request.GET["ticket"]) if "ticket" in request.GET else False
        if request.GET.get("tag") == looking.tag_of(ceremony, seats) and not expired:
            return HttpResponse(status=204)
        if ceremony.status in ENDED:
            return HttpResponse(headers={"HX-Refresh": "true"})
        context = room_context(request, seat, ceremony, seats)
        html = render_to_string("ceremonies/_live.html", context, request)
        if request.GET.get("part") != context["part_tag"]:
            html += render_to_string("ceremonies/_part.html", context | {"oob": True}, request)
        return HttpResponse(html)


def room_context(
    request: HttpRequest, seat: Participant | None, ceremony: Ceremony, seats: list[Participant]
) -> dict[str, Any]:
    """Everything the room's page shows to this person."""
    found = looking.look(ceremony, seat, seats)
    part = found["part"]
    return found | {
        "own_key_form": OwnKeyForm() if part.name == "show_share" else None, "subject": subjects.described(ceremony),
        "command_form": _WITH_A_BAG[part.name](auto_id="id_command_%s") if part.name in _WITH_A_BAG else None,
        "title": str(ceremony), "ceremony": ceremony, "seat": seat, "state": ceremony.state, "practice_banner": banner(ceremony.practice),
        "part_form": _form_of(part, found["step"]), "ended": ceremony.status in ENDED, "exception_form": ExceptionForm(prefix="exception"),
        "may_abort": seat is not None and seat.left_at is None and ceremony.committed_at is None and ceremony.status not in ENDED,
        "generation": getattr(ceremony, "generation", None), "ticket": quiet.ticket_for(request, ceremony.pk, seat.pk if seat else ""),
    }  # fmt: skip


def room_page(
    request: HttpRequest,
    ceremony_id: UUID,
    *,
    status: int = 200,
    problem: PortalError | None = None,
    form: forms.Form | None = None,
) -> HttpResponse:
    """The page as it is now; `form` replaces the form of the reader's own part, with its complaints."""
    actor, seat, ceremony = enter(request, ceremony_id)
    if seat is not None:
        room.mark_present(seat)
    context = room_context(request, seat, ceremony, list(ceremony.participants.all()))
    context |= {"frame": frame_for(actor), "problem": problem}
    if form is not None:
        context["part_form"] = form
    return render(request, "ceremonies/room.html", context, status=status)


# What the portal has to be told before it does its part of a step.
_ASKING: Mapping[Action, type[ServiceForm]] = {
    Action.STORE_PACKAGE: PackageForm, Action.VISIT: OutcomeForm, Action.ANNOUNCE: AnnounceForm,
}  # fmt: skip

# Where something is told beside what is sealed, by the page's script or by the offline tool.
_WITH_A_BAG: Mapping[str, type[ServiceForm]] = {"confirm_share": ConfirmShareForm, "prove": ProofForm}

type Handler = Callable[[HttpRequest, Actor, Ceremony, int], forms.Form | None]


class RoomAct(View):
    """One act in the room; the step number in the form is the one the person saw."""

    def post(self, request: HttpRequest, ceremony_id: UUID, act: str) -> HttpResponseBase:
        handler = ACTS.get(act)
        if handler is None:
            raise NotFound("There is no such act.")
        actor, seat, ceremony = enter(request, ceremony_id)
        if seat is None:
            raise PermissionRefused("You have no part in this ceremony.", hint="You may watch it.")
        try:
            wrong = handler(request, actor, ceremony, step_of(request, ceremony))
        except PortalError as error:
            return room_page(request, ceremony_id, status=error.status, problem=error)
        if wrong is not None:
            return room_page(request, ceremony_id, status=422, form=wrong)
        return redirect("ceremonies:room", ceremony_id)


def step_of(request: HttpRequest, ceremony: Ceremony) -> int:
    text = request.POST.get("step", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else ceremony.step


def _form_of(part: looking.Part, step: Step) -> forms.Form | None:
    if part.name == "perform":
        return _ASKING[step.action]() if step.action in _ASKING else None
    makers: Mapping[str, Callable[[], forms.Form]] = {
        **_WITH_A_BAG,
        "passphrase": SealedForm, "enter": SealedForm, "give": SealedForm, "gathering": WhyForm,
        "confirm": ConfirmScriptForm, "attest": AttestForm, "submit": SealedForm, "deal_again": WhyForm,
    }  # fmt: skip
    return makers[part.name]() if part.name in makers else None


def _confirm(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = ConfirmScriptForm(request.POST)
    if form.is_valid():
        form.run(lambda values: room.confirm_script(actor=actor, ceremony_id=ceremony.pk, **values))
    return form if form.errors else None


def _identify(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.identify(actor=actor, ceremony_id=ceremony.pk, participant_id=_seat_id(request))


def _start(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.start(actor=actor, ceremony_id=ceremony.pk)


def _sign(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.sign_off(actor=actor, ceremony_id=ceremony.pk, step=step)


def _perform(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    """The portal's part of the current step, whichever it is."""
    deed = deed_of(ceremony, step)
    if deed.action not in _ASKING:
        deed(actor=actor, ceremony_id=ceremony.pk, step=step)
        return None
    form = _ASKING[deed.action](request.POST)
    if form.is_valid():
        form.run(lambda values: deed(actor=actor, ceremony_id=ceremony.pk, step=step, **values))
    return form if form.errors else None


def _begin(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    dealing.begin(actor=actor, ceremony_id=ceremony.pk, step=step)


def _passphrase(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = SealedForm(request.POST)
    if form.is_valid():
        gathering.seal_passphrase(actor=actor, ceremony_id=ceremony.pk, step=step, sealed=form.cleaned_data["sealed"])
        messages.success(request, "The passphrase is in.")
    return form if form.errors else None


def _sealed_to(service: Callable[..., object]) -> Handler:
    """What a holder typed goes to the service as the browser sealed it."""

    def handle(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
        form = SealedForm(request.POST)
        if form.is_valid():
            service(actor=actor, ceremony_id=ceremony.pk, step=step, sealed=form.cleaned_data["sealed"])
        return form if form.errors else None

    return handle


def _confirm_share(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = ConfirmShareForm(request.POST)
    if form.is_valid():
        form.run(lambda values: handing.confirm_share(actor=actor, ceremony_id=ceremony.pk, step=step, **values))
    return form if form.errors else None


def _submit(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = SealedForm(request.POST)
    if form.is_valid():
        progress = gathering.submit_share(
            actor=actor, ceremony_id=ceremony.pk, step=step, sealed=form.cleaned_data["sealed"]
        )
        messages.success(request, f"Share {progress.index} is accepted.")
    return form if form.errors else None


def _prove(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = ProofForm(request.POST)
    if form.is_valid():
        proving.prove_share(
            actor=actor,
            ceremony_id=ceremony.pk,
            step=step,
            proof=form.cleaned_data["sealed"],
            bag=form.cleaned_data["bag"],
        )
        messages.success(request, "Your proof is accepted.")
    return form if form.errors else None


def _exception(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = ExceptionForm(request.POST, prefix="exception")
    if not form.is_valid():
        raise ValidationFailed("Say what happened.")
    values = form.cleaned_data
    room.note_exception(
        actor=actor, ceremony_id=ceremony.pk, expected="", happened=values["happened"], decision=values["decision"]
    )
    return None


def _attest(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> forms.Form | None:
    form = AttestForm(request.POST)
    if form.is_valid():
        form.run(lambda values: room.attest(actor=actor, ceremony_id=ceremony.pk, **values))
    return form if form.errors else None


def _with_reason(service: Callable[..., None]) -> Handler:
    def handle(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
        service(actor=actor, ceremony_id=ceremony.pk, reason=request.POST.get("reason", "")[:2000])

    return handle


def _resume(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.resume(actor=actor, ceremony_id=ceremony.pk)


def _stand_in(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.stand_in(actor=actor, ceremony_id=ceremony.pk)


def _send_away(request: HttpRequest, actor: Actor, ceremony: Ceremony, step: int) -> None:
    room.send_away(
        actor=actor,
        ceremony_id=ceremony.pk,
        participant_id=_seat_id(request),
        reason=request.POST.get("reason", "")[:2000],
    )


def _seat_id(request: HttpRequest) -> UUID:
    try:
        return UUID(request.POST.get("seat", ""))
    except ValueError:
        raise ValidationFailed("Say whom you mean.") from None


ACTS: Mapping[str, Handler] = {
    "confirm": _confirm, "identify": _identify, "start": _start, "sign": _sign, "perform": _perform, "confirm-share": _confirm_share,
    "submit": _submit, "prove": _prove, "exception": _exception, "attest": _attest, "pause": _with_reason(room.pause), "resume": _resume,
    "leave": _with_reason(room.leave), "send-away": _send_away, "stand-in": _stand_in, "abort": _with_reason(endings.abort),
    "deal-again": _with_reason(dealing.deal_again), "begin": _begin, "passphrase": _passphrase,
    "enter": _sealed_to(bringing.enter_component), "give": _sealed_to(outside.give_share),
    "cancel-verification": _with_reason(dealing.cancel_verification),
}  # fmt: skip
