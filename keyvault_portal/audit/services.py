"""How the rest of the portal writes the record: in its own transaction, last, or not at all."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from keyvault_portal.audit import committer, ledger
from keyvault_portal.audit.errors import AuditUnavailable, Overtaken
from keyvault_portal.audit.events import FAILED, REFUSED, SUCCESS, Doer, Event, PreparedEvent, Target, prepare
from keyvault_portal.audit.ledger import Guard, Rows
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.signing import ensure_signing_key
from keyvault_portal.errors import ApprovalRequired, PortalError

__all__ = [
    "AuditUnavailable",
    "Event",
    "Guard",
    "Overtaken",
    "Rows",
    "append_group",
    "atomic",
    "ensure_signing_key",
    "events_for_target",
    "record",
    "write",
]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pending:
    """What this thread's open transaction will write down when it ends."""

    frames: "list[atomic]" = field(default_factory=list)
    events: list[PreparedEvent] = field(default_factory=list)
    companions: list[Rows] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    refusals: list[PreparedEvent] = field(default_factory=list)


class _Threads(threading.local):
    """Bound to the thread as Django's connections are."""

    def __init__(self) -> None:
        self.pending = _Pending()


_threads = _Threads()


class atomic:
    """A transaction whose audit events are written last, at the exit of the outermost one.

    `with audit.atomic(actor=actor, action="key.rotate", target=("key", key.id, key.name), ring_id=...) as act:`
    What is not given is taken from the enclosing one. When an exception escapes, everything rolls back and one event
    with the outcome "refused" (or "failed": status 500 and above, and anything that is no PortalError) says what was
    tried; attempts refused inside and survived outside are written as well. ApprovalRequired commits: the request for
    agreement it announces was written in here. Raises AuditUnavailable, after rolling back, if it cannot record.
    """

    def __init__(
        self,
        *,
        actor: Doer | None = None,
        action: str | None = None,
        target: Target | None = None,
        ring_id: UUID | None = None,
    ) -> None:
        self.actor, self.action, self.target, self.ring_id = actor, action, target, ring_id
        self._transaction = transaction.atomic()
        self._names_attempt = action is not None
        self._mark = 0, 0, 0

    def about(
        self,
        *,
        actor: Doer | None = None,
        action: str | None = None,
        target: Target | None = None,
        ring_id: UUID | None = None,
    ) -> None:
        """Say more of what is being tried, once it is known."""
        self.actor, self.action = actor or self.actor, action or self.action
        self.target, self.ring_id = target or self.target, ring_id or self.ring_id
        self._names_attempt = self._names_attempt or action is not None

    def record(
        self,
        details: Mapping[str, Any] | None = None,
        *,
        action: str | None = None,
        target: Target | None = None,
        ring_id: UUID | None = None,
        outcome: str = SUCCESS,
    ) -> None:
        """Note one event; it becomes durable with the transaction. TypeError if `details` is not plain data."""
        _threads.pending.events.append(
            self._event(details or {}, outcome, action=action, target=target, ring_id=ring_id)
        )

    def write(self, rows: Rows) -> None:
        """Write rows by the very statement that records, after everything else; there has to be an event as well.

        Leaving the outermost block then raises IntegrityError where they break a constraint.
        """
        _threads.pending.companions.append(rows)

    def require(self, guard: Guard) -> None:
        """Let the statement that records write nothing unless `guard` holds then.

        Leaving the outermost block then raises Overtaken.
        """
        _threads.pending.guards.append(guard)

    def _event(
        self,
        details: Mapping[str, Any],
        outcome: str,
        *,
        action: str | None = None,
        target: Target | None = None,
        ring_id: UUID | None = None,
    ) -> PreparedEvent:
        action, actor = action or self.action, self.actor
        if actor is None or action is None:
            raise ValueError("An audit event needs an actor and an action.")
        target = target or self.target or ("", "", "")
        return prepare(Event(actor, action, target, ring_id or self.ring_id, outcome, details))

    def __enter__(self) -> Self:
        pending = _threads.pending
        if pending.frames and not connection.in_atomic_block:
            _threads.pending = pending = _Pending()  # the connection was replaced under an abandoned transaction
        if pending.frames:
            outer = pending.frames[-1]
            self.actor, self.action = self.actor or outer.actor, self.action or outer.action
            self.target, self.ring_id = self.target or outer.target, self.ring_id or outer.ring_id
        self._transaction.__enter__()
        self._mark = len(pending.events), len(pending.companions), len(pending.guards)
        pending.frames.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pending = _threads.pending
        if isinstance(error, ApprovalRequired):
            kind = traceback = None
        outermost = len(pending.frames) == 1
        try:
            if kind is None and outermost:
                self._flush(pending)
            elif kind is None:
                self._transaction.__exit__(None, None, None)
            else:
                self._refuse(pending, error)
                self._transaction.__exit__(kind, error, traceback)
        finally:
            pending.frames.pop()
            if outermost:
                _threads.pending = _Pending()
        if kind is not None and outermost and pending.refusals:
            _write_refusals(pending.refusals)

    def _flush(self, pending: _Pending) -> None:
        try:
            if (pending.companions or pending.guards) and not pending.events:
                raise ValueError("Rows are written with an event that says so.")
            if events := pending.refusals + pending.events:
                ledger.append(events, pending.companions, pending.guards)
        except BaseException as failure:
            self._transaction.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._transaction.__exit__(None, None, None)

    def _refuse(self, pending: _Pending, error: BaseException | None) -> None:
        """Forget what rolls back; note the attempt, once, where it is known best: in the innermost frame naming it."""
        events, companions, guards = self._mark
        del pending.events[events:], pending.companions[companions:], pending.guards[guards:]
        named = self._names_attempt or len(pending.frames) == 1
        if not isinstance(error, Exception) or not named or self.actor is None or self.action is None:
            return
        if getattr(error, "_audit_noted", False):
            return
        error._audit_noted = True  # type: ignore[attr-defined]
        if isinstance(error, PortalError):
            outcome, code = (REFUSED if error.status < 500 else FAILED), error.code
            details = {"code": code, "detail": error.detail}
        else:
            # Only the kind of an unexpected error: its text may quote anything.
            outcome, details = FAILED, {"code": "internal_error", "error": type(error).__name__}
        pending.refusals.append(self._event(details, outcome))


