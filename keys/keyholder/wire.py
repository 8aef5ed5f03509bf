"""Frames on the socket: four bytes of length, then one JSON object; bytes travel as base64."""

import base64
import socket
from typing import Any

import orjson

MAX_FRAME = 1 << 20


class WireError(Exception):
    """The other side broke the framing, or went away."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """One frame."""
    body = orjson.dumps(message)
    connection.sendall(len(body).to_bytes(4) + body)


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next frame; raises WireError at the end of the stream and for anything that is no frame."""
    size = int.from_bytes(_exactly(connection, 4))
    if size > MAX_FRAME:
        raise WireError("a frame is too long")
    try:
        message = orjson.loads(_exactly(connection, size))
    except orjson.JSONDecodeError:
        raise WireError("a frame is not JSON") from None
    if not isinstance(message, dict):
        raise WireError("a frame is not an object")
    return message


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts, missing = [], size
    while missing:
        part = connection.recv(min(missing, 65_536))
        if not part:
            raise WireError("the connection ended")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def to_text(value: bytes) -> str:
    """Base64 of `value`."""
    return base64.b64encode(value).decode("ascii")


def to_bytes(value: object) -> bytes:
    """The bytes behind base64 text; raises WireError."""
    if not isinstance(value, str):
        raise WireError("a value is not text")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise WireError("a value is not base64") from None
