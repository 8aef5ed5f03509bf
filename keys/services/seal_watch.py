"""Seeing within a second that the portal was sealed, in every process that keeps unwrapped material."""

import threading
import time
from collections.abc import Callable

from django.conf import settings

from keys.services import root_key
from keyvault_portal.errors import Sealed

LOOK_EVERY = 1.0  # seconds

_lock = threading.Lock()
_looked_at = float("-inf")
_epoch: int | None = None
_forget: list[Callable[[], None]] = []


def forgets(function: Callable[[], None]) -> Callable[[], None]:
    """Mark a function that drops what was derived from the root; each is called when the portal is sealed."""
    _forget.append(function)
    return function


def require_open() -> None:
    """Return while the keyholder is unsealed, asked at most once a second; otherwise drop everything and raise Sealed.

    A keyholder that does not answer counts as sealed. Without one there is nothing to ask.
    """
    global _looked_at, _epoch  # noqa: PLW0603  one state a process
    if not settings.KEYHOLDER_SOCKET or time.monotonic() - _looked_at < LOOK_EVERY:
        return
    with _lock:
        try:
            status = root_key.keyholder().status()
        except Sealed:
            _drop()
            raise
        if status["sealed"] or (_epoch is not None and status["epoch"] != _epoch):
            _drop()
        _epoch = status["epoch"]
        if status["sealed"]:
            raise Sealed("The portal is sealed.", hint="Custodians unseal it on the page /sealed/.")
        _looked_at = time.monotonic()


def _drop() -> None:
    for function in _forget:
        function()


def forget() -> None:
    """Look again at the next use."""
    global _looked_at, _epoch
    _looked_at, _epoch = float("-inf"), None
