"""A small load generator: keep-alive connections that repeat one prepared request, so many times in all."""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

_CHUNKED = -1
_LAST_CHUNK = b"\r\n0\r\n\r\n"


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


class _Connection(asyncio.Protocol):
    """Sends the request, waits for the whole answer, and again until nothing is left to do."""

    def __init__(self, wire: bytes, left: list[int], done: asyncio.Future[None]) -> None:
        self._wire, self._left, self._done = wire, left, done
        self.gone: asyncio.Future[None] = done.get_loop().create_future()
        self._buffer = bytearray()
        self._expected = 0  # bytes of the answer under way, or _CHUNKED; 0 until its head is complete
        self.last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._next()

    def _next(self) -> None:
        if not self._left[0]:
            self._finish()
            return
        self._left[0] -= 1
        self._transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._expected:
            self._read_head()
        if not self._expected:
            return
        # JSON holds no bare line ends, so with one request under way the last chunk cannot be mistaken.
        chunked = self._expected == _CHUNKED
        if self._buffer.endswith(_LAST_CHUNK) if chunked else len(self._buffer) >= self._expected:
            self.last = bytes(self._buffer)
            self._buffer.clear()
            self._expected = 0
            self._next()

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self._buffer[:end]).lower().split(b"\r\n")
        if lines[0].split(b" ")[1:2] != [b"200"]:
            self._fail(bytes(self._buffer[:500]).decode(errors="replace"))
            return
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        self._expected = _CHUNKED if length is None else end + 4 + length

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._fail("the connection was closed")
        self.gone.set_result(None)

    def close(self) -> None:
        """Close the connection; `gone` tells when that is done."""
        self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(LoadError(reason))
        self._transport.close()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
        self._transport.close()


def send(request: Request, count: int, connections: int) -> int:
    """Send `request` `count` times over `connections`, one at a time on each; return `count`. Raises LoadError."""
    asyncio.run(_send(request, count, connections))
    return count


def once(request: Request) -> Any:
    """Send once and return the JSON answer; raises LoadError."""
    return json.loads(raw(request))


def raw(request: Request) -> bytes:
    """Send once and return the body of the answer; raises LoadError."""
    head, _, body = asyncio.run(_send(request, 1, 1)).partition(b"\r\n\r\n")
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


async def _send(request: Request, count: int, connections: int) -> bytes:
    loop, left = asyncio.get_running_loop(), [count]
    ends: list[asyncio.Future[None]] = []
    protocols: list[_Connection] = []
    try:
        for _ in range(min(count, connections)):
            done = loop.create_future()
            factory = partial(_Connection, request.wire, left, done)
            _, protocol = await loop.create_connection(factory, "127.0.0.1", request.port)
            ends.append(done)
            protocols.append(protocol)
        await asyncio.gather(*ends)
    finally:
        for protocol in protocols:
            protocol.close()
        await asyncio.gather(*ends, *(protocol.gone for protocol in protocols), return_exceptions=True)
    return protocols[-1].last
