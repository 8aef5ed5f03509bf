"""Starts the parts in order, shows one line each, watches them, and stops them again."""

import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from django.conf import settings
from rich.console import Console

from keys.keyholder.client import Keyholder
from keyvault_portal import embedded
from keyvault_portal.embedded.config import answers
from keyvault_portal.errors import Sealed
from keyvault_portal.quickstart.processes import Child, Ledger

SERVE_DEADLINE = 90.0  # seconds until the web server must have answered
CRASHES = 3  # restarts of one part that are forgiven within CRASH_WINDOW seconds
CRASH_WINDOW = 60.0
PAUSE = 1.0  # seconds between tries to start a server that ended
STOPPED_IN_ORDER = ("beat", "web", "worker", "ceremonies", "keyholder")  # who asks before who answers
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping(BaseException):
    """A signal asked for the end; past every `except Exception` on its way out."""


class Supervisor:
    """All parts of one installation below `root`; `folder` holds manage.py."""

    def __init__(self, root: Path, folder: Path, console: Console) -> None:
        self.root = root
        self.console = console
        self.ledger = Ledger(root / "run" / "processes.json")
        self.leftovers = self.ledger.stop_leftovers()
        self.services = embedded.Services(root, started=self.ledger.add)
        self.port = self.services.config.web_port
        environment = os.environ | {
            "PORTAL_VAR_DIR": str(root), "PORTAL_NO_BOOTSTRAP": "1", "PYTHONUNBUFFERED": "1",
            # Celery warns of root, whom quickstart as root has chosen with open eyes.
            "PYTHONWARNINGS": "ignore::RuntimeWarning:celery.platforms",
        }  # fmt: skip
        celery = ["-m", "celery", "-A", "keyvault_portal"]
        commands = {
            "keyholder": ["manage.py", "keyholder"],
            "ceremonies": ["manage.py", "ceremony_process"],
            "web": ["manage.py", "serve", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"],
            "worker": [*celery, "worker", "--pool", "prefork", "--concurrency", "3", "--without-gossip", "--without-mingle",
                       "--hostname", "quickstart@%h", "--loglevel", "INFO"],
            "beat": [*celery, "beat", "--schedule", str(root / "run" / "celerybeat-schedule"), "--pidfile", "", "--loglevel", "INFO"],
        }  # fmt: skip
        self.children = {
            name: Child(name, [sys.executable, *command], folder=folder, log=root / "log" / f"{name}.log",
                        environment=environment, ledger=self.ledger)
            for name, command in commands.items()
        }  # fmt: skip

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Within it signals end the run; at its end everything that was started is stopped."""
        before = {sign: signal.signal(sign, _stop) for sign in _SIGNALS}
        try:
            yield
        except Stopping:
            with contextlib.suppress(OSError):
                self.console.print("\nStopping ...")
        finally:
            for sign in _SIGNALS:
                signal.signal(sign, signal.SIG_IGN)
            self._stop_all()
            for sign, handler in before.items():
                signal.signal(sign, handler)

    def start_web(self) -> None:
        """The web server, first of all: it reads its code while the rest comes up. Raises EmbeddedError when its port is taken."""
        if self.leftovers:
            self.console.print(f"  Stopped what an interrupted start had left: {', '.join(self.leftovers)}.")
        if answers(self.port):
            raise embedded.EmbeddedError(
                f"Port {self.port} is taken by another program; choose another: ./manage.py quickstart --port 8100"
            )
        self.children["web"].start()

    def start_services(self) -> None:
        """PostgreSQL and Valkey; raises EmbeddedError."""
        with self.console.status("Starting PostgreSQL and Valkey"):
            self.services.start()
        config = self.services.config
        self.line("PostgreSQL", f"127.0.0.1:{config.postgres_port}", self.root / "log" / "postgresql.log")
        self.line("Valkey", f"127.0.0.1:{config.valkey_port}", self.root / "log" / "valkey.log")

    def start_keyholder(self) -> None:
        """The process that knows the root; `wait_for_keyholder` returns when it answers."""
        self.children["keyholder"].start()

    def wait_for_keyholder(self) -> None:
        """Returns when the keyholder answers; raises EmbeddedError when it does not."""
        child, deadline = self.children["keyholder"], time.monotonic() + SERVE_DEADLINE
        while True:
            try:
                Keyholder(Path(settings.KEYHOLDER_SOCKET)).status()
            except Sealed:
                if child.has_ended() or time.monotonic() > deadline:
                    raise embedded.EmbeddedError(
                        f"The keyholder did not start: {child.last_words()} (see {child.log})"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def wait_for_web(self) -> None:
        """Returns when the web server answers; raises EmbeddedError when it does not."""
        web, deadline = self.children["web"], time.monotonic() + SERVE_DEADLINE
        with self.console.status("Starting the web server"):
            while not self._serves():
                if web.has_ended() or time.monotonic() > deadline:
                    raise embedded.EmbeddedError(f"The web server did not start: {web.last_words()} (see {web.log})")
                time.sleep(0.05)
        self.wait_for_keyholder()
        self.line("Keyholder", "alone knows the root", self.children["keyholder"].log)
        self.line("Web", f"127.0.0.1:{self.port}, 2 processes", web.log)

    def start_others(self) -> None:
        """Worker, beat and ceremony process, for whom nobody waits."""
        for name in ("worker", "beat", "ceremonies"):
            self.children[name].start()
        self.line("Worker", "3 processes", self.children["worker"].log)
        self.line("Beat", "schedule", self.children["beat"].log)
        self.line("Ceremonies", "alone holds shares", self.children["ceremonies"].log)

    def watch(self) -> None:
        """Until a signal: restart what ends by itself; raises EmbeddedError when one part keeps ending."""
        while True:
            time.sleep(0.25)
            self.watch_once()

    def watch_once(self) -> None:
        """One look at every part."""
        for server in (self.services.valkey, self.services.postgresql):
            if server.process is not None and server.process.poll() is not None:
                self.console.print(f"  {type(server).__name__} ended by itself; starting it again.")
                self._start_again(server.start)
        for child in self.children.values():
            if not child.has_ended():
                continue
            child.finish()
            recent = [start for start in child.starts if start > time.monotonic() - CRASH_WINDOW]
            if len(recent) > CRASHES:
                raise embedded.EmbeddedError(
                    f"The {child.name} process keeps ending: {child.last_words()} (see {child.log})"
                )
            self.console.print(f"  The {child.name} process ended by itself; starting it again (see {child.log}).")
            child.start()

    def _start_again(self, start: Callable[[], None]) -> None:
        """A server that is ended once more while it starts gets another chance, after what it left has ended, too."""
        for chances in range(CRASHES, -1, -1):
            try:
                return start()
            except embedded.EmbeddedError:
                if not chances:
                    raise
                time.sleep(PAUSE)

    def line(self, name: str, what: str, where: Path | None = None) -> None:
        """One status line."""
        self.console.print(f"  [green]✓[/green] {name:<11}{what:<30}[dim]{where or ''}[/dim]")

    def _serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _stop_all(self) -> None:
        for name in STOPPED_IN_ORDER:
            self.children[name].ask_to_stop()
        for name in STOPPED_IN_ORDER:
            self.children[name].finish()
        self.services.stop()
        self.ledger.clear()


def _stop(number: int, frame: FrameType | None) -> None:
    for sign in _SIGNALS:
        signal.signal(sign, signal.SIG_IGN)
    raise Stopping
