"""Rows of certificates and grants on their way into the database, a whole batch in one go: the ORM takes longer than the signatures."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
import psycopg
from django.db import connection
from django.db.models import Field, Model

from keyvault_portal.audit.services import Rows

type Values = dict[str, Any]
"""Values by column; those that are missing have the model's defaults."""


@cache
def _fields(model: type[Model]) -> dict[str, "Field[Any, Any]"]:
    """The fields of a model that are columns, by the column's name."""
    return {str(field.column): field for field in model._meta.concrete_fields}


@cache
def _defaults(model: type[Model]) -> Values:
    """The defaults that are the same for every row."""
    return {column: field.get_default() for column, field in _fields(model).items() if not callable(field.default)}


def complete(model: type[Model], rows: Sequence[Values]) -> list[Values]:
    """The rows with every column of `model`, by name and in the order of its fields; anything else is left out."""
    fields, defaults = _fields(model), _defaults(model)
    found = []
    for values in rows:
        one = defaults | values
        found.append({name: one[name] if name in one else field.get_default() for name, field in fields.items()})
    return found


def instances[Row: Model](model: type[Row], rows: Sequence[Values]) -> list[Row]:
    """Complete rows as they are once they are written."""
    names = [field.attname for field in _fields(model).values()]
    return [model.from_db(connection.alias, names, list(values.values())) for values in rows]


def written(model: type[Model], rows: Sequence[Values]) -> Rows:
    """Complete rows for the statement that writes them."""
    return Rows(model._meta.db_table, orjson.dumps(rows, default=_plain).decode())


def _plain(value: object) -> str:
    """Octets as PostgreSQL reads them."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError(type(value).__name__)


def insert[Row: Model](model: type[Row], rows: Sequence[Values], *, unless_there: bool = False) -> list[Row]:
    """Write the rows now and return them as they are then; raises IntegrityError."""
    whole = complete(model, rows)
    new, unless = written(model, whole), " ON CONFLICT DO NOTHING" if unless_there else ""
    run(f"INSERT INTO {new.table} SELECT new.* FROM {new.source('%b')}{unless}", [new.content])  # noqa: S608  a name of ours
    return instances(model, whole)


def run(statement: str, parameters: Sequence[Any]) -> "psycopg.Cursor[Any]":
    """One statement, planned by the server once a connection; raises Django's database errors."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        # Below Django's cursor, whose client-side binding would spell every value as text.
        return psycopg.Cursor(connection.connection).execute(statement.encode(), parameters)
