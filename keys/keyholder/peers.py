"""A server on a Unix socket for our own processes: the kernel's word about the other one decides, not what it says."""

import os
import socket
import socketserver
import struct
from collections.abc import Set
from pathlib import Path
from typing import Any

from keys.keyholder import wire

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


class PeerListener(socketserver.UnixStreamServer):
    """Listens at `path` to processes of `users`; the socket is for its owner's eyes only.

    Raises PermissionError for a folder that others can write to.
    """

    request_queue_size = 128

    def __init__(self, path: Path, *, users: Set[int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = path.parent.stat()
        if folder.st_uid != os.getuid() or folder.st_mode & 0o022:
            raise PermissionError(f"{path.parent} belongs to somebody else, or others can write to it")
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Conversation)
        finally:
            os.umask(before)
        self.path, self.users = path, users

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the kernel says that the other process belongs to one of our users."""
        raw = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, user, _ = _CREDENTIALS.unpack(raw)
        return user in self.users

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a traceback could quote a frame."""


class PeerServer(socketserver.ThreadingMixIn, PeerListener):
    """Answers frames, each connection in a thread of its own; a subclass gives `answer`."""

    daemon_threads = True

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        raise NotImplementedError


class _Conversation(socketserver.BaseRequestHandler):
    server: PeerServer

    def handle(self) -> None:
        while True:
            try:
                message = wire.receive(self.request)
                wire.send(self.request, self.server.answer(message))
            except (OSError, wire.WireError):
                return
