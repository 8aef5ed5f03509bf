"""The page an invitation's link leads to; opening it uses nothing up."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from ceremonies.forms import JoinForm
from ceremonies.services import invitations
from ceremonies.views.entering import SESSION_KEY
from keyvault_portal.accounts.web import client_address
from keyvault_portal.errors import PortalError


class Join(View):
    """Asks for the code that took another way; then this browser, and no other, has the seat."""

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = super().dispatch(request, *args, **kwargs)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    def get(self, request: HttpRequest, link: str) -> HttpResponse:
        return self._page(request, link, JoinForm())

    def post(self, request: HttpRequest, link: str) -> HttpResponse:
        form = JoinForm(request.POST)
        if not form.is_valid():
            return self._page(request, link, form, status=422)
        try:
            seat, secret = invitations.redeem_invitation(
                link=link, code=form.cleaned_data["code"], address=client_address(request)
            )
        except PortalError as error:
            if error.status != 403:
                raise
            form.add_error("code", f"{error.title}. {error.detail} {error.hint}")
            return self._page(request, link, form, status=403)
        request.session.cycle_key()
        request.session[SESSION_KEY] = {"ceremony": str(seat.ceremony_id), "seat": str(seat.pk), "secret": secret}
        return redirect("ceremonies:room", seat.ceremony_id)

    def _page(self, request: HttpRequest, link: str, form: JoinForm, status: int = 200) -> HttpResponse:
        seat = invitations.find_invitation(link)
        context = {
            "title": "Your seat in a ceremony",
            "seat": seat,
            "ceremony": seat.ceremony,
            "form": form,
            "practice_banner": banner(seat.ceremony.practice),
        }
        return render(request, "ceremonies/join.html", context, status=status)


def banner(practice: bool) -> str:
    """What stands on top of every page of a rehearsal."""
    return "PRACTICE: a rehearsal with throw-away keys. Nothing here protects anything." if practice else ""
