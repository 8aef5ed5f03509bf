"""Group commit: callers enqueue and wait, one thread per process writes all that waits in one transaction."""

import os
import threading
import time
from collections import deque

from django.conf import settings
from django.db import connection, transaction

from keyvault_portal.audit import ledger
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.events import PreparedEvent
from keyvault_portal.audit.signing import Signer, load_signer

MAX_GROUP = 1024  # events a transaction
MAX_WAITING = 8192  # beyond this the portal refuses work instead of promising it
GATHER_SECONDS, GATHER_STEP = 0.002, 0.0002  # how long a group may grow, and how often it is looked at
SIGNER_SECONDS = 1.0
IDLE_SECONDS = 5.0  # then the thread gives its connection back and ends; the next event starts another


class _Ticket:
    """One waiting caller. A bare lock wakes it at a fraction of what a Future costs, and every call does it."""

    __slots__ = ("abandoned", "done", "error", "event", "seq")

    def __init__(self, event: PreparedEvent) -> None:
        self.event = event
        self.seq = -1
        self.error: AuditUnavailable | None = None
        self.abandoned = False
        self.done = threading.Lock()
        self.done.acquire()


class Committer:
    """The queue and its one writer thread, started by the first event."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Ticket] = deque()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._idle = True  # the thread waits or is not there: only then a caller has to take the lock and wake it
        self._hope = ledger.Hope()
        self._crowd = False  # whether the last group had several callers
        self._signer: tuple[float, Signer] | None = None

    def submit(self, event: PreparedEvent, deadline: float) -> int:
        """The number of `event`, once committed; raises AuditUnavailable after `deadline` seconds or when full."""
        if len(self._waiting) >= MAX_WAITING:
            raise AuditUnavailable("Too many events wait for the audit record.")
        ticket = _Ticket(event)
        self._waiting.append(ticket)
        if self._idle:
            with self._changed:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="audit-committer", daemon=True)
                    self._thread.start()
                self._changed.notify()
        if not ticket.done.acquire(timeout=deadline):
            ticket.abandoned = True  # what nobody waits for any longer is not written, unless it is being written now
            raise AuditUnavailable("The audit record did not answer in time.")
        if ticket.error is not None:
            raise ticket.error
        return ticket.seq

    def stop(self) -> None:
        """Write what waits, then end the thread and its database connection."""
        with self._changed:
            thread, self._stopping = self._thread, True
            self._changed.notify()
        if thread is not None:
            thread.join()
        self._stopping = False

    def _run(self) -> None:
        try:
            while group := self._take():
                self._commit(group)
        finally:
            connection.close()

    def _take(self) -> list[_Ticket]:
        """All that waits, at least one ticket; empty when there was nothing for a while, and the thread must end."""
        while True:
            if self._crowd:
                self._gather()
            tickets = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
            if group := [ticket for ticket in tickets if not ticket.abandoned]:
                self._crowd = len(group) > 1
                return group
            with self._changed:
                self._idle = True  # before the last look: who enqueues after it sees this, and wakes the thread
                self._changed.wait_for(lambda: self._waiting or self._stopping, IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return []
                self._idle = False

    def _gather(self) -> None:
        """Wait while callers keep coming: those of the last group return together, and one commit serves them all."""
        end, seen = time.monotonic() + GATHER_SECONDS, -1
        while seen < len(self._waiting) and time.monotonic() < end:
            seen = len(self._waiting)
            time.sleep(GATHER_STEP)

    def _commit(self, group: list[_Ticket]) -> None:
        try:
            connection.close_if_unusable_or_obsolete()
            first = self._write([ticket.event for ticket in group])
        except BaseException as cause:
            for ticket in group:
                ticket.error = AuditUnavailable.because_of(cause)
                ticket.done.release()
            return
        for seq, ticket in enumerate(group, first):
            ticket.seq = seq
            ticket.done.release()

    def _load_signer(self) -> Signer:
        """The signing key, its file looked at once a second: each look lets all the callers just woken run first."""
        now = time.monotonic()
        if self._signer is None or now > self._signer[0]:
            self._signer = now + SIGNER_SECONDS, load_signer()
        return self._signer[1]

    def _write(self, events: list[PreparedEvent]) -> int:
        """Append durably and return the first number: in one round trip while nobody else appends, else by lock."""
        head, signer = None, self._load_signer()
        if (known := self._hope.take()) is not None:
            head = ledger.append_after(known, events, signer)
            if head is None:
                self._hope.disappointed()
        if head is None:
            with transaction.atomic():
                head = ledger.append_locked(events, signer)
        self._hope.keep(head)
        return head.frontier.size - len(events)


_committer = Committer()


def _reset() -> None:
    """After fork: the parent's thread, its queue and its connection are not ours."""
    global _committer  # noqa: PLW0603  one a process
    _committer = Committer()


os.register_at_fork(after_in_child=_reset)


def submit(event: PreparedEvent) -> int:
    """Record `event` with this process's committer; see Committer.submit."""
    return _committer.submit(event, settings.AUDIT_DEADLINE)


def stop() -> None:
    """Write what waits and end this process's committer thread."""
    _committer.stop()
