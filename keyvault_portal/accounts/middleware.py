"""Nobody governs keys on a password alone."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework.views import APIView

from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.second_factor import has_second_factor, requires_second_factor
from keyvault_portal.accounts.web import actor_of

SIGNING_OUT = frozenset({"account_logout"})
PROVING = SIGNING_OUT | {"mfa_reauthenticate", "mfa_reauthenticate_webauthn"}
SETTING_UP = SIGNING_OUT | {
    "account_reauthenticate",
    "account_set_password",
    "account_change_password",
    "mfa_index",
    "mfa_activate_totp",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_download_recovery_codes",
}


class RequireSecondFactor:
    """Sends people whose roles need a second factor to its set-up, or to prove it, before any other page.

    REST views, and the data plane's, are left to `api_auth.check_session`, which answers the same with a problem document.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        view_class = getattr(view, "cls", None)
        is_rest = isinstance(view_class, type) and issubclass(view_class, APIView)
        is_rest = is_rest or getattr(view, "answers_machines", False)
        person = request.user
        if is_rest or not isinstance(person, Person):
            return None
        actor = actor_of(request)
        if actor.second_factor or not requires_second_factor(actor):
            return None
        name = request.resolver_match.view_name if request.resolver_match else ""
        proving = has_second_factor(person)
        if name in (PROVING if proving else SETTING_UP):
            return None
        if proving:
            # The factor was added in another session; this one has never shown it.
            return redirect(f"{reverse('mfa_reauthenticate')}?{urlencode({'next': _return_path(request)})}")
        messages.warning(request, "Your roles require a second factor. Set one up to continue.")
        return redirect("mfa_index")


def _return_path(request: HttpRequest) -> str:
    return request.get_full_path() if request.method == "GET" else "/"
