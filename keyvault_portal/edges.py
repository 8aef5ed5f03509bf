"""The four renderers of `errors`: page, problem document (RFC 9457), plain JSON for the data plane, command line."""

import sys
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.core.management.base import CommandError
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from rest_framework import exceptions as rest
from rest_framework.response import Response

from keyvault_portal import errors
from keyvault_portal.errors import ApprovalRequired, PortalError

PROBLEM_JSON = "application/problem+json"
MACHINE_PATHS = ("/api/", "/v1/", "/acme/")  # callers below these paths read JSON, whatever they say they accept

_MISSING = frozenset({"42P01", "42703"})  # a table, a column
_HTTP_CODES = {
    400: ("bad_request", "The request cannot be read"),
    405: ("method_not_allowed", "This method is not allowed here"),
    411: ("length_required", "The length of the body is not known"),
    406: ("not_acceptable", "No representation you accept exists"),
    415: ("unsupported_media_type", "This media type is not supported"),
    500: ("internal_error", "Something went wrong here"),
}


class HttpError(PortalError):
    """A protocol error that no service raises; its code and title follow from the HTTP status."""

    def __init__(self, status: int, detail: str = "", **extra: Any) -> None:
        code, title = _HTTP_CODES.get(status, _HTTP_CODES[400])
        self.status, self.code, self.title = status, code, title  # type: ignore[misc]
        super().__init__(detail, **extra)


def length_required() -> HttpError:
    """What is said of a body without a length (RFC 9110, section 15.5.12)."""
    return HttpError(411, "The request has no Content-Length.", hint="Send the body in one piece.")


def as_portal_error(error: BaseException) -> PortalError | None:
    """The member of our family that says what `error` of Django or REST framework says; None if it is neither's."""
    known: PortalError | None = None
    match error:
        case PortalError():
            known = error
        case Http404() | rest.NotFound():
            known = errors.NotFound()
        case DataError():
            # What a field accepts and PostgreSQL does not: a year or a time zone that nobody lives in.
            known = errors.ValidationFailed("A value is out of range.")
        case OperationalError() | InterfaceError() if _is_away(error):
            hint = "Try again in a moment; of a write, look first whether it was done."
            known = errors.DatabaseUnavailable(hint=hint, retry_after=5)
        case RequestDataTooBig():
            known = errors.TooLarge(hint="Send less at a time.")
        case rest.NotAuthenticated() | rest.AuthenticationFailed():
            known = errors.NotAuthenticated(hint="Send an API token or sign in.")
        case PermissionDenied() | rest.PermissionDenied():
            known = errors.PermissionRefused(str(getattr(error, "detail", "")))
        case ValidationError():
            fields = error.message_dict if hasattr(error, "error_dict") else {"non_field_errors": error.messages}
            known = errors.ValidationFailed(errors=fields)
        case rest.ValidationError():
            known = errors.ValidationFailed(errors=_field_errors(error.detail))
        case rest.Throttled():
            known = errors.Throttled(retry_after=int(getattr(error, "wait", None) or 1))
        case rest.APIException():
            known = HttpError(error.status_code, str(error.detail))
    return known


def _is_away(error: OperationalError | InterfaceError) -> bool:
    """Whether the server is gone or restarts: no answer at all, a broken connection, or an operator's intervention."""
    state = str(getattr(error.__cause__, "sqlstate", None) or "08")
    return state.startswith(("08", "57P"))


