"""Real processes of the portal for these tests: environments, waiting, stopping, what is still alive."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from keyvault_portal.embedded.config import free_ports

ROOT = Path(__file__).resolve().parents[2]
_OURS = (
    "PORTAL_",
    "DATABASE_URL",
    "CELERY_BROKER_URL",
    "SECRET_KEY",
    "TOKEN_PEPPER",
    "DJANGO_",
    "PYTEST_",
    "DEBUG",
    "EMAIL_",
    "WEB_",
)


def clean_environment(**more: str) -> dict[str, str]:
    """The environment of a person who has set nothing, and `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name != "CI"} | more


def production_settings(folder: Path, database_url: str, broker_url: str) -> dict[str, str]:
    """An environment with which production starts, once `folder` holds the key files."""
    return clean_environment(
        PORTAL_PRODUCTION="1", PORTAL_NO_BOOTSTRAP="1", PORTAL_VAR_DIR=str(folder), DATABASE_URL=database_url,
        CELERY_BROKER_URL=broker_url, SECRET_KEY=secrets.token_urlsafe(48), TOKEN_PEPPER=secrets.token_urlsafe(48),
        PORTAL_ORIGIN="https://keys.example.org", ALLOWED_HOSTS="keys.example.org,127.0.0.1", TRUST_PROXY="1",
        PORTAL_ROOT_KEY_FILE=str(folder / "keys" / "root.key"), C_FORCE_ROOT="1",
        PORTAL_AUDIT_KEY_FILE=str(folder / "keys" / "audit.key"),
    )  # fmt: skip


def free_port() -> int:
    """A port of the loopback address that nobody has now, and that stays free until it is listened on."""
    (port,) = free_ports(1)
    return port


def wait_until(holds: Callable[[], bool], what: str, patience: float = 240) -> None:
    """Return once `holds()`; fails after `patience` seconds, which is only there to end a hopeless run."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def get(address: str, **headers: str) -> tuple[int, str]:
    """Status and body of a GET, 0 when nobody answers; redirects are not followed by more than urllib does."""
    try:
        with urlopen(
            Request(address, headers={name.replace("_", "-"): value for name, value in headers.items()}), timeout=60
        ) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (URLError, ConnectionError, TimeoutError):
        return 0, ""


def stop(process: subprocess.Popen[bytes], sign: int = signal.SIGTERM, patience: float = 60) -> int:
    """Signal the process and return its exit code; kills its group after `patience` seconds."""
    if process.poll() is None:
        process.send_signal(sign)
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
