"""Enqueue background work only once the transaction that asks for it is durable."""

from typing import Any

from celery import Task
from django.db import transaction


def enqueue_on_commit(task: Task[Any, Any], *ids: str | int) -> None:
    """Send `task` with plain ids after commit; nothing is sent when the transaction rolls back.

    Arguments are ids only: what crosses the broker may be read there, so secrets never do. A broker that does not answer
    is logged and not raised, because the act itself is durable by then: every kind of work has a tick that finds it.
    """
    transaction.on_commit(lambda: task.delay(*ids), robust=True)
