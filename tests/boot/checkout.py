"""A fresh clone of this repository, and quickstart in it as a person runs it in a terminal."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import psutil
import pytest

from keyvault_portal import embedded
from tests import migrated
from tests.boot.processes import ROOT, clean_environment, wait_until

READY = "Ctrl-C stops everything."


def clone(folder: Path) -> Path:
    """A clone below `folder` of what is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is nothing to clone")
    home = folder / "portal"
    # The owner of these files may be another user than the one who runs the tests.
    git = ["git", "-c", "safe.directory=*", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(home)]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home


def migrated_before(home: Path) -> None:
    """Leave below `home` a database as its first start would, for tests of what comes after it."""
    services = embedded.Services(home / "var", durable=False)
    services.start()
    try:
        migrated.fill(services.config.database_url())
    finally:
        services.stop()


@dataclass
class Quickstart:
    """One run of `./manage.py quickstart` in `home`, its output as it comes, and every process it ever had."""

    home: Path
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=clean_environment)
    prefix: list[str] = field(default_factory=lambda: [sys.executable])
    output: str = ""
    family: set[psutil.Process] = field(default_factory=set)

    def start(self) -> "Quickstart":
        """Start it in a session of its own, as a terminal does."""
        self.process = subprocess.Popen(
            [*self.prefix, "manage.py", "quickstart", *self.arguments],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def ready(self) -> "Quickstart":
        """Wait for the address; remembers every process by then."""
        wait_until(lambda: READY in self.output or self.process.poll() is not None, "quickstart is ready", 240)
        assert READY in self.output, self.output
        self.look()
        return self

    def look(self) -> set[psutil.Process]:
        """Add the present descendants to the family."""
        self.family |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self.family

    def each[T](self, ask: Callable[[psutil.Process], T]) -> list[T]:
        """What those of the family answer who still run; any of them may end while it is asked (a migration, a connection)."""
        found = []
        for member in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(ask(member))
        return found

    def alive(self) -> list[psutil.Process]:
        """Who of the family still runs."""
        standing = self.each(lambda member: (member, member.is_running() and member.status() != psutil.STATUS_ZOMBIE))
        return [member for member, runs in standing if runs]

    def interrupt(self) -> int:
        """Ctrl-C: the terminal sends SIGINT to the whole foreground group."""
        self.look()
        os.killpg(self.process.pid, signal.SIGINT)
        return self.end()

    def kill(self) -> None:
        """kill -9 of quickstart alone."""
        self.look()
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(120)
        self._reader.join()
        return code

    def clean_up(self) -> None:
        """Whatever went wrong, leave nobody behind."""
        if self.process.poll() is None:
            self.look()
            self.process.kill()
        self.end()
        for member in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()

    def __enter__(self) -> "Quickstart":
        return self.start()

    def __exit__(self, *details: object) -> None:
        self.clean_up()

    @property
    def address(self) -> str:
        """The one address to open."""
        (found,) = re.findall(r"^ +Open +(https?://\S+)$", self.output, flags=re.MULTILINE)
        return str(found)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.output += line


class Browser:
    """Follows redirects, keeps cookies, and sends forms with their CSRF token."""

    def __init__(self) -> None:
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(self, address: str) -> tuple[str, str]:
        """The final address and the page; raises HTTPError."""
        try:
            with self._opener.open(address, timeout=60) as answer:
                return answer.url, answer.read().decode()
        except HTTPError as error:
            error.close()
            raise

    def send(self, address: str, **values: str) -> tuple[str, str]:
        """Fill in the form on the page at `address`."""
        _, page = self.get(address)
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token, page
        data = urlencode(values | {"csrfmiddlewaretoken": token[1]}).encode()
        with self._opener.open(address, data, timeout=60) as answer:
            return answer.url, answer.read().decode()
