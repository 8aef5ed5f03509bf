"""Questions to a server in one message: a ClientHello that offers exactly what is asked about, and what came back.

Written by hand because no library offers a suite, group or version that it does not speak itself.
"""

import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from certificates.tls.suites import TLS13_NUMBERS

ALERT, HANDSHAKE = 21, 22  # content types, RFC 8446, section 5.1
_SERVER_HELLO = 2
_SCSV = 0x00FF  # TLS_EMPTY_RENEGOTIATION_INFO_SCSV, RFC 5746
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0201, 0x0203)
SNI, GROUPS, FORMATS, SIGNATURE_ALGORITHMS, TIMESTAMPS, SUPPORTED_VERSIONS, KEY_SHARE = 0, 10, 11, 13, 18, 43, 51
TLS13 = 0x0304


@dataclass(frozen=True, slots=True)
class Choice:
    """What a server chose: numbers of IANA's registries; `group` 0 where the message does not say.

    `timestamps` is its list of SCTs (RFC 6962, section 3.3.1), which TLS 1.3 sends encrypted (certificates.tls.flight).
    `share` is the server's half of the key agreement; empty in a HelloRetryRequest.
    """

    version: int
    cipher: int
    group: int
    timestamps: bytes = b""
    share: bytes = b""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's alert (RFC 8446, section 6), or -1 for an end without a word."""

    alert: int


def client_hello(
    version: int,
    ciphers: Iterable[int],
    groups: Iterable[int],
    host: str = "",
    shares: Mapping[int, bytes] | None = None,
) -> bytes:
    """One record with a ClientHello (RFC 8446, section 4.1.2) that speaks `version` alone.

    In TLS 1.3 without `shares` (public values by group) a server that knows a group asks for one by HelloRetryRequest,
    which names it.
    """
    extensions = b"".join(_extensions(version, list(groups), host, shares or {}))
    listed = [*ciphers] if version == TLS13 else [*ciphers, _SCSV]
    session = os.urandom(32) if version == TLS13 else b""
    body = struct.pack("!H", min(version, 0x0303)) + os.urandom(32) + _short(session)
    body += _vector(b"".join(struct.pack("!H", number) for number in listed)) + b"\x01\x00" + _vector(extensions)
    message = b"\x01" + len(body).to_bytes(3) + body
    return struct.pack("!BHH", HANDSHAKE, 0x0301, len(message)) + message


def _extensions(version: int, groups: list[int], host: str, shares: Mapping[int, bytes]) -> Iterable[bytes]:
    if host:
        yield _extension(SNI, _vector(b"\x00" + _vector(host.encode("ascii"))))
    yield _extension(GROUPS, _vector(b"".join(struct.pack("!H", number) for number in groups)))
    yield _extension(SIGNATURE_ALGORITHMS, _vector(b"".join(struct.pack("!H", number) for number in _SIGNATURES)))
    if version == TLS13:
        yield _extension(SUPPORTED_VERSIONS, _short(struct.pack("!H", TLS13)))
        entries = b"".join(struct.pack("!H", group) + _vector(share) for group, share in shares.items())
        yield _extension(KEY_SHARE, _vector(entries))
    else:
        yield _extension(FORMATS, _short(b"\x00"))
    yield _extension(TIMESTAMPS, b"")


def _extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!H", kind) + _vector(body)


def _vector(body: bytes) -> bytes:
    return struct.pack("!H", len(body)) + body


def _short(body: bytes) -> bytes:
    return bytes([len(body)]) + body


def read_answer(received: bytes) -> Choice | Refusal | None:
    """What the first records say; None while more has to come. Raises ValueError for what is no TLS."""
    messages = b""
    while len(received) >= 5:
        content, version, length = struct.unpack_from("!BHH", received)
        if version >> 8 != 3 or content not in {ALERT, HANDSHAKE} or length > 2**14 + 256:
            raise ValueError("not TLS")
        if len(received) < 5 + length:
            return None
        fragment, received = received[5 : 5 + length], received[5 + length :]
        if content == ALERT:
            return Refusal(fragment[1] if len(fragment) == 2 else -1)
        messages += fragment
        if len(messages) >= 4 and len(messages) >= 4 + int.from_bytes(messages[1:4]):
            return _server_hello(messages)
    return None


def _server_hello(message: bytes) -> Choice:
    """RFC 8446, section 4.1.3; a HelloRetryRequest has the same form."""
    if message[0] != _SERVER_HELLO:
        raise ValueError("not a ServerHello")
    body = message[4 : 4 + int.from_bytes(message[1:4])]
    try:
        (version,) = struct.unpack_from("!H", body)
        position = 35 + body[34]
        (cipher,) = struct.unpack_from("!H", body, position)
        position, group, timestamps, share = position + 3, 0, b"", b""
        if position < len(body):
            (length,) = struct.unpack_from("!H", body, position)
            extensions, at = body[position + 2 : position + 2 + length], 0
            while at < len(extensions):
                kind, size = struct.unpack_from("!HH", extensions, at)
                value = extensions[at + 4 : at + 4 + size]
                at += 4 + size
                if kind == SUPPORTED_VERSIONS:
                    (version,) = struct.unpack("!H", value)
                elif kind == KEY_SHARE:
                    (group,) = struct.unpack_from("!H", value)
                    share = value[4:]
                elif kind == TIMESTAMPS:
                    timestamps = value
    except (IndexError, struct.error):
        raise ValueError("not a ServerHello") from None
    if (version == TLS13) != (cipher in TLS13_NUMBERS):
        raise ValueError("a suite of another version")
    return Choice(version, cipher, group, timestamps, share)
