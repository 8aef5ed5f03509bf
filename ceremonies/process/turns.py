"""One thing at a time in a session, each a sign of life; nothing at all once it is over."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Protocol

from ceremonies.errors import SessionOver


class Timed(Protocol):
    """What has a lock, an end, and a clock by which its last sign of life is known."""

    lock: "threading.RLock"
    ended: bool
    last_sign: float
    clock: Callable[[], float]


def one_at_a_time[S: Timed, **P, R](method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run the method alone; raises SessionOver after the end."""

    @wraps(method)
    def locked(self: S, *arguments: P.args, **named: P.kwargs) -> R:
        with self.lock:
            if self.ended:
                raise SessionOver
            self.last_sign = self.clock()
            return method(self, *arguments, **named)

    return locked  # type: ignore[return-value]  # `wraps` makes a type that mypy does not take for the same
