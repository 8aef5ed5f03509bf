"""One's own share, once: its words on a page, or sealed to a key of one's own so that no server on the way reads them."""

import base64
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies import cards
from ceremonies.forms import ConfirmShareForm, OwnKeyForm
from ceremonies.process import sealing
from ceremonies.process.client import RecipientKind
from ceremonies.services import handing
from ceremonies.views.entering import enter, frame_for
from ceremonies.views.guests import banner
from ceremonies.views.room import room_page, step_of
from keyvault_portal.errors import PermissionRefused, PortalError, ValidationFailed


class MyShare(View):
    """The caller's own share, shown once: by POST, kept nowhere, for this one answer."""

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor, seat, ceremony = enter(request, ceremony_id)
        if seat is None:
            raise PermissionRefused("You have no part in this ceremony.", hint="You may watch it.")
        try:
            share, shown = handing.show_share(actor=actor, ceremony_id=ceremony_id, step=step_of(request, ceremony))
        except PortalError as error:
            return room_page(request, ceremony_id, status=error.status, problem=error)
        with shown.words as words:
            card = cards.card_of(share, ceremony, words.reveal().decode())
            context = {
                "title": f"Share {share.index}", "ceremony": ceremony, "share": share, "card": card, "step": ceremony.step,
                "form": ConfirmShareForm(positions=share.positions), "practice_banner": banner(ceremony.practice), "frame": frame_for(actor),
            }  # fmt: skip
            response = render(request, "ceremonies/share.html", context)
        response["Cache-Control"] = "no-store"
        return response


class MySealedShare(View):
    """The caller's own share under a public key of theirs, once; the page's script makes one where it is asked for JSON."""

    @method_decorator(never_cache)
    def post(self, request: HttpRequest, ceremony_id: UUID) -> HttpResponse:
        actor, seat, ceremony = enter(request, ceremony_id)
        if seat is None:
            raise PermissionRefused("You have no part in this ceremony.", hint="You may watch it.")
        form, by_script = OwnKeyForm(request.POST), request.headers.get("Accept") == "application/json"
        step = step_of(request, ceremony)
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
            if not by_script:
                return room_page(request, ceremony_id, status=problem.status, problem=problem)
            said = {"title": problem.title, "detail": problem.detail, "hint": problem.hint}
            return JsonResponse(said, status=problem.status)
        share, sealed, step_id = found
        text = base64.b64encode(sealed.ciphertext).decode()
        response: HttpResponse
        if by_script:
            response = JsonResponse({"sealed": text, "step": step_id, "custodian": share.custodian_id})
        else:
            bound = sealing.context(
                ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, step=step_id, custodian_id=share.custodian_id
            )
            openpgp = form.cleaned_data["kind"] == RecipientKind.OPENPGP
            context = {
                "title": f"Share {share.index}, sealed to your key", "ceremony": ceremony, "share": share, "step": ceremony.step,
                "sealed": sealed.ciphertext.decode() if openpgp else text, "kind": form.cleaned_data["kind"], "bound": bound.decode(),
                "form": ConfirmShareForm(positions=share.positions), "practice_banner": banner(ceremony.practice), "frame": frame_for(actor),
            }  # fmt: skip
            response = render(request, "ceremonies/sealed_share.html", context)
        response["Cache-Control"] = "no-store"
        return response
