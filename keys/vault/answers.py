"""Answers and refusals in the form that Vault's clients read."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import orjson
from django.http import HttpResponse

from keyvault_portal.errors import NotAuthenticated, PortalError

_AS_IT_IS = frozenset({403, 404, 405, 429, 503})
_INVALID = 400  # what Vault says of every request that it understands and does not do


def answer(data: dict[str, Any], *, status: int = 200, ignored: Sequence[str] = ()) -> HttpResponse:
    """`data` in the envelope of every answer; `ignored` are parameters that the endpoint does not know."""
    warnings = [f"Endpoint ignored these unrecognized parameters: [{' '.join(sorted(ignored))}]"] if ignored else None
    body = {
        "request_id": str(uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0, "data": data, "wrap_info": None,
        "warnings": warnings, "auth": None,
    }  # fmt: skip
    return plain(body, status=status)


def plain(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """A body without the envelope, as the endpoints below sys/ answer."""
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return HttpResponse(orjson.dumps(body), status=status, headers=headers)


def refusal(error: PortalError) -> HttpResponse:
    """The error as a list of sentences; whoever has no accepted token is told what Vault says, and nothing more."""
    if isinstance(error, NotAuthenticated):
        return plain({"errors": ["permission denied"]}, status=403)
    response = plain({"errors": [words(error)]}, status=error.status if error.status in _AS_IT_IS else _INVALID)
    if "retry_after" in error.extra:
        response["Retry-After"] = str(error.extra["retry_after"])
    return response


def words(error: PortalError) -> str:
    """What is wrong and what to do about it, in one line."""
    fields = [f"{name}: {' '.join(told)}" for name, told in dict(error.extra.get("errors", {})).items()]
    return " ".join([*(fields or [error.detail]), *([error.hint] if error.hint else [])])
