"""A holder for secret bytes that does not leak by accident."""

import hmac
from types import TracebackType
from typing import NoReturn, Self, SupportsIndex

_REDACTED = "SecretBytes(<redacted>)"


class SecretBytes:
    """Hold secret bytes that no repr, format, log line, pickle, copy or JSON encoder can show.

    Wiping is best effort: the interpreter and the libraries below may have made copies.
    """

    __slots__ = ("_value",)

    def __init__(self, value: "bytes | bytearray | memoryview | SecretBytes") -> None:
        source: bytes | bytearray | memoryview = value._value if isinstance(value, SecretBytes) else value
        self._value: bytearray = bytearray(source)

    def reveal(self) -> bytes:
        """Return the secret as `bytes`; the only way out.

        Raises ValueError after `wipe`, so that a wiped key is never used as a key of length zero.
        """
        if not self._value:
            raise ValueError("secret is empty or was wiped")
        return bytes(self._value)

    def wipe(self) -> None:
        """Overwrite the bytes with zeros and forget them; harmless when repeated."""
        self._value[:] = bytes(len(self._value))
        self._value = bytearray()

    def __len__(self) -> int:
        return len(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        """Compare in constant time with another secret or with bytes."""
        if isinstance(other, SecretBytes):
            return hmac.compare_digest(self._value, other._value)
        if isinstance(other, bytes | bytearray):
            return hmac.compare_digest(self._value, other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _REDACTED

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return _REDACTED

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    def _refuse(self) -> NoReturn:
        raise TypeError("SecretBytes can be neither copied nor serialised")

    def __copy__(self) -> NoReturn:
        self._refuse()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self._refuse()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        self._refuse()

    def __getstate__(self) -> NoReturn:
        self._refuse()


def reveal(value: SecretBytes | bytes) -> bytes:
    """Return the bytes of a key given either plainly or in its holder."""
    return value.reveal() if isinstance(value, SecretBytes) else value
