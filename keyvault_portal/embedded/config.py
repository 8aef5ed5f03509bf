"""Ports and passwords of one embedded installation, kept in `embedded.json` (mode 0600)."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

OWNER = "keyvault"  # the portal's own database role: owns its database, is no superuser
FILE = "embedded.json"
FAVOURITE_WEB_PORT = 8000
# Below those that the system lends to connections and to whoever asks for any port: what is kept is free at the next start, too.
_PORTS = range(20_000, 32_768)
_SECRETS = ("postgres_password", "owner_password", "valkey_password", "secret_key", "token_pepper")


def installation_root() -> Path:
    """Where this checkout keeps its data: PORTAL_VAR_DIR, or `var` beside manage.py."""
    return Path(os.environ.get("PORTAL_VAR_DIR") or Path(__file__).parents[2] / "var").resolve()


class EmbeddedError(RuntimeError):
    """A sentence for the person at the terminal."""


@dataclass(frozen=True)
class Config:
    """Ports and passwords of one embedded installation; passwords never show in its repr."""

    postgres_port: int
    valkey_port: int
    web_port: int
    postgres_password: str = field(repr=False)  # of PostgreSQL's superuser, whom only this package uses
    owner_password: str = field(repr=False)  # of the portal's own role
    valkey_password: str = field(repr=False)
    secret_key: str = field(repr=False)
    token_pepper: str = field(repr=False)
    databases: dict[str, str] = field(default_factory=dict, repr=False)  # owner's password, by further database

    def database_url(self, name: str = OWNER) -> str:
        """The address of database `name` for the portal's own role."""
        return self._url(OWNER, self.owner_password, name)

    def superuser_url(self, name: str = "postgres") -> str:
        """The address of database `name` for PostgreSQL's superuser."""
        return self._url("postgres", self.postgres_password, name)

    def further_url(self, name: str, owner: str) -> str:
        """The address of a further database for its own role."""
        return self._url(owner, self.databases[name], name)

    def broker_url(self, number: int = 0) -> str:
        """The address of Valkey's database `number`."""
        return f"redis://:{self.valkey_password}@127.0.0.1:{self.valkey_port}/{number}"

    def _url(self, user: str, password: str, name: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.postgres_port}/{name}"


def load_config(root: Path) -> Config | None:
    """The installation's configuration, or None before the first start; raises EmbeddedError when it is damaged."""
    values = _read(root)
    if not {entry.name for entry in fields(Config)} <= values.keys():
        return None
    return Config(**values)


def ensure_config(root: Path, *, web_port: int | None = None) -> Config:
    """The configuration, with what is missing chosen now: free ports, random passwords.

    A `web_port` is remembered for later starts. Raises EmbeddedError when the folder cannot be written.
    """
    with _alone(root):
        values = _read(root)
        ports = iter(free_ports(3))
        chosen: dict[str, Any] = {"postgres_port": next(ports), "valkey_port": next(ports)}
        chosen["web_port"] = FAVOURITE_WEB_PORT if _is_free(FAVOURITE_WEB_PORT) else next(ports)
        chosen |= {name: secrets.token_urlsafe(32) for name in _SECRETS} | {"databases": {}}
        config = Config(**(chosen | values | ({"web_port": web_port} if web_port else {})))
        if asdict(config) != values:
            _write(root, config)
    return config


def ensure_further_database(root: Path, name: str) -> Config:
    """The configuration with a password for the owner of the further database `name`."""
    config = ensure_config(root)
    with _alone(root):
        config = Config(**_read(root))
        if name not in config.databases:
            config = replace(config, databases=config.databases | {name: secrets.token_urlsafe(32)})
            _write(root, config)
    return config


def answers(port: int) -> bool:
    """Whether anything listens on this port of the loopback address."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback address that nobody has now and no passing connection is given."""
    ports = secrets.SystemRandom().sample(_PORTS, len(_PORTS))
    return list(islice(filter(_is_free, ports), count))


def _read(root: Path) -> dict[str, Any]:
    path = root / FILE
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise EmbeddedError(
            f"{path} is damaged; restore it, because it holds the passwords of the data beside it."
        ) from None
    known = {entry.name for entry in fields(Config)}
    return {name: value for name, value in values.items() if name in known}


def _write(root: Path, config: Config) -> None:
    partial = root / f"{FILE}.partial"
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(config), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(root / FILE)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f".{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise EmbeddedError(f"{root} (PORTAL_VAR_DIR) cannot be written: {error.strerror}.") from None


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
