"""One's own share, once: sealed to the page that shows it, or to a key of one's own; no server on the way reads the words."""

import base64
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies.forms import OwnKeyForm
from ceremonies.models import Ceremony, Participant
from ceremonies.process import sealing
from ceremonies.process.client import RecipientKind
from ceremonies.services import handing, looking
from ceremonies.views.entering import enter, frame_for
from ceremonies.views.guests import banner
from ceremonies.views.room import room_page, step_of
from keys.sealed_forms import RecipientForm
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.edges import json_problem
from keyvault_portal.errors import PermissionRefused, PortalError, ValidationFailed


def _enter(request: HttpRequest, ceremony_id: UUID) -> tuple[Actor, Participant, Ceremony]:
    actor, seat, ceremony = enter(request, ceremony_id)
    if seat is None:
        raise PermissionRefused("You have no part in this ceremony.", hint="You may watch it.")
    return actor, seat, ceremony


@method_decorator(never_cache, name="dispatch")
class MyShare(View):
    """The page that shows the caller's own share: its script makes a key, asks for the share by POST, and opens the answer."""

    def get(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor, seat, ceremony = _enter(request, ceremony_id)
        part = looking.look(ceremony, seat, [])["part"]
        if part.name != "show_share" or part.share is None:
            return redirect("ceremonies:room", ceremony_id)
        context = {
            "title": f"Share {part.share.index}", "ceremony": ceremony, "share": part.share, "step": ceremony.step,
            "practice_banner": banner(ceremony.practice), "frame": frame_for(actor),
        }  # fmt: skip
        return render(request, "ceremonies/share.html", context)

    def post(self, request: HttpRequest, ceremony_id: UUID) -> JsonResponse:
        actor, _, ceremony = _enter(request, ceremony_id)
        form = RecipientForm(request.POST)
        try:
            if not form.is_valid():
                raise ValidationFailed(errors={"key": ["A raw X25519 key, in base64."]})
            share, sealed, step_id = handing.seal_share(
                actor=actor, ceremony_id=ceremony_id, step=step_of(request, ceremony), kind=RecipientKind.PAGE,
                key=form.cleaned_data["key"],
            )  # fmt: skip
        except PortalError as error:
            return json_problem(error)
        text = base64.b64encode(sealed.ciphertext).decode()
        return JsonResponse({"sealed": text, "step": step_id, "custodian": share.custodian_id, "check": sealed.check})


@method_decorator(never_cache, name="dispatch")
class MySealedShare(View):
    """The caller's own share under a public key of theirs, once."""

    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor, _, ceremony = _enter(request, ceremony_id)
        form, step = OwnKeyForm(request.POST), step_of(request, ceremony)
        found, problem = None, None
        try:
            if form.is_valid():
                found = form.run(
                    lambda values: handing.seal_share(actor=actor, ceremony_id=ceremony_id, step=step, **values)
                )
        except PortalError as error:
            problem = error
        if found is None:
            problem = problem or ValidationFailed(
                " ".join(str(word) for words in form.errors.values() for word in words)
            )
            return room_page(request, ceremony_id, status=problem.status, problem=problem)
        share, sealed, step_id = found
        bound = sealing.context(
            ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, step=step_id, custodian_id=share.custodian_id
        )
        openpgp = form.cleaned_data["kind"] == RecipientKind.OPENPGP
        text = sealed.ciphertext.decode() if openpgp else base64.b64encode(sealed.ciphertext).decode()
        context = {
            "title": f"Share {share.index}, sealed to your key", "ceremony": ceremony, "share": share, "sealed": text,
            "kind": form.cleaned_data["kind"], "bound": bound.decode(), "practice_banner": banner(ceremony.practice),
            "frame": frame_for(actor),
        }  # fmt: skip
        return render(request, "ceremonies/sealed_share.html", context)
