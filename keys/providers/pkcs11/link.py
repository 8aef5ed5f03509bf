"""The portal's end: one child process, a channel for every call under way, and another child when that one is lost."""

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from keys.providers.pkcs11 import wire
from keys.providers.pkcs11.wire import Refused

STARTING = 15.0  # seconds for Python, the library and the login, beyond the time-out of a call
SLOW = {
    "generate",
    "begin_import",
    "finish_import",
    "offer_import",
    "take_import",
}  # prime numbers take a token its time
SLOW_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")

# PINs that a token has refused, as digests under a key of this process: a second try costs one of the few there are.
_SALT = secrets.token_bytes(32)
_refused_pins: set[bytes] = set()
_links: "weakref.WeakSet[Link]" = weakref.WeakSet()

type Ask = Callable[..., Any]


@dataclass(eq=False)
class _Child:
    process: "subprocess.Popen[bytes]"
    control: socket.socket
    idle: list[Connection] = field(default_factory=list)
    channels: "weakref.WeakSet[Connection]" = field(default_factory=weakref.WeakSet)
    answered_at: float = 0.0

    def channel(self) -> Connection:
        with suppress(IndexError):
            return self.idle.pop()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self.control, [b"c"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        channel = Connection(ours.detach())
        self.channels.add(channel)
        return channel

    def let_go(self) -> None:
        """No new calls; the process ends when those under way have been answered."""
        self.control.close()
        while self.idle:
            self.idle.pop().close()

    def kill(self) -> None:
        self.let_go()
        self.process.kill()
        self.process.wait()


class Link:
    """Calls into the child process; thread-safe, and made anew in a forked process.

    `pin` is read at every start of a child, so that a changed PIN file is met. At most `sessions` calls run at once.
    """

    def __init__(
        self, module: str, label: str, pin: Callable[[], str], *, timeout: float, sessions: int,
        environment: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self._module, self._label, self._pin = module, label, pin
        self._timeout, self._sessions, self._environment = timeout, sessions, environment
        self._prepare()
        _links.add(self)

    def _prepare(self) -> None:
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(self._sessions)
        self._child: _Child | None = None
        self._old: list[_Child] = []

    def forget(self) -> None:
        """In a process just forked: the child and its channels belong to the parent, only our copies are closed."""
        for child in [*self._old, *([self._child] if self._child else [])]:
            for channel in list(child.channels):
                with suppress(OSError):
                    channel.close()
            child.let_go()
            child.process.returncode = 0  # somebody else's child: nothing to wait for
        self._prepare()

    def close(self) -> None:
        for child in [*self._old, *([self._child] if self._child else [])]:
            child.kill()
        self._child, self._old = None, []

    __del__ = close

    @property
    def pid(self) -> int | None:
        """The process id of the child, for tests and the health page; None before the first call."""
        child = self._child
        return child.process.pid if child else None

    def call(self, name: str, *arguments: Any) -> Any:
        """Ask once; where the token was lost, a new child opens it again and is asked once more. Raises Refused."""
        try:
            with self.channel() as ask:
                return ask(name, *arguments)
        except Refused as refused:
            if refused.code != wire.LOST:
                raise
        with self.channel() as ask:
            return ask(name, *arguments)

    @contextmanager
    def channel(self) -> Iterator[Ask]:
        """One session for several calls in a row."""
        if not self._turns.acquire(timeout=self._timeout):
            raise Refused(wire.BUSY)
        try:
            child = self._running()
            try:
                channel = child.channel()
            except OSError:
                self._drop(child)
                raise Refused(wire.CRASHED) from None
            try:
                yield lambda name, *arguments: self._ask(child, channel, name, arguments)
            finally:
                if child is self._child and not channel.closed:
                    child.idle.append(channel)
                else:
                    channel.close()
        finally:
            self._turns.release()

    def _ask(self, child: _Child, channel: Connection, name: str, arguments: tuple[Any, ...]) -> Any:
        asked_at = time.monotonic()
        answer: dict[str, Any] | None = None
        try:
            channel.send_bytes(wire.dumps([name, arguments]))
            if not channel.poll(max(self._timeout, SLOW_SECONDS) if name in SLOW else self._timeout):
                if child.answered_at < asked_at:  # nobody else was answered meanwhile either: the library hangs
                    self._drop(child)
                raise Refused(wire.TIMED_OUT)
            answer = wire.loads(channel.recv_bytes())
        except (EOFError, OSError):
            self._drop(child)
            raise Refused(wire.CRASHED) from None
        finally:
            if answer is None:  # also when a task's time is up: an answer to come belongs to nobody
                channel.close()
        child.answered_at = time.monotonic()
        if "refused" not in answer:
            return answer["ok"]
        if answer["refused"] == wire.LOST:
            channel.close()
            self._retire(child)
        raise Refused(answer["refused"], answer["detail"])

    def _drop(self, child: _Child) -> None:
        with self._lock:
            if self._child is child:
                self._child = None
        child.kill()

    def _retire(self, child: _Child) -> None:
        """The token went and may be back: later calls start over, calls under way here are answered as they can be."""
        with self._lock:
            if self._child is child:
                self._child = None
                self._old.append(child)
                child.let_go()

    def _running(self) -> _Child:
        with self._lock:
            self._old = [child for child in self._old if child.process.poll() is None]
            if self._child is not None and self._child.process.poll() is not None:
                self._child.let_go()  # ended while nobody asked: nothing was under way
                self._child = None
            if self._child is None:
                self._child = self._start()
            return self._child

    def _start(self) -> _Child:
        pin = self._pin()
        tried = hashlib.blake2b(f"{self._module}\0{self._label}\0{pin}".encode(), key=_SALT).digest()
        if tried in _refused_pins:
            raise Refused(wire.PIN)
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "keys.providers.pkcs11.child", str(theirs.fileno())],
                cwd="/", env=self._child_environment(os.environ), pass_fds=[theirs.fileno()], start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        child = _Child(process, ours)
        try:
            with Connection(os.dup(ours.fileno())) as first:
                first.send_bytes(wire.dumps({"module": self._module, "label": self._label, "pin": pin}))
                if not first.poll(self._timeout + STARTING):
                    raise Refused(wire.TIMED_OUT)
                answer = wire.loads(first.recv_bytes())
        except (EOFError, OSError):
            child.kill()
            raise Refused(wire.CRASHED) from None
        except BaseException:
            child.kill()
            raise
        if "refused" in answer:
            child.kill()
            if answer["refused"] == wire.PIN:
                _refused_pins.add(tried)
            raise Refused(answer["refused"], answer["detail"])
        return child

    def _child_environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        """What Python and the HSM's library need; the portal's own secrets are none of the library's business."""
        kept = {name: ours[name] for name in (*ENVIRONMENT, *self._environment) if name in ours}
        return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [ours.get("PYTHONPATH")])])}


def _after_fork() -> None:
    for link in list(_links):
        link.forget()


os.register_at_fork(after_in_child=_after_fork)
