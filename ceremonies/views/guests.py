"""The page an invitation's link leads to; opening it uses nothing up."""

import secrets
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies.forms import JoinForm, ReturnForm
from ceremonies.models import Participant
from ceremonies.services import invitations
from ceremonies.views.entering import SESSION_KEY
from keyvault_portal.accounts.passkeys import check_creation, creation_options, request_options
from keyvault_portal.accounts.web import client_address
from keyvault_portal.errors import PortalError

CHALLENGE_KEY = "ceremony_challenge"


class Join(View):
    """Asks for the code that took another way, or for the passkey made then; after that this browser, and no other, has the seat."""

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def get(self, request: HttpRequest, link: str) -> HttpResponse:
        return self._page(request, link)

    def post(self, request: HttpRequest, link: str) -> HttpResponse:
        seat = invitations.find_invitation(link)
        form = ReturnForm(request.POST) if seat.passkey is not None else JoinForm(request.POST)
        if not form.is_valid():
            return self._page(request, link, form, status=422)
        try:
            seat, secret = self._enter(request, link, form)
        except PortalError as error:
            if error.status != 403:
                raise
            form.add_error(
                "code" if error.code == "code_refused" else None, f"{error.title}. {error.detail} {error.hint}"
            )
            return self._page(request, link, form, status=403)
        request.session.cycle_key()
        request.session[SESSION_KEY] = {"ceremony": str(seat.ceremony_id), "seat": str(seat.pk), "secret": secret}
        return redirect("ceremonies:room", seat.ceremony_id)

    def _enter(self, request: HttpRequest, link: str, form: forms.Form) -> tuple[Participant, str]:
        answer, address = form.cleaned_data["passkey"], client_address(request)
        challenge = bytes.fromhex(request.session.pop(CHALLENGE_KEY, ""))
        if isinstance(form, ReturnForm):
            return invitations.return_with_passkey(link=link, challenge=challenge, answer=answer, address=address)
        passkey = check_creation(challenge, answer) if answer else None
        return invitations.redeem_invitation(
            link=link, code=form.cleaned_data["code"], passkey=passkey, address=address
        )

    def _page(self, request: HttpRequest, link: str, form: forms.Form | None = None, status: int = 200) -> HttpResponse:
        seat = invitations.find_invitation(link)
        known, challenge = invitations.passkey_of(seat), secrets.token_bytes(32)
        request.session[CHALLENGE_KEY] = challenge.hex()
        context = {
            "title": "Your seat in a ceremony", "seat": seat, "ceremony": seat.ceremony, "returning": known is not None,
            "form": form or (ReturnForm() if known else JoinForm()), "practice_banner": banner(seat.ceremony.practice),
            "options": request_options(challenge, [known], verified=False)
            if known
            else creation_options(challenge, user_id=seat.pk.bytes, name=f"{seat.name}: {seat.ceremony}"[:64]),
        }  # fmt: skip
        return render(request, "ceremonies/join.html", context, status=status)


def banner(practice: bool) -> str:
    """What stands on top of every page of a rehearsal."""
    return "PRACTICE: a rehearsal with throw-away keys. Nothing here protects anything." if practice else ""
