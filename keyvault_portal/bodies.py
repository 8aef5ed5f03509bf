"""What the REST API reads: JSON of a sane size and depth, whose length is known."""

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from keyvault_portal.edges import json_problem, length_required
from keyvault_portal.errors import TooLarge

MAX_BODY = 1_000_000  # bytes; what governs keys is small, the data plane has a limit of its own


class BoundedJSONParser(JSONParser):
    """Refuses a body by its length before it reads it; a body without one is empty to the server."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        length = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or "0"
        if int(length) > MAX_BODY:
            raise TooLarge(f"The body has {int(length):,} bytes; at most {MAX_BODY:,} are read.")
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The body is nested too deeply.") from None


class LengthRequired:
    """Refuses a body that comes in chunks to a REST view: without a length the server gives it to nobody."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        chunked = "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH")
        # The data plane says the same by itself, with the refusal on the record.
        rest = request.path.startswith("/api/v1/") and not getattr(view, "answers_machines", False)
        return json_problem(length_required()) if chunked and rest else None
