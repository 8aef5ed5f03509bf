"""Who lets questions in: one small process in one thread, which gives each ceremony a process of its own and holds no secret.

A ceremony ends when its process is killed: the kernel then takes every page it ever wrote to, the copies that a language with
garbage collection makes among them.
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from ceremonies.errors import SessionOpen, SessionOver
from ceremonies.process import server
from ceremonies.process.sessions import Sessions, check_script_hash
from keys.keyholder import memory, wire
from keys.keyholder.peers import PeerListener
from keyvault_portal.errors import PortalError, Throttled, ValidationFailed

logger = logging.getLogger("ceremonies.process")
MAX_CEREMONIES = 32  # at once
PATIENCE = 5.0  # seconds for the head of a question
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    channel: socket.socket


class Doorkeeper(PeerListener):
    """Listens at `path` to processes of `users`; `sessions` makes what a ceremony's own process begins its session in."""

    def __init__(self, path: Path, sessions: Callable[[], Sessions], *, users: Set[int]) -> None:
        super().__init__(path, users=users)
        self._sessions = sessions
        self._children: dict[UUID, _Child] = {}

    def process_request(self, request: Any, client_address: Any) -> None:
        """Read the head of the question, and answer it or pass it on with the connection."""
        try:
            request.settimeout(PATIENCE)
            answer = self._answer(wire.receive(request), request)
            if answer is not None:
                wire.send(request, answer)
        except (OSError, wire.WireError):
            logger.debug("a connection ended early")
        finally:
            request.close()  # never shut down: the ceremony's own process may be speaking on it

    def service_actions(self) -> None:
        """Bury what ended by itself."""
        for ceremony_id in list(self._children):
            self._alive(ceremony_id)

    def destroy_all(self) -> None:
        """At the end: no ceremony outlives its doorkeeper."""
        for ceremony_id in list(self._children):
            self._destroy(ceremony_id)

    def _answer(self, head: dict[str, Any], connection: socket.socket) -> dict[str, Any] | None:
        try:
            operation, ceremony_id = str(head["op"]), UUID(str(head["ceremony_id"]))
            if operation == "begin":
                self._begin(ceremony_id, str(head["script_hash"]), bool(head["practice"]), connection)
                return None
            if operation == "destroy":
                return {"was": self._destroy(ceremony_id)}
            child = self._alive(ceremony_id)
            if child is not None:
                passed = orjson.dumps({"op": operation})
                with contextlib.suppress(OSError):  # it is just ending
                    socket.send_fds(child.channel, [passed], [connection.fileno()])
                    return None
            if operation == "status":
                return {"begun": False}
            raise SessionOver(hint="It was aborted, timed out, or the process was restarted: begin again.")
        except PortalError as error:
            return server.refused(error)
        except (KeyError, ValueError):
            return server.refused(ValidationFailed("The question cannot be read."))

    def _begin(self, ceremony_id: UUID, script_hash: str, practice: bool, connection: socket.socket) -> None:
        check_script_hash(script_hash)
        if self._alive(ceremony_id) is not None:
            raise SessionOpen(hint="Go on with that one, or abort the ceremony.")
        self.service_actions()
        if len(self._children) >= MAX_CEREMONIES:
            raise Throttled("Too many ceremonies are under way at once.")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        doorkeeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_a_ceremony(doorkeeper)
            begin = {"ceremony_id": str(ceremony_id), "script_hash": script_hash, "practice": practice}
            server.serve(self._sessions, begin, connection, theirs)
        theirs.close()
        self._children[ceremony_id] = _Child(pid, ours)

    def _become_a_ceremony(self, doorkeeper: int) -> None:
        """In the child: die with the doorkeeper, lock the memory (locks are not inherited), leave its sockets alone."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != doorkeeper:
            os._exit(0)
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, signal.SIG_DFL)
        memory.protect()
        self.socket.close()
        for child in self._children.values():
            child.channel.close()

    def _alive(self, ceremony_id: UUID) -> _Child | None:
        child = self._children.get(ceremony_id)
        if child is None or os.waitpid(child.pid, os.WNOHANG) == (0, 0):
            return child
        self._forget(ceremony_id)
        return None

    def _destroy(self, ceremony_id: UUID) -> bool:
        child = self._alive(ceremony_id)
        if child is None:
            return False
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        self._forget(ceremony_id)
        return True

    def _forget(self, ceremony_id: UUID) -> None:
        self._children.pop(ceremony_id).channel.close()
