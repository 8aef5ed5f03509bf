"""A broker that takes connections and says nothing: nobody who asks for work waits for it long."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.db import connection, transaction

from keyvault_portal import jobs


@pytest.fixture
def silent() -> Iterator[Celery]:
    """An application whose broker is silent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        app = Celery("silent", broker=f"redis://127.0.0.1:{server.getsockname()[1]}/0", set_as_current=False)
        options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
        app.conf.broker_transport_options = options | {name: 0.5 for name in options if name.startswith("socket_")}
        yield app
        app.close()


@pytest.mark.django_db(transaction=True)
def test_who_asks_for_work_does_not_wait_for_a_silent_broker(silent: Celery, monkeypatch: Any) -> None:
    monkeypatch.setattr(jobs, "_silent", {"until": 0.0}, raising=False)

    @silent.task(name="silent.work")
    def task(number: int) -> None:
        return

    tried: list[int] = []
    send = task.delay
    monkeypatch.setattr(task, "delay", lambda number: (tried.append(number), send(number)))

    def ask() -> None:
        with transaction.atomic():
            for number in range(20):
                jobs.enqueue_on_commit(task, number)
        connection.close()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(30)
    assert not asking.is_alive()
    assert tried == [0], "the others are left to the ticks"
