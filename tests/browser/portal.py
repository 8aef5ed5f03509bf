"""A portal as a newcomer runs it: `./manage.py quickstart` in a folder of its own, with the demonstration made through its services."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keyvault_portal import embedded
from keyvault_portal.quickstart import _socket as socket_path
from tests.boot.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN, PIN = "vault-room", "739154"
PATIENCE = 300.0  # seconds until the portal must have answered


class RunningPortal:
    """PostgreSQL, Valkey, web server, worker and beat below `folder`, from `start` to `stop`."""

    def __init__(
        self, folder: Path, *, customers: int = 300, orders: int = 90, fill: Callable[[str], None] | None = None
    ) -> None:
        """`fill` is given the address of its empty database, in place of the migrations of the first start."""
        self.folder = folder
        self.fill = fill
        self.customers, self.orders = customers, orders
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.log = folder / "quickstart.log"
        self.facts: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DATABASE_URL", "CELERY_", "PORTAL_", "DJANGO_"))
        }
        return own | {
            "PORTAL_VAR_DIR": str(self.folder / "var"), "PORTAL_NO_BOOTSTRAP": "1", "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "keyvault_portal.settings", "PORTAL_ORIGIN": self.url,
            "PORTAL_CEREMONY_SOCKET": str(socket_path(self.folder / "var", "ceremony.sock")), "PKCS11_MODULES": MODULE,
            "PORTAL_CEREMONY_IDLE_SECONDS": "28800",  # the one that was dealt waits for its test, however long the others take
            "SOFTHSM2_CONF": str(self.folder / "softhsm2.conf"),
        }  # fmt: skip

    def start(self) -> "RunningPortal":
        """Start everything and make the demonstration; what it made is in `facts`."""
        self._make_token()
        if self.fill:
            self._make_database(self.fill)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "manage.py", "quickstart", "--port", str(self.port)], cwd=ROOT, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._await_address()
            self.facts = self._seed()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ctrl-C, as a person would; it stops everything it started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _make_token(self) -> None:
        """An HSM's token, for the ceremony that brings a lost key back into one."""
        tokens = self.folder / "tokens"
        tokens.mkdir(parents=True)
        (self.folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        pin = self.folder / "pin"
        pin.write_text(PIN)
        pin.chmod(0o600)
        command = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", "90281734"]
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def _make_database(self, fill: Callable[[str], None]) -> None:
        services = embedded.Services(self.folder / "var")
        services.start()
        try:
            fill(services.config.database_url())
        finally:
            services.stop()

    def _await_address(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "/set-up/" not in self.log.read_text():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the portal did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _seed(self) -> dict[str, Any]:
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).with_name("seed.py")),
            str(self.customers),
            str(self.orders),
        ]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the demonstration was not made: {done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
