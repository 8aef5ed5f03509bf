"""A database and key files that last as long as one benchmark: what it measures never meets real keys."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from psycopg import errors, sql

from keys.benchmarks import Tell
from keys.providers import registry
from keys.services import budget, materials, root_key
from keyvault_portal import embedded
from keyvault_portal.audit.signing import ensure_signing_key

_TEMPLATE: ContextVar[str] = ContextVar("template", default="")


@dataclass(frozen=True, slots=True)
class Scratch:
    """A migrated empty database, which Django's default connection speaks to, and a folder for files."""

    folder: Path
    database_url: str

    def environment(self) -> dict[str, str]:
        """The environment in which another process of ours meets this database and these key files."""
        return os.environ | {
            "DATABASE_URL": self.database_url,
            "CELERY_BROKER_URL": settings.BROKER_URL,
            "PORTAL_PRODUCTION": "0",
            "PORTAL_NO_BOOTSTRAP": "1",
            "SECRET_KEY": settings.SECRET_KEY,
            "TOKEN_PEPPER": settings.TOKEN_PEPPER,
            "PORTAL_ROOT_KEY_FILE": str(settings.ROOT_KEY_FILE),
            "PORTAL_AUDIT_KEY_FILE": str(settings.AUDIT_KEY_FILE),
            "PYTHONPATH": str(settings.BASE_DIR),
        }


@contextmanager
def services() -> Iterator[None]:
    """PostgreSQL and Valkey running: the embedded ones unless others are configured; stops only what it started."""
    if not settings.EMBEDDED:
        yield
        return
    servers = embedded.Services(settings.VAR_DIR)
    servers.start()
    try:
        yield
    finally:
        servers.stop()


@contextmanager
def template() -> Iterator[None]:
    """For several benchmarks: each scratch database of the block is a copy of one that was migrated once."""
    name = f"benchmark_{secrets.token_hex(6)}"
    with services():
        home = connection.settings_dict["NAME"]
        create_database(name)
        try:
            _connect_to(name)
            call_command("migrate", verbosity=0, interactive=False)
            _connect_to(home)
            token = _TEMPLATE.set(name)
            try:
                yield
            finally:
                _TEMPLATE.reset(token)
        finally:
            _connect_to(home)
            drop_database(name)


@contextmanager
def scratch(tell: Tell) -> Iterator[Scratch]:
    """Create a database beside the configured one, migrate it and make key files; drop all of it at the end."""
    name, like = f"benchmark_{secrets.token_hex(6)}", _TEMPLATE.get()
    tell("creating a database")
    with services(), TemporaryDirectory(prefix="keyvault-benchmark-") as folder:
        home = connection.settings_dict["NAME"]
        create_database(name, like)
        try:
            _connect_to(name)
            keys = {"ROOT_KEY_FILE": Path(folder) / "root.key", "AUDIT_KEY_FILE": Path(folder) / "audit.key"}
            with override_settings(**keys):
                if not like:
                    call_command("migrate", verbosity=0, interactive=False)
                _forget()
                root_key.ensure_root_key()
                ensure_signing_key()
                yield Scratch(Path(folder), _url())
        finally:
            _forget()
            _connect_to(home)
            drop_database(name)


def create_database(name: str, like: str = "") -> None:
    """Create a database beside the present one: empty, or a copy of one that nobody is connected to."""
    _execute("CREATE DATABASE {} TEMPLATE {}" if like else "CREATE DATABASE {}", *filter(None, (name, like)))


def drop_database(name: str) -> None:
    """Drop a database and whoever of ours is still connected.

    Not WITH (FORCE): that asks for the right to end autovacuum too, which a plain DROP ends by itself.
    """
    with connection.cursor() as cursor:
        ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"
        cursor.execute(ours, [name])
    _execute("DROP DATABASE IF EXISTS {}", name)


def write_out(url: str) -> None:
    """Let the server write to disk what waits for it in memory, where it lets us: none pays for what another left.

    A checkpoint falls due by the WAL of all that went before, and what it begins costs whoever is at work by then.
    """
    address = embedded.ensure_config(settings.VAR_DIR).superuser_url() if settings.EMBEDDED else url
    with suppress(errors.InsufficientPrivilege), psycopg.connect(address, autocommit=True) as server:
        server.execute("CHECKPOINT")


def bulk_settings() -> None:
    """Fill tables faster in this session; what a crash would lose is rubbish anyway."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")


def _connect_to(name: str) -> None:
    connection.close()
    connection.settings_dict["NAME"] = name


def _execute(statement: str, *names: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)).as_string(cursor.cursor))


def _url() -> str:
    values = connection.settings_dict
    account = quote(values["USER"], safe="") + (f":{quote(values['PASSWORD'], safe='')}" if values["PASSWORD"] else "")
    place = quote(values["HOST"], safe="") + (f":{values['PORT']}" if values["PORT"] else "")
    return f"postgresql://{account}@{place}/{values['NAME']}"


def _forget() -> None:
    """Version numbers begin again in every scratch database, so nothing cached may outlive one."""
    materials.forget()
    budget.forget()
    root_key.forget()
    registry.forget()
