"""The two pages one-time links lead to. Opening one uses nothing up: mail scanners and previews open links too."""

from typing import Any

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import FormView, TemplateView

from keyvault_portal.accounts import services
from keyvault_portal.accounts.forms import SetupForm
from keyvault_portal.accounts.models import OneTimeLink, Person
from keyvault_portal.accounts.web import client_address
from keyvault_portal.errors import NotFound, ValidationFailed


class LinkPage:
    """A page whose address is a secret: never cached, never told to another page, not shown once it does not work."""

    purpose: OneTimeLink.Purpose

    @method_decorator(never_cache)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST" and not services.link_works(kwargs["link"], self.purpose):
            raise NotFound(
                "This link does not work any more.", hint="Links work once and for 24 hours; ask for a new one."
            )
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


class SetupView(LinkPage, FormView):
    """Makes the first security officer, signs them in and leads on to the second factor."""

    purpose = OneTimeLink.Purpose.SETUP
    http_method_names = ["get", "head", "options", "post"]
    template_name = "accounts/setup.html"
    form_class = SetupForm
    extra_context = {"title": "Set up the first security officer"}

    def form_valid(self, form: SetupForm) -> HttpResponse:
        values = {field: form.cleaned_data[field] for field in ("email", "name", "password")}
        try:
            person = services.redeem_setup_link(
                link=self.kwargs["link"], address=client_address(self.request), **values
            )
        except ValidationFailed as failure:
            for field, sentences in failure.errors.items():
                form.add_error(field, sentences)
            return self.form_invalid(form)
        return sign_in(self.request, person, method="setup_link", next_url=reverse("mfa_index"))


class SignInLinkView(LinkPage, TemplateView):
    """Signs an invited person in; allauth's next steps (second factor) still apply."""

    purpose = OneTimeLink.Purpose.SIGN_IN
    template_name = "accounts/sign_in_link.html"
    extra_context = {"title": "Sign in"}

    def post(self, request: HttpRequest, link: str) -> HttpResponse:
        person = services.redeem_sign_in_link(link=link, address=client_address(request))
        next_url = reverse("account_set_password") if not person.has_usable_password() else "/"
        return sign_in(request, person, method="sign_in_link", next_url=next_url)


def sign_in(request: HttpRequest, person: Person, *, method: str, next_url: str) -> HttpResponse:
    """Start a session for `person` through the stages of every other sign-in; `method` is noted in the session."""
    record_authentication(request, person, method)
    return perform_login(request, Login(user=person, redirect_url=next_url))
