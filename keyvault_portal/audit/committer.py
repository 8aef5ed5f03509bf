"""Group commit: callers enqueue and wait, one thread per process writes all that waits in one transaction."""

import os
import threading
from collections import deque

from django.conf import settings
from django.db import connection, transaction

from keyvault_portal.audit import ledger
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.events import PreparedEvent

MAX_GROUP = 1024  # events a transaction
MAX_WAITING = 8192  # beyond this the portal refuses work instead of promising it
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

    def submit(self, event: PreparedEvent, deadline: float) -> int:
        """The number of `event`, once committed; raises AuditUnavailable after `deadline` seconds or when full."""
        ticket = _Ticket(event)
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise AuditUnavailable("Too many events wait for the audit record.")
            self._waiting.append(ticket)
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
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._stopping, IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return []
                tickets = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
                if group := [ticket for ticket in tickets if not ticket.abandoned]:
                    return group

    def _commit(self, group: list[_Ticket]) -> None:
        try:
            connection.close_if_unusable_or_obsolete()
            with transaction.atomic():
                seqs = ledger.append([ticket.event for ticket in group])
        except BaseException as cause:
            detail = cause.detail if isinstance(cause, AuditUnavailable) else ""
            for ticket in group:
                ticket.error = AuditUnavailable(detail)
                ticket.error.__cause__ = cause
                ticket.done.release()
            return
        for seq, ticket in zip(seqs, group, strict=True):
            ticket.seq = seq
            ticket.done.release()


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
