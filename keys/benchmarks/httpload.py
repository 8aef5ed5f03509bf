"""A small load generator: keep-alive connections that repeat one prepared request, so many times or for so long.

It shares the processors with the server it measures, so it does no more than the kernel asks for: no event loop, and an
answer's head is read again only where it differs from the one before.
"""

import json
import re
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PATIENCE, _MOST = 60.0, 1 << 18  # seconds without any answer; bytes read at a time


class LoadError(RuntimeError):
    """A server answered with something else than 200, or closed the connection."""


def free_port() -> int:
    """A port on the loopback address that nothing listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Request:
    """One POST, of JSON unless its headers say otherwise, as the bytes that go out again and again."""

    port: int
    path: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def wire(self) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Content-Length: {len(self.body)}",
            *(
                f"{name}: {value}"
                for name, value in ({"Content-Type": "application/json"} | dict(self.headers)).items()
            ),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class _Connection:
    """Sends the request and reads the answer, one at a time."""

    def __init__(self, port: int, wire: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wire, self._read = wire, b""
        self._head, self._expected = b"", 0  # of the last answer; its length is 0 where it came in chunks

    def send(self) -> None:
        self._read = b""
        self.socket.sendall(self._wire)

    def receive(self) -> bytes | None:
        """The answer if it is whole now; raises LoadError."""
        data = self.socket.recv(_MOST)
        if not data:
            raise LoadError("the connection was closed")
        self._read = data = self._read + data if self._read else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        if (head := data[:end]) != self._head:
            if head.split(b" ", 2)[1:2] != [b"200"]:
                raise LoadError(data[:500].decode(errors="replace"))
            length = _LENGTH.search(head)
            self._head, self._expected = head, end + 4 + int(length[1]) if length else 0
        # JSON holds no bare line ends, so with one request under way the last chunk cannot be mistaken.
        whole = len(data) >= self._expected if self._expected else data.endswith(_LAST_CHUNK)
        return data if whole else None


def send(request: Request, count: int, connections: int) -> int:
    """Send `request` `count` times over `connections`, one at a time on each; return `count`. Raises LoadError."""
    left = iter(range(count))
    _send(request, min(count, connections), lambda: next(left, None) is not None)
    return count


def send_for(request: Request, seconds: float, connections: int) -> int:
    """As `send`, again and again until `seconds` are over; returns how often."""
    until, count = time.perf_counter() + seconds, 0

    def another() -> bool:
        nonlocal count
        if time.perf_counter() > until:
            return False
        count += 1
        return True

    _send(request, connections, another)
    return count


def once(request: Request) -> Any:
    """Send once and return the JSON answer; raises LoadError."""
    return json.loads(raw(request))


def raw(request: Request) -> bytes:
    """Send once and return the body of the answer; raises LoadError."""
    left = iter([True])
    head, _, body = _send(request, 1, lambda: next(left, False)).partition(b"\r\n\r\n")
    return body if b"content-length:" in head.lower() else _joined(body)


def _joined(chunks: bytes) -> bytes:
    """The content of a chunked body (RFC 9112, 7.1)."""
    content = b""
    while True:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return content
        content += rest[:length]
        chunks = rest[length + 2 :]


def _send(request: Request, connections: int, another: Callable[[], bool]) -> bytes:
    """Send while there is `another` to send, and return the last answer once all have come."""
    wire, last, waiting = request.wire, b"", 0
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            connection = _Connection(request.port, wire)
            stack.callback(connection.socket.close)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            if another():
                connection.send()
                waiting += 1
        while waiting:
            ready = selector.select(_PATIENCE)
            if not ready:
                raise LoadError(f"no answer for {_PATIENCE:.0f} seconds")
            for key, _ in ready:
                answer = key.data.receive()
                if answer is None:
                    continue
                last = answer
                if another():
                    key.data.send()
                else:
                    waiting -= 1
    return last
