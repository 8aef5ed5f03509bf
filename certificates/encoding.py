"""DER in pieces (X.690): what is already encoded is joined as it is, never decoded and encoded again."""

from datetime import UTC, datetime
from functools import cache, lru_cache

from asn1crypto import core, parser
from cryptography import x509

_SEQUENCE, _SET, _INTEGER, _BIT_STRING, _OCTET_STRING, _ENUMERATED = 0x30, 0x31, 2, 3, 4, 10
_GENERALIZED_TIME, _UTC_TIME, _UTF8, _CONTEXT, _CONSTRUCTED = 24, 23, 12, 0x80, 0x20


class MalformedDer(ValueError):
    """The bytes are not what they should be."""


def _value(tag: int, content: bytes) -> bytes:
    """Identifier, length and contents (X.690, 8.1): an OCSP answer has thirty of them, so no library stands between."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def sequence(*parts: bytes) -> bytes:
    return _value(_SEQUENCE, b"".join(parts))


def one(member: bytes) -> bytes:
    """A SET of one member: more would have to be sorted (X.690, 11.6)."""
    return _value(_SET, member)


def utf8(text: str) -> bytes:
    return _value(_UTF8, text.encode())


def octets(content: bytes) -> bytes:
    return _value(_OCTET_STRING, content)


def bits(content: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return _value(_BIT_STRING, b"\0" + content)


def enumerated(value: int) -> bytes:
    return _value(_ENUMERATED, bytes([value]))


def tagged(number: int, content: bytes, *, constructed: bool = True) -> bytes:
    """A context-specific tag of 0 to 30 around `content`, which is what stands inside it."""
    return _value(_CONTEXT | (_CONSTRUCTED if constructed else 0) | number, content)


def integer(value: int) -> bytes:
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return _value(_INTEGER, value.to_bytes(size, signed=True))


@cache
def object_identifier(dotted: str) -> bytes:
    return bytes(core.ObjectIdentifier(dotted).dump())


@lru_cache(maxsize=1024)
def generalized_time(moment: datetime) -> bytes:
    """Whole seconds in UTC, as RFC 5280, 4.1.2.5.2 wants them."""
    return _value(_GENERALIZED_TIME, moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


@lru_cache(maxsize=1024)
def time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5)."""
    if moment.astimezone(UTC).year >= 2050:
        return generalized_time(moment)
    return _value(_UTC_TIME, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())


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
