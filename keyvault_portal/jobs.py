"""Enqueue background work only once the transaction that asks for it is durable."""

import logging
import threading
from time import monotonic
from typing import Any

from celery import Task
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import exceptions as redis_errors

logger = logging.getLogger(__name__)
LEFT_ALONE = 10.0  # seconds


def enqueue_on_commit(task: Task[Any, Any], *ids: str | int) -> None:
    """Send `task` with plain ids after commit; nothing is sent when the transaction rolls back.

    Arguments are ids only: what crosses the broker may be read there, so secrets never do. A broker that does not answer
    is logged and not raised, because the act itself is durable by then: every kind of work has a tick that finds it. One
    that says nothing is waited for once, and then left alone for a moment.
    """
    transaction.on_commit(lambda: _deliver(task, ids), robust=True)


_silent = {"until": 0.0}  # by the clock of this process


def _deliver(task: Task[Any, Any], ids: tuple[str | int, ...]) -> None:
    if monotonic() < _silent["until"]:
        logger.warning("%s is left to its tick: the broker does not answer", task.name)
        return
    try:
        task.delay(*ids)
    except OperationalError as error:
        if isinstance(error.__cause__, redis_errors.TimeoutError):  # one that refuses says so at once
            _silent["until"] = monotonic() + LEFT_ALONE
        raise


def enqueue_gathered(task: Task[Any, Any], seconds: float) -> None:
    """Send `task`, which finds its work by itself, to begin `seconds` after this commit; one message serves all until then.

    Whoever commits between the sending and the begin is served by it, so a process sends at most one every `seconds`.
    """
    transaction.on_commit(lambda: _send(task, seconds), robust=True)


_sent: dict[str, float] = {}
_sending = threading.Lock()


def _send(task: Task[Any, Any], seconds: float) -> None:
    with _sending:
        now = monotonic()
        if now < _sent.get(task.name, 0.0) + seconds:
            return
        _sent[task.name] = now
    try:
        task.apply_async(countdown=seconds)
    except BaseException:
        _sent.pop(task.name, None)
        raise
