"""Processes of ours that need not read our code first: forked from one that has, and otherwise like any started by a command.

Each has the environment, folder, files and session it was started with, reads the settings anew and ends as Python ends.
That the same commands start cold is seen in tests/boot and tests/readme.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_NURSERY: list["_Nursery"] = []


def start(arguments: list[str], *, env: dict[str, str], output: int, session: bool = False) -> "Process":
    """Start `python ARGUMENTS`, a script or `-m module`, in the root of the tree; both its outputs go to the file `output`."""
    if not _NURSERY:
        _NURSERY.append(_Nursery(env))
    return _NURSERY[0].start(arguments, env, output, session)


def stop() -> None:
    """End the one they are forked from."""
    while _NURSERY:
        _NURSERY.pop().stop()


class Process:
    """What a test asks of subprocess.Popen."""

    returncode: int | None = None

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._told = line.makefile("r")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = int(self._told.readline())
            self._told.close()
            self._line.close()
        return self.returncode

    def send_signal(self, sign: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sign)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """The process from which they are forked, seen by this one."""

    def __init__(self, env: dict[str, str]) -> None:
        self._asked, there = socket.socketpair()
        command = [sys.executable, "-m", "tests.warm", str(there.fileno())]
        self._process = subprocess.Popen(command, env=env, cwd=ROOT, pass_fds=[there.fileno()])
        there.close()

    def start(self, arguments: list[str], env: dict[str, str], output: int, session: bool) -> Process:
        line, there = socket.socketpair()
        asked = json.dumps([arguments, env, session]).encode()
        with there:
            socket.send_fds(self._asked, [len(asked).to_bytes(4)], [there.fileno(), output])
            self._asked.sendall(asked)
        return Process(line)

    def stop(self) -> None:
        self._asked.close()
        self._process.wait(60)


def _serve(asked: socket.socket) -> tuple[list[str], dict[str, str]] | None:
    """For each that is asked for, a process that stays to say how it ended, and that process itself, in which this returns."""
    while True:
        size, files, _, _ = socket.recv_fds(asked, 4, 2)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not size:
            return None
        arguments, env, session = json.loads(asked.recv(int.from_bytes(size), socket.MSG_WAITALL))
        line, output = files
        if os.fork():
            os.close(line)
            os.close(output)
            continue
        asked.close()
        child = os.fork()
        if not child:
            if session:
                os.setsid()
            os.write(line, f"{os.getpid()}\n".encode())  # once a signal to its group finds it
            os.close(line)
            for number in (1, 2):
                os.dup2(output, number)
            os.close(output)
            return arguments, env
        os.close(output)
        os.write(line, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
        os._exit(0)


def _read_our_code() -> None:
    import django

    django.setup()
    from importlib import import_module

    import celery.apps.worker
    import celery.bin.celery
    import celery.concurrency.prefork  # noqa: F401

    from keyvault_portal.celery import app

    app.loader.import_default_modules()
    for name in ("keys.management.commands.keyholder", "ceremonies.management.commands.ceremony_process"):
        import_module(name)
    gc.freeze()


def _become(arguments: list[str], env: dict[str, str]) -> None:
    import runpy
    import tempfile

    import django
    from django.conf import settings
    from django.utils.functional import empty

    os.environ.clear()
    os.environ.update(env | {"DJANGO_SETTINGS_MODULE": "keyvault_portal.settings"})
    sys.modules.pop("keyvault_portal.settings", None)
    settings._wrapped = empty  # type: ignore[assignment]
    tempfile.tempdir = None
    django.setup()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def main() -> Any:
    asked: Any = socket.socket(fileno=int(sys.argv[1]))
    os.environ["DJANGO_SETTINGS_MODULE"] = "keyvault_portal.settings"
    _read_our_code()
    wanted = _serve(asked)
    if wanted:
        _become(*wanted)


if __name__ == "__main__":
    main()
