"""A sealed portal answers 503 everywhere, but for the pages by which it is opened again."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from keys.services import seal_watch
from keyvault_portal.edges import respond
from keyvault_portal.errors import Sealed

OPEN_PATHS = (
    "/sealed/",
    "/account/",
    "/sign-in/",
    "/static/",
    "/healthz",
    "/v1/",  # says it in the words of Vault's API
    "/pki/",  # CRLs and OCSP answers are signed already
)


class SealedMiddleware:
    """Looks at most once a second whether the keyholder is unsealed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(OPEN_PATHS):
            try:
                seal_watch.require_open()
            except Sealed as error:
                return respond(request, error)
        return self.get_response(request)
