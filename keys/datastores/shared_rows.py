"""Whether two descriptions lead to the same rows: asked of the servers, because one server answers to many names."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from keys.datastores.base import StoreRefused, StoreUnavailable
from keys.datastores.connecting import HostRule, connect, parse_dsn

_KIN = """
    WITH RECURSIVE named AS (
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
    ), above AS (
        SELECT oid FROM named UNION SELECT i.inhparent FROM pg_inherits i JOIN above ON i.inhrelid = above.oid
    ), below AS (
        SELECT oid FROM named UNION SELECT i.inhrelid FROM pg_inherits i JOIN below ON i.inhparent = below.oid
    )
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT oid FROM above UNION SELECT oid FROM below)
"""


def kin(dsn: str, schema: str, table: str, rule: HostRule) -> set[tuple[str, str]]:
    """Schema and name of every table that has rows in common with this one: itself, what it is a partition of, its own.

    Raises StoreRefused, StoreUnavailable.
    """
    with _asking(dsn, rule) as connection:
        return set(connection.execute(_KIN, [schema, table]).fetchall())


def one_database(dsn: str, other: str, rule: HostRule) -> bool:
    """Whether both lead to one database of one server, by whatever names; false where only `other` cannot be reached.

    No identifier of a server tells that: a copy of its files has the same. What one of them locks is locked for the other,
    and needs no right. Raises StoreRefused, StoreUnavailable.
    """
    if _typed(dsn) == _typed(other):
        return True
    mark = [secrets.randbits(63)]
    with _asking(dsn, rule) as here, here.transaction():
        here.execute("SELECT pg_advisory_xact_lock(%s)", mark)
        try:
            with _asking(other, rule) as there:
                free = there.execute("SELECT pg_try_advisory_xact_lock(%s)", mark).fetchone()
        except (StoreRefused, StoreUnavailable):
            return False  # the server that answers here would answer there, too
    return free == (False,)


@contextmanager
def _asking(dsn: str, rule: HostRule) -> Iterator[psycopg.Connection]:
    connection = connect(dsn, rule)
    try:
        yield connection
    except psycopg.Error:
        raise StoreUnavailable("The target database does not answer.") from None
    finally:
        connection.close()


def _typed(dsn: str) -> tuple[str, str, str]:
    options = parse_dsn(dsn)
    return options["host"].lower(), options.get("port", "5432"), options["dbname"]