def _write_refusals(refusals: list[PreparedEvent]) -> None:
    """The act did not happen, so failing to note it must not hide why."""
    try:
        with transaction.atomic():
            ledger.append(refusals)
    except Exception:
        logger.critical("a refused act could not be recorded", exc_info=True)


def record(
    *,
    actor: Doer,
    action: str,
    target: Target = ("", "", ""),
    ring_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
    outcome: str = SUCCESS,
) -> None:
    """Record one event with the open audit.atomic, or durably at once if there is none."""
    with atomic(actor=actor, action=action, target=target, ring_id=ring_id) as act:
        act.record(details, outcome=outcome)


def write(events: Sequence[Event], rows: Sequence[Rows], *guards: Guard) -> None:
    """Record `events` and write `rows` durably, outside any transaction, by one statement; raises as leaving `atomic` does."""
    ledger.append_durably([prepare(event) for event in events], rows, guards)


def append_group(event: Event) -> int:
    """Record `event` together with what other threads are recording; returns its number once it is durable.

    Inside a transaction it joins that one instead, since an event must not outlive an act that rolls back.
    Raises AuditUnavailable when it is not durable within `settings.AUDIT_DEADLINE` seconds; the caller then refuses.
    """
    prepared = prepare(event)
    if settings.AUDIT_GROUP_COMMIT and not connection.in_atomic_block:
        return committer.submit(prepared)
    with transaction.atomic():
        return ledger.append([prepared])[0]


def events_for_target(target_type: str, target_id: object, limit: int = 50) -> list[AuditEvent]:
    """The newest events about one target, newest first; the caller has already authorised the reader for it."""
    return list(AuditEvent.objects.filter(target_type=target_type, target_id=str(target_id)).order_by("-seq")[:limit])
