"""Lists as files: every row that matches the filter, as CSV (RFC 4180) or JSON Lines; the download is recorded."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse

from keyvault_portal.audit import services as audit
from keyvault_portal.audit.events import Doer
from keyvault_portal.audit.exports import defuse

FORMATS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
ROWS_AT_A_TIME = 2_000


def list_download(
    actor: Doer, request: HttpRequest, name: str, rows: QuerySet[Any], fields: Mapping[str, str]
) -> StreamingHttpResponse | None:
    """The file that the query asks for by `export=csv` or `export=jsonl`, or None when it asks for a page.

    `rows` are filtered to what `actor` may see; `fields` maps the headings to fields of the rows. Memory stays flat.
    """
    chosen = request.GET.get("export", "")
    if chosen not in FORMATS:
        return None
    filters = {key: value for key, value in request.GET.items() if key not in {"export", "cursor"}}
    audit.record(
        actor=actor, action="list.export", target=("list", "", name), details={"format": chosen, "filters": filters}
    )
    found = rows.values_list(*fields.values()).iterator(chunk_size=ROWS_AT_A_TIME)
    write = _csv_lines if chosen == "csv" else _json_lines
    response = StreamingHttpResponse(write(list(fields), found), content_type=FORMATS[chosen])
    response["Content-Disposition"] = f'attachment; filename="{name}.{chosen}"'
    return response


def _csv_lines(headings: list[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[str]:
    yield _csv_line(headings)
    for row in rows:
        yield _csv_line([defuse(_plain(cell)) for cell in row])


def _csv_line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)
    return buffer.getvalue()


def _json_lines(headings: list[str], rows: Iterator[tuple[Any, ...]]) -> Iterator[bytes]:
    for row in rows:
        yield orjson.dumps(
            dict(zip(headings, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z, default=str
        )


def _plain(cell: Any) -> Any:
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
