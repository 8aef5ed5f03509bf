"""Streaming the record out, as the stored bytes or as a spreadsheet; memory does not grow with the record."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
from django.db import connection
from django.db.models import QuerySet
from psycopg import sql

from keyvault_portal.audit import services
from keyvault_portal.audit.access import Actor, Permission, authorize_somewhere
from keyvault_portal.audit.models import AuditEvent, AuditHead
from keyvault_portal.errors import ValidationFailed

PAGE = 8192  # events read at a time
SEARCHED = 50_000  # a list looks for text in this many of the newest events, unless a time range says where
FORMATS = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would execute a cell that begins with one of these
CSV_COLUMNS = (
    "seq", "at", "actor", "actor_kind", "actor_id", "address", "token", "action", "outcome",
    "target", "target_type", "target_id", "ring", "details",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events; empty values do not restrict. `rings` limits to what the reader may see (None: all)."""

    actor: str = ""  # as in the column actor_id
    action: str = ""
    outcome: str = ""
    target_type: str = ""
    target_id: str = ""
    ring: UUID | None = None
    since: datetime | None = None  # inclusive
    until: datetime | None = None  # exclusive
    text: str = ""  # anywhere in the event, ignoring case
    rings: frozenset[UUID] | None = None

    def queryset(self) -> QuerySet[AuditEvent]:
        """The events that match, as a lazy queryset."""
        clauses = self.clauses()
        found = AuditEvent.objects.all()
        if clauses:
            where = " AND ".join(clause for clause, _ in clauses)
            found = found.extra(where=[where], params=[value for _, values in clauses for value in values])  # noqa: S610
        return found

    def searched_from(self, size: int) -> int:
        """The first of `size` events in which a list looks for the text; 0 for all."""
        return max(0, size - SEARCHED) if self.text and not (self.since or self.until) else 0

    def clauses(self) -> list[tuple[str, list[Any]]]:
        """SQL conditions with their values; times become bounds on seq, since time never runs backwards in seq."""
        pairs: list[tuple[str, list[Any]]] = []
        if self.actor:
            pairs.append(("actor_id = %s", [self.actor]))
        for column in ("action", "outcome", "target_type", "target_id"):
            if value := getattr(self, column):
                pairs.append((f"{column} = %s", [value]))
        if self.ring:
            pairs.append(("ring_id = %s", [self.ring]))
        if self.rings is not None:
            pairs.append(("ring_id = ANY(%s)", [list(self.rings)]))
        if self.since:
            first = "(SELECT seq FROM audit_event WHERE at >= %s ORDER BY at, seq LIMIT 1)"
            pairs.append((f"seq >= coalesce({first}, 9223372036854775807)", [self.since]))
        if self.until:
            last = "(SELECT seq FROM audit_event WHERE at < %s ORDER BY at DESC, seq DESC LIMIT 1)"
            pairs.append((f"seq <= coalesce({last}, -1)", [self.until]))
        if self.text:
            escaped = self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            pairs.append(("convert_from(leaf, 'UTF8') ILIKE %s", [f"%{escaped}%"]))
        return pairs

    def described(self) -> dict[str, str]:
        """The restrictions that were chosen, for the record of the export."""
        return {name: str(value) for name, value in asdict(self).items() if value and name != "rings"}


def leaf_pages(filters: Filters, size: int) -> Iterator[bytes]:
    """The leaves before `size` that match, oldest first, as blocks of lines: the very bytes that were hashed."""
    clauses = filters.clauses()
    query = sql.SQL("SELECT string_agg(leaf, '\\x0a'::bytea ORDER BY seq) FROM audit_event WHERE {}").format(
        sql.SQL(" AND ").join(sql.SQL(text) for text in ["seq >= %s", "seq < %s", *(text for text, _ in clauses)])
    )
    values = [value for _, items in clauses for value in items]
    for start in range(0, size, PAGE):
        connection.ensure_connection()
        with psycopg.Cursor(connection.connection) as cursor:
            row = cursor.execute(query, [start, min(start + PAGE, size), *values], binary=True).fetchone()
        if row and row[0]:
            yield bytes(row[0]) + b"\n"


def export(actor: Actor, format: str, filters: Filters) -> Iterator[bytes]:
    """Record the export, then return the matching events up to now as a stream of `format` (jsonl or csv).

    What the reader may not see is left out. Raises PermissionRefused or ValidationFailed before anything is streamed.
    """
    with services.atomic(actor=actor, action="audit.export", target=("record", "", "Audit record")) as act:
        authorize_somewhere(actor, Permission.AUDIT_EXPORT)
        if format not in FORMATS:
            raise ValidationFailed(errors={"format": [f"Choose one of {', '.join(FORMATS)}."]})
        size = AuditHead.objects.values_list("size", flat=True).get()
        act.record({"format": format, "events_before": size, "filters": filters.described()})
    pages = leaf_pages(filters, size)
    return pages if format == "jsonl" else csv_pages(pages)


def csv_pages(pages: Iterator[bytes]) -> Iterator[bytes]:
    """RFC 4180 with a header line, from blocks of leaf lines."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    yield _drain(buffer)
    for page in pages:
        writer.writerows([defuse(cell) for cell in _cells(orjson.loads(leaf))] for leaf in page.splitlines())
        yield _drain(buffer)


def defuse(cell: Any) -> str:
    """The cell as text that no spreadsheet takes for a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(FORMULA) else text


def _cells(event: dict[str, Any]) -> list[Any]:
    actor, target = event["actor"], event["target"]
    return [
        event["seq"], event["at"], actor["label"], actor["kind"], actor["id"], actor.get("address"), actor.get("token"),
        event["action"], event["outcome"], target["label"], target["type"], target["id"], event["ring"],
        orjson.dumps(event["details"]).decode(),
    ]  # fmt: skip


def _drain(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return data
