"""Java key stores (JKS and JCEKS): the certificates in them, which stand there in the clear; keys are skipped, never opened.

Written by hand because pyjks needs a C extension that has no wheels and opens private keys, which nobody wants here. The
form is that of OpenJDK's sun.security.provider.JavaKeyStore: big-endian numbers, modified UTF-8 and a SHA-1 at the end.
"""

import struct
from hashlib import sha1

MAGICS = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
MAX_ENTRIES, MAX_CHAIN = 1_000, 100
_PRIVATE, _TRUSTED, _SECRET = 1, 2, 3
_DIGEST = 20


class MalformedStore(ValueError):
    """The bytes are no key store, or end too early."""


class WrongPassword(ValueError):
    """The store's digest was not made with this password, or the store was changed."""


def is_store(content: bytes) -> bool:
    """Whether this begins as a key store does."""
    return content[:4] in MAGICS


def read(content: bytes, password: str = "") -> list[bytes]:
    """The certificates of a store in DER, in its order; with a password the store's digest is checked first.

    Raises MalformedStore and WrongPassword. What a sealed key of a JCEKS is long cannot be told without Java: the
    certificates before it are returned, unless there are none.
    """
    if password:
        _check(content, password)
    reader = _Reader(content)
    if reader.take(4) not in MAGICS or (version := reader.number(4)) not in {1, 2}:
        raise MalformedStore("not a key store")
    count = reader.number(4)
    if count > MAX_ENTRIES:
        raise MalformedStore(f"more than {MAX_ENTRIES} entries")
    found: list[bytes] = []
    for _ in range(count):
        kind = reader.number(4)
        reader.text()  # its alias
        reader.take(8)  # when it was made
        if kind == _SECRET and found:
            return found
        if kind == _PRIVATE:
            reader.take(reader.number(4))
            if (chain := reader.number(4)) > MAX_CHAIN:
                raise MalformedStore(f"a chain of more than {MAX_CHAIN}")
            found += [_certificate(reader, version) for _ in range(chain)]
        elif kind == _TRUSTED:
            found.append(_certificate(reader, version))
        else:
            raise MalformedStore("an entry that is neither a key with its chain nor a certificate")
    reader.take(_DIGEST)  # a store without it was cut
    return found


def _certificate(reader: "_Reader", version: int) -> bytes:
    if version == 2 and reader.text() != b"X.509":
        raise MalformedStore("a certificate that is not X.509")
    return reader.take(reader.number(4))


def _check(content: bytes, password: str) -> None:
    """SHA-1 over the password in UTF-16, a phrase and the store: what keytool writes at the end."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    made = sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body, usedforsecurity=False)
    if made.digest() != digest:
        raise WrongPassword


class _Reader:
    """Reads forward and never past the end, whatever a length says."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._content):
            raise MalformedStore("it ends too early")
        self._at, piece = end, self._content[self._at : end]
        return piece

    def number(self, size: int) -> int:
        return int(struct.unpack(">I" if size == 4 else ">H", self.take(size))[0])

    def text(self) -> bytes:
        return self.take(self.number(2))
