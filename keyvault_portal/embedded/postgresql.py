"""The embedded PostgreSQL: initialise, start, wait, make roles and databases."""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from psycopg import errors, sql

from keyvault_portal.embedded.config import OWNER, Config, EmbeddedError, answers
from keyvault_portal.embedded.placement import Placement, place

FULL_BELOW = 64 * 2**20  # bytes; what a start that failed for want of room has given back may be some files of 16 MiB
START_DEADLINE = 60.0  # seconds; a recovery after a crash takes its time
# Reads by whoever needs them: what is small enough for one machine is in its memory, and processes of their own for reading
# only take the processors from the portal's.
_OPTIONS = ("max_connections=200", "shared_buffers=256MB", "max_wal_size=2GB", "io_method=sync")
_FLEETING = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_FULL = "The disk that holds {} is full; free some space and start again."
_WRONG_PASSWORD = "password authentication failed"  # noqa: S105  PostgreSQL's message


class PostgreSQL:
    """One cluster; `durable=False` is for tests, whose data may be lost with the machine."""

    def __init__(
        self, root: Path, config: Config, *, durable: bool, started: Callable[[str, int], None] | None = None
    ) -> None:
        self.root = root
        self.config = config
        self.durable = durable
        self.started = started
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Answer on the configured port, with the portal's role and database; raises EmbeddedError."""
        port = self.config.postgres_port
        if not answers(port):
            self._launch(place(self.root))
        elif not self._connectable():
            raise EmbeddedError(
                f"Port {port} is taken by another program; stop it, or change postgres_port in {self.root / 'embedded.json'}."
            )
        self.ensure_database(OWNER, OWNER, self.config.owner_password, may_create=True)

    def stop(self) -> None:
        """Stop the server if this object started it: fast shutdown, then harder."""
        if self.process is None:
            return
        for sign, patience in ((signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            if self.process.poll() is None:
                self.process.send_signal(sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(patience)
        self.process = None

    def ensure_database(self, name: str, owner: str, password: str, *, may_create: bool = False) -> None:
        """Make the role and the database it owns, unless they exist; the role is no superuser. Raises EmbeddedError."""
        role = sql.Identifier(owner)
        rights = sql.SQL("LOGIN NOSUPERUSER NOCREATEROLE {} PASSWORD {}").format(
            sql.SQL("CREATEDB" if may_create else "NOCREATEDB"), sql.Literal(password)
        )
        try:
            with psycopg.connect(self.config.superuser_url(), autocommit=True) as connection:
                known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
                connection.execute(sql.SQL("ALTER ROLE {} {}" if known else "CREATE ROLE {} {}").format(role, rights))
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), role))
                # Roles of other databases on this server have no business here.
                connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        except psycopg.Error as error:
            if isinstance(error, errors.DiskFull) or _is_full(self.root):
                raise EmbeddedError(_FULL.format(self.root)) from None
            reason = (
                error.diag.message_primary or str(error).partition("\n")[0]
            )  # never the statement: it has a password
            raise EmbeddedError(f"The database {name} cannot be made: {reason}") from None

    def _launch(self, placement: Placement) -> None:
        data, log = placement.home / "postgres", self.root / "log" / "postgresql.log"
        if not data.exists():
            self._initialise(placement, data)
        _drop_stale_lock(data)
        options = _OPTIONS + (() if self.durable else _FLEETING)
        command = [
            str(placement.programs / "postgres"),
            "-D",
            str(data),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.config.postgres_port),
            "-k",
            "",
        ]
        command += [word for option in options for word in ("-c", option)]
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            start = output.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                **placement.account,
            )
        if self.started:
            self.started("postgresql", self.process.pid)
        deadline = time.monotonic() + START_DEADLINE
        while not self._connectable():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"PostgreSQL did not start: {_last_words(log, start)} (see {log})")
            time.sleep(0.03)

    def _initialise(self, placement: Placement, data: Path) -> None:
        """A cluster appears under its name only when it is whole: what an interrupted start left is thrown away."""
        partial, password_file = data.with_name("postgres.unfinished"), data.with_name("initdb.password")
        shutil.rmtree(partial, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        partial.mkdir(mode=0o700)
        placement.give(partial)
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self.config.postgres_password)
            placement.give(password_file)
            command = [str(placement.programs / "initdb"), "-D", str(partial), "-U", "postgres", "--auth=scram-sha-256",
                       f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8"]  # fmt: skip
            command += [] if self.durable else ["--no-sync"]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd="/",
                check=False,
                **placement.account,
            )
        finally:
            password_file.unlink()
        if done.returncode:
            reason = done.stderr.strip().splitlines() or ["no reason given"]
            if "No space left" in done.stderr:
                raise EmbeddedError(_FULL.format(data.parent))
            raise EmbeddedError(f"The database cannot be initialised: {reason[-1]}")
        partial.rename(data)

    def _connectable(self) -> bool:
        try:
            psycopg.connect(self.config.superuser_url(), connect_timeout=3).close()
        except psycopg.OperationalError as error:
            if self.process is not None and _WRONG_PASSWORD in str(error):
                self.stop()
                raise EmbeddedError(
                    "The database's password is not the one in embedded.json; restore that file, "
                    f"or remove the data of the earlier installation below {place(self.root).home / 'postgres'}."
                ) from None
            return False
        return True


def _drop_stale_lock(data: Path) -> None:
    """Remove postmaster.pid unless its process really serves this cluster: process ids are used again."""
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split()[0])
        if str(data) in psutil.Process(pid).cmdline():
            return
    except FileNotFoundError:
        return
    except (ValueError, IndexError, psutil.Error):
        pass
    lock.unlink(missing_ok=True)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < FULL_BELOW


def _last_words(log: Path, start: int) -> str:
    """Why the server ended, from its log; on a full disk the log may have no room for the reason either."""
    if _is_full(log.parent):
        return "the disk is full, make room and start again"
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    fatal = [line for line in lines if "FATAL" in line or "PANIC" in line] or lines[-1:] or ["no reason given"]
    return fatal[-1]
