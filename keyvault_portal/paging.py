"""Keyset pages: any depth costs the same, because a page begins at an index position and never at an offset."""

import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from keyvault_portal.errors import ValidationFailed
from keyvault_portal.filtering import refuse_undeclared

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Page[M: Model]:
    """Some rows in order, and the cursors of the pages before and after (None where there is none)."""

    rows: list[M]
    newer: str | None
    older: str | None


def keyset_page[M: Model](
    queryset: QuerySet[M], order: Sequence[str], *, cursor: str = "", size: int = PAGE_SIZE
) -> Page[M]:
    """The page of `queryset` at `cursor`, ordered by `order` (field names, all ascending or all with a leading minus).

    The last field must be unique. One query; an unreadable cursor raises ValidationFailed.
    """
    descending = order[0].startswith("-")
    fields = [name.lstrip("-") for name in order]
    backward, position = _decode(cursor, len(fields)) if cursor else (False, None)
    rows_up = descending == backward  # whether this query reads towards larger values
    if position is not None:
        values = [_read(queryset, field, value) for field, value in zip(fields, position, strict=True)]
        queryset = queryset.filter(_beyond(fields, values, "gt" if rows_up else "lt"))
    found = list(queryset.order_by(*[name if rows_up else f"-{name}" for name in fields])[: size + 1])
    more, rows = len(found) > size, found[:size]
    if backward:
        rows.reverse()
    has_newer, has_older = (more, True) if backward else (position is not None, more)
    return Page(
        rows,
        _encode(fields, rows[0], backward=True) if has_newer and rows else None,
        _encode(fields, rows[-1], backward=False) if has_older and rows else None,
    )


def cursor_after(row: Model, order: Sequence[str]) -> str:
    """The cursor of the page that begins after `row` in `order`: a link into the middle of a list."""
    return _encode([name.lstrip("-") for name in order], row, backward=False)


def cursor_page[M: Model](request: Request, queryset: QuerySet[M], order: Sequence[str]) -> Page[M]:
    """The page of a REST list that declares `cursor` and nothing else; raises ValidationFailed."""
    refuse_undeclared(request, {"cursor"})
    return keyset_page(queryset, order, cursor=request.query_params.get("cursor", ""))


def page_context(
    request: HttpRequest, queryset: QuerySet[Any], order: Sequence[str], *, size: int = PAGE_SIZE
) -> dict[str, Any]:
    """Context of templates/generic/list.html for this request's page: `object_list`, `newer_url`, `older_url`."""
    page = keyset_page(queryset, order, cursor=request.GET.get("cursor", ""), size=size)

    def link(cursor: str | None) -> str:
        if cursor is None:
            return ""
        query = request.GET.copy()
        query["cursor"] = cursor
        return "?" + query.urlencode()

    return {"object_list": page.rows, "newer_url": link(page.newer), "older_url": link(page.older)}


class KeysetPagination(BasePagination):
    """DRF pages by key: `{"results": [...], "next": url|null, "previous": url|null}`; the view names `keyset_order`."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.request = request
        try:
            size = int(request.query_params.get("page_size", PAGE_SIZE))
        except ValueError:
            raise ValidationFailed("page_size is not a number.") from None
        self.size = max(1, min(size, MAX_PAGE_SIZE))
        self.page = keyset_page(
            queryset, view.keyset_order, cursor=request.query_params.get("cursor", ""), size=self.size
        )
        return self.page.rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._link(self.page.older), "previous": self._link(self.page.newer), "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "cursor",
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                "description": "From `next` or `previous`.",
            },
            {
                "name": "page_size",
                "in": "query",
                "required": False,
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE},
            },
        ]

    def _link(self, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        query = {name: value for name, value in self.request.query_params.items() if name != "cursor"} | {
            "cursor": cursor
        }
        return self.request.build_absolute_uri(self.request.path) + "?" + urlencode(query)


def _beyond(fields: Sequence[str], position: Sequence[Any], operator: str) -> Q:
    """(a, b, ...) beyond (x, y, ...) in row order, with a plain bound on the first field that an index can start from."""
    condition = Q()
    for index, field in enumerate(fields):
        step = Q(**{f"{field}__{operator}": position[index]})
        for earlier in range(index):
            step &= Q(**{fields[earlier]: position[earlier]})
        condition |= step
    return Q(**{f"{fields[0]}__{operator}e": position[0]}) & condition


def _encode(fields: Sequence[str], row: Model, *, backward: bool) -> str:
    values: list[Any] = [backward]
    for field in fields:
        value: Any = row
        for part in field.split("__"):
            value = getattr(value, part)
        values.append(value)
    return base64.urlsafe_b64encode(json.dumps(values, default=_as_text).encode()).decode().rstrip("=")


def _as_text(value: Any) -> str:
    # Full precision: a time cut to milliseconds would skip or repeat rows.
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _decode(cursor: str, fields: int) -> tuple[bool, list[Any]]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or len(values) != fields + 1 or not isinstance(values[0], bool):
        raise ValidationFailed("The page cursor cannot be read.", hint="Start again from the first page.")
    return values[0], values[1:]


def _read(queryset: QuerySet[Any], path: str, value: Any) -> Any:
    """The value of the field at `path` from what `_encode` wrote of it; raises ValidationFailed for anything else."""
    field, found = _field(queryset, path), None
    if type(value) in (int, str) and "\0" not in str(value):
        with suppress(ValueError, TypeError, OverflowError, ValidationError):
            str(value).encode()  # half a surrogate pair is JSON, and nothing a database can hold
            found = field.to_python(value)
    # What does not read back as it was written is not ours, and a time is always written in UTC.
    foreign = isinstance(found, datetime) and found.utcoffset() != timedelta(0)
    if found is None or foreign or (found if isinstance(found, int | str) else _as_text(found)) != value:
        raise ValidationFailed("The page cursor does not fit this list.", hint="Start again from the first page.")
    return found


def _field(queryset: QuerySet[Any], path: str) -> Any:
    if path in queryset.query.annotations:
        return queryset.query.annotations[path].output_field
    model: Any = queryset.model
    *relations, name = path.split("__")
    for relation in relations:
        model = model._meta.get_field(relation).related_model
    return model._meta.get_field(name)