def problem(error: PortalError) -> dict[str, Any]:
    """The members of a problem document (RFC 9457, section 3.1), plus `code`, `hint` and the error's own."""
    members: dict[str, Any] = {
        "type": f"urn:keyvault-portal:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.hint:
        members["hint"] = error.hint
    return error.extra | members


def problem_response(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler: a problem document, or 202 with the approval's address.

    None for what is no known error, which then becomes a 500 with its trace in the log.
    """
    known = as_portal_error(error)
    if known is None:
        return None
    content_type = None if isinstance(known, ApprovalRequired) else PROBLEM_JSON
    return Response(problem(known), known.status, headers=problem_headers(known), content_type=content_type)


def json_problem(error: PortalError) -> JsonResponse:
    """The problem document for callers that no framework view answers."""
    content_type = "application/json" if isinstance(error, ApprovalRequired) else PROBLEM_JSON
    return JsonResponse(problem(error), status=error.status, content_type=content_type, headers=problem_headers(error))


def page_problem(request: HttpRequest, error: PortalError) -> HttpResponse:
    """The page for `error`; the sign-in page when nobody is signed in; the approval when it waits for agreement."""
    if isinstance(error, errors.NotAuthenticated):
        return redirect_to_login(request.get_full_path())
    if isinstance(error, ApprovalRequired):
        messages.info(request, error.detail)
        return _redirect(request, _approval_page(error))
    response = render(request, "errors/problem.html", {"title": error.title, "error": error}, status=error.status)
    for name, value in problem_headers(error).items():
        response[name] = value
    return response


def cli_error(error: PortalError) -> CommandError:
    """What a management command raises: title, detail and hint in one sentence each."""
    said = dict.fromkeys(part.rstrip(".") for part in (error.title, error.detail, error.hint) if part)
    return CommandError(". ".join(said) + ".")


class PortalErrorMiddleware:
    """Renders portal errors that leave a view outside REST framework, as a page or as JSON."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return respond(request, error) if isinstance(error, PortalError) else None


def respond(request: HttpRequest, error: PortalError) -> HttpResponse:
    """`error` in the form this caller reads."""
    if request.path.startswith(MACHINE_PATHS):
        return json_problem(error)
    return page_problem(request, error)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if isinstance(exception, RequestDataTooBig):
        return respond(request, errors.TooLarge(hint="Send less at a time."))
    return respond(request, HttpError(400))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return respond(request, errors.PermissionRefused())


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return respond(request, errors.NotFound(hint="Check the address, or start from the dashboard."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500; the cause is in the log only."""
    error = sys.exc_info()[1] or Exception()
    away = as_portal_error(error)
    if isinstance(away, errors.DatabaseUnavailable):
        return respond(request, away)
    if isinstance(error, ProgrammingError) and getattr(error.__cause__, "sqlstate", "") in _MISSING:
        return respond(request, errors.DatabaseUnprepared(hint="Run ./manage.py set_up, which is safe to run again."))
    return respond(request, HttpError(500, hint="The cause is in the log. Try again, or tell the operators the time."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    return respond(
        request,
        errors.PermissionRefused(
            "The form was too old or came from elsewhere.", hint="Reload the page and send it again."
        ),
    )


def problem_headers(error: PortalError) -> dict[str, str]:
    """The headers that belong to `error`: where to follow it, how to sign in, when to try again."""
    if isinstance(error, ApprovalRequired):
        return {"Location": f"/api/v1/approvals/{error.request_id}"}
    if error.status == 401:
        return {"WWW-Authenticate": 'Bearer realm="KeyVault Portal"'}
    if "retry_after" in error.extra:
        return {"Retry-After": str(error.extra["retry_after"])}
    return {}


def _approval_page(error: ApprovalRequired) -> str:
    try:
        return reverse("approvals:detail", args=[error.request_id])
    except NoReverseMatch:
        return "/"


def _redirect(request: HttpRequest, url: str) -> HttpResponse:
    if getattr(request, "htmx", False):
        # htmx would follow a plain redirect and put the whole page into a part of this one.
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def _field_errors(detail: Any, path: str = "") -> dict[str, list[str]]:
    """REST framework's nested errors as one flat mapping: `rings.0.name` -> sentences."""
    if isinstance(detail, dict):
        items = [(str(key), value) for key, value in detail.items()]
    elif isinstance(detail, list) and any(isinstance(value, dict | list) for value in detail):
        items = [(str(index), value) for index, value in enumerate(detail)]
    else:
        sentences = detail if isinstance(detail, list) else [detail]
        # A sentence may quote half a surrogate pair, which JSON can carry and UTF-8 cannot.
        shown = [str(sentence).encode(errors="backslashreplace").decode() for sentence in sentences]
        return {path or "non_field_errors": shown}
    found: dict[str, list[str]] = {}
    for key, value in items:
        found |= _field_errors(value, f"{path}.{key}" if path else key)
    return found
