"""Opening a PostgreSQL connection to an address that a person typed: to allowed hosts, with harmless options only."""

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from keys import hosts
from keys.datastores.base import StoreRefused, StoreUnavailable

# libpq options that read files, start programs or change what the portal sends are not a user's to set.
ALLOWED_OPTIONS = frozenset({"host", "port", "dbname", "user", "password", "sslmode", "application_name"})
CONNECT_TIMEOUT, STATEMENT_TIMEOUT_MS, LOCK_TIMEOUT_MS = 5, 60_000, 5_000


class HostRule(hosts.HostRule):
    """The rule of `keys.hosts` in the words of data stores."""

    refused, unavailable = StoreRefused, StoreUnavailable


def parse_dsn(dsn: str) -> dict[str, str]:
    """The options of a DSN; raises StoreRefused for one that cannot be read or may not be set. Never quotes it."""
    try:
        options = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        raise StoreRefused(
            "The connection cannot be read.", hint="Write postgresql://user:password@host:port/database."
        ) from None
    if forbidden := sorted(set(options) - ALLOWED_OPTIONS):
        raise StoreRefused(f"These connection options may not be set: {', '.join(forbidden)}.")
    host = options.get("host", "")
    if not host or host.startswith("/") or "," in host or "," in options.get("port", ""):
        raise StoreRefused("The connection has to name one host.")
    if not options.get("dbname"):
        raise StoreRefused("The connection has to name a database.")
    return options


def connect(dsn: str, rule: HostRule) -> psycopg.Connection:
    """A connection in autocommit mode with time limits; raises StoreRefused and StoreUnavailable, neither with a secret."""
    options = parse_dsn(dsn)
    try:
        port = int(options.get("port", "5432"))
    except ValueError:
        raise StoreRefused("The port is not a number.") from None
    address = rule.resolve(options["host"], port)
    limits = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} -c idle_in_transaction_session_timeout=30000"
    limits += " -c row_security=off"  # a statement that a policy would hide rows from fails, instead of seeing too few
    named: dict[str, Any] = {**options, "application_name": "keyvault-portal", "hostaddr": address}
    try:
        return psycopg.connect(
            **named,
            options=limits,
            passfile="/dev/null",
            connect_timeout=CONNECT_TIMEOUT,
            autocommit=True,
        )
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            f"The database {options['dbname']} on {options['host']} does not answer{_why(error)}."
        ) from None


def _why(error: psycopg.OperationalError) -> str:
    """The server's own word for a refusal; never the text, which may quote what was typed."""
    text = str(error)
    for sign, word in (
        ("password authentication failed", ": it refuses the user or the password"), ("does not exist", ": there is no such database or role"),
        ("timeout", " in time"), ("refused", ": the connection is refused"), ("starting up", ": it is starting up"),
    ):  # fmt: skip
        if sign in text:
            return word
    return ""
