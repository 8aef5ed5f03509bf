"""Calls of several threads done together: one of them does what all that wait want, and one commit serves them all.

Threads of one process share one interpreter. Each preparing its own certificate, they mostly take turns and wait for a commit
each; here one prepares for all at full speed, and who comes meanwhile shares the next commit. A full group is prepared while
another is written. A thread that is alone does all of it itself, at once.
"""

import threading
from collections import deque
from collections.abc import Callable

from keyvault_portal.audit.services import AuditUnavailable


class _Call[Asked, Done]:
    """One waiting thread; a bare lock wakes it, once: when its call is settled, or to do what waits."""

    __slots__ = ("asked", "done", "error", "settled", "woken")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.done: Done | None = None
        self.error: BaseException | None = None
        self.settled = False
        self.woken = threading.Lock()
        self.woken.acquire()

    def settle(self, done: Done | None, error: BaseException | None = None) -> None:
        self.done, self.error, self.settled = done, error, True
        self.woken.release()


class Together[Asked, Ready, Done]:
    """Does calls in two steps: `prepare` for each, `write` for several at once.

    `prepare` returns None, and raises nothing, for what has to go another way; so does `write` when it wrote nothing, and
    then all its callers get None. What `write` raises they all get. `size` says how much a call brings; a group takes
    calls until it holds `enough`.
    """

    def __init__(
        self, prepare: Callable[[Asked], Ready | None], write: Callable[[list[Ready]], list[Done] | None],
        size: Callable[[Asked], int], enough: int,
    ) -> None:  # fmt: skip
        self._prepare, self._write, self._size, self._enough = prepare, write, size, enough
        self._mutex, self._at_the_record = threading.Lock(), threading.Lock()
        self._waiting: deque[_Call[Asked, Done]] = deque()
        self._preparing = False  # or was woken to
        self._at_work = 0  # groups

    def do(self, asked: Asked) -> Done | None:
        """What `write` returned for `asked`, or None when the caller has to go another way; raises as `write` does."""
        call: _Call[Asked, Done] = _Call(asked)
        with self._mutex:
            self._waiting.append(call)
            self._wake_next()
        call.woken.acquire()
        if not call.settled:
            self._lead()
        if call.error is not None:
            raise call.error
        return call.done

    def _wake_next(self) -> None:
        """Let the first that waits begin, unless one prepares, or one writes and too few wait to begin before it is done."""
        if self._waiting and not self._preparing and (not self._at_work or self._enough_wait()):
            self._preparing = True
            self._waiting[0].woken.release()

    def _enough_wait(self) -> bool:
        return sum(self._size(call.asked) for call in self._waiting) >= self._enough

    def _lead(self) -> None:
        """Settle the calls that wait, the own one among them: it is the first."""
        group = self._take()
        try:
            self._settle(group)
        except BaseException as error:
            for call in group:
                if not call.settled:
                    call.settle(None, error if call is group[0] else AuditUnavailable.because_of(error))
            raise
        finally:
            with self._mutex:
                self._at_work -= 1
                self._wake_next()

    def _take(self) -> list[_Call[Asked, Done]]:
        group, size = [], 0
        with self._mutex:
            while self._waiting and size < self._enough:
                group.append(self._waiting.popleft())
                size += self._size(group[-1].asked)
            self._at_work += 1
        return group

    def _settle(self, group: list[_Call[Asked, Done]]) -> None:
        try:
            ready = [(call, found) for call in group if (found := self._prepare(call.asked)) is not None]
        finally:
            with self._mutex:
                self._preparing = False
                self._wake_next()
        with self._at_the_record:
            written = self._write([found for _, found in ready]) if ready else None
        if written is not None:
            for (call, _), done in zip(ready, written, strict=True):
                call.settle(done)
        for call in group:
            if not call.settled:
                call.settle(None)
