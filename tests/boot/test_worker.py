"""What a worker says when it cannot acknowledge a message: a sentence where the broker is lost, a trace for anything else."""

import logging
from collections.abc import Iterator

import pytest
from kombu.message import Message
from kombu.transport import redis

from keyvault_portal.worker import Channel, outlive_the_broker

LOGGER = logging.getLogger("celery.worker.request")


@pytest.fixture(autouse=True)
def _outliving(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redis.Transport, "Channel", redis.Transport.Channel)
    before = list(LOGGER.filters)
    outlive_the_broker()
    yield
    LOGGER.filters[:] = before


def _acknowledge(failing: object) -> None:
    class Lost:
        no_ack_consumers = None
        basic_ack = failing

    Message(channel=Lost(), delivery_tag="7").ack_log_error(LOGGER, (OSError, ValueError))


def test_a_lost_broker_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    def ask_for_the_address(*_: object, **__: object) -> None:
        channel = object.__new__(Channel)
        channel.connection = None
        channel._connparams()

    _acknowledge(ask_for_the_address)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage() == "a task ended after the broker was lost: its message is handed out again"


@pytest.mark.parametrize("error", [ConnectionError("another one"), ValueError("a mistake of ours")])
def test_any_other_error_keeps_its_trace(caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    _acknowledge(fail)
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert record.exc_info is not None
    assert record.exc_info[1] is error
