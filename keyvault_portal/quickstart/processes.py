"""Child processes in groups of their own, written down so that the next start can clean up after a kill -9."""

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

PATIENCE = 10.0  # seconds between the request to stop and the end of it
SERVERS = {"valkey": signal.SIGTERM, "postgresql": signal.SIGINT}  # and what each takes as a quick orderly stop
SAME_START = 1.0  # seconds by which two readings of one process's start time may differ


class Ledger:
    """The processes of one installation: process id and start time, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, tuple[int, float]] = {}

    def add(self, name: str, pid: int) -> None:
        """Write down a process that was just started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._entries[name] = (pid, psutil.Process(pid).create_time())
        self._write()

    def clear(self) -> None:
        """Forget all: everything is stopped."""
        self._entries.clear()
        self.path.unlink(missing_ok=True)

    def stop_leftovers(self) -> list[str]:
        """Stop what an earlier start left behind, and only that; returns the names."""
        try:
            written = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return []
        found = {}
        for name, (pid, started) in written.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - started) < SAME_START:
                    found[name] = process
        # The servers last: a worker that finds no broker would not end in order.
        _stop_strangers([process for name, process in found.items() if name not in SERVERS], signal.SIGTERM)
        for name, sign in SERVERS.items():
            _stop_strangers([found[name]] if name in found else [], sign)
        self.clear()
        return list(found)

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self._entries))
        partial.replace(self.path)


def _stop_strangers(processes: list[psutil.Process], sign: int) -> None:
    """psutil compares start times before each signal, so a process id used again is never hit."""
    family = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
            process.send_signal(sign)
    psutil.wait_procs(processes, timeout=PATIENCE)
    _, alive = psutil.wait_procs(family, timeout=1)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=PATIENCE)


class Child:
    """One command, restarted a bounded number of times when it ends by itself."""

    def __init__(
        self, name: str, command: list[str], *, folder: Path, log: Path, environment: dict[str, str], ledger: Ledger
    ) -> None:
        self.name = name
        self.command = command
        self.folder = folder
        self.log = log
        self.environment = environment
        self.ledger = ledger
        self.starts: list[float] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it in a session of its own, so that the terminal's Ctrl-C reaches only us."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        self.starts.append(time.monotonic())
        self.ledger.add(self.name, self._process.pid)

    def has_ended(self) -> bool:
        """Whether the process ended; it stays unreaped, which keeps its group's number ours."""
        return (
            self._process is None
            or os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        )

    def ask_to_stop(self) -> None:
        """Ask for an orderly end and return at once."""
        if self._process is not None and not self.has_ended():
            self._process.terminate()

    def finish(self, patience: float = PATIENCE) -> None:
        """Wait for the end, insist after `patience` seconds, and leave nobody of its group behind."""
        if self._process is None:
            return
        deadline = time.monotonic() + patience
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1].strip() if lines else "it said nothing"
