"""Opening a PostgreSQL connection to an address that a person typed: to allowed hosts, with harmless options only."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from keys.datastores.base import StoreRefused, StoreUnavailable

# libpq options that read files, start programs or change what the portal sends are not a user's to set.
ALLOWED_OPTIONS = frozenset({"host", "port", "dbname", "user", "password", "sslmode", "application_name"})
CONNECT_TIMEOUT, STATEMENT_TIMEOUT_MS, LOCK_TIMEOUT_MS = 5, 60_000, 5_000


@dataclass(frozen=True, slots=True)
class HostRule:
    """Hosts a DSN may name: CIDR networks and names; link-local addresses (cloud metadata) never."""

    allowed: Sequence[str]

    def resolve(self, host: str, port: int) -> str:
        """The address to connect to, checked after resolution so that a name cannot change in between."""
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except OSError as error:
            raise StoreUnavailable(f"The host {host} cannot be found.") from error
        addresses = sorted(str(address) for address in found)
        for address in addresses:
            self._check(host, ipaddress.ip_address(address.split("%")[0]))
        return addresses[0]

    def _check(self, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise StoreRefused(f"The host {host} stands for an address that no data store may have.")
        named = host.lower() in {rule.lower() for rule in self.allowed if "/" not in rule}
        inside = any(address in ipaddress.ip_network(rule) for rule in self.allowed if "/" in rule)
        if not (named or inside):
            raise StoreRefused(
                f"The host {host} is not among the allowed ones.",
                hint="An administrator can add it to STORE_ALLOWED_HOSTS.",
            )


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
