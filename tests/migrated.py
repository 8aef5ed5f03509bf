"""A database as the migrations leave it, made once: each process of a run, and the next run, begins with a copy of it."""

import fcntl
import subprocess
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql

from tests.environment import ROOT, SHARED, STARTED, VAR

APPS = ("ceremonies", "certificates", "keys", "keyvault_portal")


def template() -> str | None:
    """The name of that database on our server; None where the server is the user's own."""
    if not STARTED:
        return None
    name = f"migrated_{_mark()}"
    config = STARTED[0].config
    with psycopg.connect(config.database_url("postgres"), autocommit=True) as server:
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            part, whole = sql.Identifier(f"{name}_part"), sql.Identifier(name)
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(part))
            server.execute(sql.SQL("CREATE DATABASE {}").format(part))
            _fill(f"{name}_part", config.database_url(f"{name}_part"), SHARED / f"{name}.sql")
            server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(part, whole))
    return name


def fill(address: str) -> None:
    """Bring an empty database of any server to where the migrations would, once ours was made; where there is no copy, they must."""
    name = template()
    if name and (dump := SHARED / f"{name}.sql").exists():
        _restore(dump, address)


def _mark() -> str:
    """Of everything that has a say in what the migrations make."""
    found = {path for app in APPS for path in (ROOT / app).rglob("migrations/*") if path.suffix in {".py", ".sql"}}
    parts = [*sorted(found), ROOT / "requirements.lock"]
    digests = [f"{path.relative_to(ROOT)} {sha256(path.read_bytes()).hexdigest()}" for path in parts]
    return sha256("\n".join(digests).encode()).hexdigest()[:12]


def _fill(name: str, address: str, dump: Path) -> None:
    """By the migrations, whoever is first; then from what they made."""
    with (SHARED / "migrated.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not dump.exists():
            _migrate(name)
            partial = dump.with_suffix(".unfinished")
            _run(_programs() / "pg_dump", "--no-owner", "--no-comments", "-f", partial, address)
            partial.rename(dump)
            return
    _restore(dump, address)


def _restore(dump: Path, address: str) -> None:
    _run(_programs() / "psql", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f", dump, address)


def _programs() -> Path:
    from keyvault_portal.embedded.placement import place

    return place(VAR).programs


def _migrate(name: str) -> None:
    from django.core.management import call_command
    from django.db import connection

    before = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        call_command("migrate", verbosity=0, interactive=False)
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
