"""DER in pieces (X.690): what is already encoded is joined as it is, never decoded and encoded again."""

from datetime import UTC, datetime
from functools import cache

from asn1crypto import core, parser
from cryptography import x509

_SEQUENCE, _SET, _BIT_STRING, _OCTET_STRING, _ENUMERATED, _GENERALIZED_TIME, _UTC_TIME, _UTF8 = (
    16,
    17,
    3,
    4,
    10,
    24,
    23,
    12,
)
_CONTEXT = 2


class MalformedDer(ValueError):
    """The bytes are not what they should be."""


def sequence(*parts: bytes) -> bytes:
    return bytes(parser.emit(0, 1, _SEQUENCE, b"".join(parts)))


def one(member: bytes) -> bytes:
    """A SET of one member: more would have to be sorted (X.690, 11.6)."""
    return bytes(parser.emit(0, 1, _SET, member))


def utf8(text: str) -> bytes:
    return bytes(parser.emit(0, 0, _UTF8, text.encode()))


def octets(content: bytes) -> bytes:
    return bytes(parser.emit(0, 0, _OCTET_STRING, content))


def bits(content: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return bytes(parser.emit(0, 0, _BIT_STRING, b"\0" + content))


def enumerated(value: int) -> bytes:
    return bytes(parser.emit(0, 0, _ENUMERATED, bytes([value])))


def tagged(number: int, content: bytes, *, constructed: bool = True) -> bytes:
    """A context-specific tag around `content`, which is what stands inside it."""
    return bytes(parser.emit(_CONTEXT, int(constructed), number, content))


def integer(value: int) -> bytes:
    return bytes(core.Integer(value).dump())


@cache
def object_identifier(dotted: str) -> bytes:
    return bytes(core.ObjectIdentifier(dotted).dump())


def generalized_time(moment: datetime) -> bytes:
    """Whole seconds in UTC, as RFC 5280, 4.1.2.5.2 wants them."""
    text = moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
    return bytes(parser.emit(0, 0, _GENERALIZED_TIME, text.encode()))


def time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5)."""
    if moment.astimezone(UTC).year >= 2050:
        return generalized_time(moment)
    return bytes(parser.emit(0, 0, _UTC_TIME, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode()))


def extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    """Extension ::= SEQUENCE { extnID, critical DEFAULT FALSE, extnValue } (RFC 5280, 4.1)."""
    flag = b"\x01\x01\xff" if critical else b""
    return sequence(object_identifier(value.oid.dotted_string), flag, octets(value.public_bytes()))


def content(encoded: bytes) -> bytes:
    """What stands inside one value; raises MalformedDer."""
    try:
        return bytes(parser.parse(encoded, strict=True)[4])
    except ValueError:
        raise MalformedDer("not DER") from None


def parts(encoded: bytes, *, exactly: int | None = None) -> list[bytes]:
    """The encoded members of one constructed value; raises MalformedDer."""
    try:
        content = parser.parse(encoded, strict=True)[4]
        found = []
        while content:
            *_, header, value, trailer = parser.parse(content)
            member = header + value + trailer
            found.append(member)
            content = content[len(member) :]
    except ValueError:
        raise MalformedDer("not DER") from None
    if exactly is not None and len(found) != exactly:
        raise MalformedDer(f"{len(found)} members where {exactly} belong")
    return found
