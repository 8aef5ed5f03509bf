"""The data plane's Django views: plain functions, no framework between the request and `respond`."""

from collections.abc import Callable
from uuid import UUID

from django.http import HttpRequest, HttpResponse

from keys.dataplane import bodies
from keys.dataplane.answering import Answer, refusal, respond
from keys.dataplane.callers import caller
from keys.dataplane.operations import OPERATIONS
from keyvault_portal.edges import HttpError
from keyvault_portal.errors import PortalError


def endpoint(operation: str) -> Callable[[HttpRequest, UUID], HttpResponse]:
    """The view of one operation."""

    def view(request: HttpRequest, key_id: UUID) -> HttpResponse:
        if request.method != "POST":
            response = _response(refusal(HttpError(405, "Only POST is answered here.")))
            response["Allow"] = "POST"
            return response
        try:
            actor = caller(request)
        except PortalError as error:
            return _response(refusal(error))

        def read() -> bytes:
            length = request.META.get("CONTENT_LENGTH") or ""
            bodies.check_head(request.META.get("CONTENT_TYPE", ""), int(length) if length.isdecimal() else None)
            return request.body

        response = _response(respond(operation, key_id, actor, read))
        response.holds_secret = OPERATIONS[operation].secret  # type: ignore[attr-defined]  # may a repeat get it again
        return response

    view.csrf_exempt = True  # type: ignore[attr-defined]  # a session's CSRF token is checked by `caller`
    view.answers_machines = True  # type: ignore[attr-defined]  # and so is its second factor
    return view


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)
