"""Rows that are dear to make are made once in a process, by the services, and put back as rows for the tests that follow.

Only where nothing was recorded before: the root of the audit tree says which history a database has, and the same steps
after the same history leave the same rows. After any other history the rows are made anew.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from keys.services.ratelimit import shared_memory

_FILES = ("ROOT_KEY_FILE", "AUDIT_KEY_FILE")
_COLUMNS = """
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum), array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE a.attnum = ANY (i.indkey))
FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY c.relname
"""


@dataclass
class _Step:
    """What one step left: rows by table as JSON, key files and answer."""

    made: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    answer: Any = None

    def key_files(self) -> list[tuple[Path, bytes]]:
        """Where they belong now, and what they held."""
        return [(Path(getattr(settings, name)), content) for name, content in self.files.items()]


_steps: dict[tuple[str, bytes], _Step] = {}
_histories: set[bytes] = set()
_columns: dict[str, tuple[list[str], list[str]]] = {}


def remembered[T](name: str, make: Callable[[], T]) -> T:
    """What `make` answers, with the rows it wrote; it runs once for each history there was."""
    history = _root()
    if history not in _histories:
        if _recorded():
            return make()
        _histories.add(history)
    if (name, history) not in _steps:
        before = _rows()
        answer = make()
        _steps[name, history] = _difference(before, answer)
        _histories.add(_root())
        return answer
    step = _steps[name, history]
    if any(path.exists() and path.read_bytes() != content for path, content in step.key_files()):
        return make()
    _put_back(step)
    return copy.deepcopy(step.answer)


def _root() -> bytes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT root FROM audit_head")
        return bytes(cursor.fetchone()[0])


def _recorded() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT size > 0 FROM audit_head")
        return bool(cursor.fetchone()[0])


def _rows() -> dict[str, dict[str, str]]:
    """All rows there are: by table, each by its primary key."""
    with connection.cursor() as cursor:
        if not _columns:
            cursor.execute(_COLUMNS)
            _columns.update({table: (names, key) for table, names, key in cursor.fetchall()})
        found = {}
        for table, (_, key) in _columns.items():
            cursor.execute(f"SELECT jsonb_build_array({', '.join(key)})::text, to_jsonb({table}.*)::text FROM {table}")
            found[table] = dict(cursor.fetchall())
        return found


def _difference(before: dict[str, dict[str, str]], answer: Any) -> _Step:
    step = _Step(
        answer=copy.deepcopy(answer), files={name: Path(getattr(settings, name)).read_bytes() for name in _FILES}
    )
    for table, rows in _rows().items():
        for key, row in rows.items():
            if key not in before[table]:
                step.made.setdefault(table, []).append(row)
            elif before[table][key] != row:
                step.changed.setdefault(table, []).append(row)
    return step


def _put_back(step: _Step) -> None:
    for path, content in step.key_files():
        path.write_bytes(content)
        path.chmod(0o600)
    shared_memory().flushdb()  # what earlier tests left there is about the same rows
    statements, values = [], []
    for table, rows in step.made.items():
        names = ", ".join(_columns[table][0])
        statements.append(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, %s)"
        )
        values.append(f"[{','.join(rows)}]")
    for table, rows in step.changed.items():
        names, key = _columns[table]
        same = " AND ".join(f"{table}.{name} = new.{name}" for name in key)
        pairs = ", ".join(f"{name} = new.{name}" for name in names if name not in key)
        statements.append(
            f"UPDATE {table} SET {pairs} FROM jsonb_populate_recordset(NULL::{table}, %s) new WHERE {same}"
        )
        values.append(f"[{','.join(rows)}]")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(statements), values)
