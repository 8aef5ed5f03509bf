"""Rows of issued certificates and their grants, all of a batch by one statement: the ORM takes longer than the signatures."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection
from django.db.models import Model

from keyvault_portal import arrays

type Values = Mapping[str, Any]
"""Values by column; those that are missing have the model's defaults."""

_PACKED = {"uuid": arrays.UUID, "bytea": arrays.BYTEA}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str  # PostgreSQL's
    default: Any

    def pack(self, items: Iterable[Any]) -> arrays.PackedArray:
        match self.type:
            case "uuid":
                return arrays.pack(
                    [item and (item if isinstance(item, UUID) else UUID(item)).bytes for item in items], arrays.UUID
                )
            case "bytea":
                return arrays.pack(list(items), arrays.BYTEA)
            case "jsonb":
                return arrays.pack([json.dumps(item) for item in items], arrays.TEXT)
        return arrays.pack([item if item is None else str(item) for item in items], arrays.TEXT)


@dataclass(frozen=True, slots=True)
class Table[Row: Model]:
    """The table of one model, with every column it has."""

    model: type[Row]
    columns: tuple[_Column, ...]
    names: tuple[str, ...]
    statement: bytes

    def insert(self, rows: Sequence[Values], *, unless_there: bool = False) -> list[Row]:
        """Write the rows in one round trip and return them as they are then; raises IntegrityError."""
        whole = [[values[c.name] if c.name in values else _default(c) for c in self.columns] for values in rows]
        parameters = [c.pack(items) for c, items in zip(self.columns, zip(*whole, strict=True), strict=True)]
        statement = self.statement + (b" ON CONFLICT DO NOTHING" if unless_there else b"")
        run(statement, parameters)
        return [self.model.from_db(connection.alias, self.names, values) for values in whole]


def _default(column: _Column) -> Any:
    return column.default() if callable(column.default) else column.default


@cache
def table[Row: Model](model: type[Row]) -> Table[Row]:
    """The table of `model`."""
    fields = model._meta.concrete_fields
    columns = tuple(
        _Column(field.column, (field.db_type(connection) or "").partition("(")[0], field.get_default if callable(field.default) else field.get_default())
        for field in fields
    )  # fmt: skip
    places = ", ".join(f"%b::{c.type if c.type in _PACKED else 'text'}[]" for c in columns)
    values = ", ".join(c.name if c.type in _PACKED else f"{c.name}::{c.type}" for c in columns)
    names = ", ".join(c.name for c in columns)
    statement = f"INSERT INTO {model._meta.db_table} ({names}) SELECT {values} FROM unnest({places}) AS new ({names})"  # noqa: S608  the model's own names
    return Table(model, columns, tuple(field.attname for field in fields), statement.encode())


def run(statement: bytes, parameters: Sequence[Any] | Mapping[str, Any]) -> "psycopg.Cursor[Any]":
    """One statement with its parameters in binary, prepared by the server once; raises Django's database errors."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        # Below Django's cursor, whose client-side binding would spell every byte as text.
        return psycopg.Cursor(connection.connection).execute(statement, parameters)
