"""The ceremony process's protocol served from a thread of the test: for tests whose rows no other process would see.

What a process of its own gives (locked memory, an end by the kernel) is tested in test_process.py and test_traces.py.
"""

import threading
from collections.abc import Set
from pathlib import Path
from typing import Any
from uuid import UUID

from ceremonies.process import server
from ceremonies.process.sessions import Sessions
from keys.keyholder import wire
from keys.keyholder.peers import PeerServer
from keyvault_portal.errors import PortalError


class CeremonyServer(PeerServer):
    """Serves `sessions` at `path`; each connection is a thread, which remembers the head of its question."""

    def __init__(self, path: Path, sessions: Sessions, *, users: Set[int]) -> None:
        super().__init__(path, users=users)
        self.sessions = sessions
        self._asked = threading.local()

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        head = getattr(self._asked, "head", None)
        if head is not None:
            self._asked.head = None
            return server.answer(self.sessions, UUID(head["ceremony_id"]), head["op"], message)
        ceremony_id = UUID(message["ceremony_id"])
        try:
            match message["op"]:
                case "begin":
                    return self._begin(ceremony_id, message)
                case "destroy":
                    return {"was": self.sessions.destroy(ceremony_id)}
                case "status":
                    return server._status(self.sessions, ceremony_id)
            self.sessions.under(ceremony_id, None)
        except PortalError as error:
            return server.refused(error)
        self._asked.head = message
        return {"go": True}

    def forget(self) -> None:
        """As if the process had been killed."""
        for ceremony_id in list(self.sessions._sessions):
            self.sessions.destroy(ceremony_id)

    def _begin(self, ceremony_id: UUID, message: dict[str, Any]) -> dict[str, Any]:
        session = self.sessions.begin(ceremony_id, message["script_hash"], practice=message["practice"])
        return {
            "nonce": session.nonce, "public_key": wire.to_text(session.public_key), "idle_seconds": self.sessions.idle_seconds,
            "life_seconds": self.sessions.life_seconds,
        }  # fmt: skip
