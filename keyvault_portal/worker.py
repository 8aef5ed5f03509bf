"""What a Celery worker needs to live through the loss of its broker."""

import logging
from typing import Any

from kombu.transport import redis


class BrokerLost(ConnectionError):
    """The connection over which a message came is gone, and with it the way to say anything about the message."""


class Channel(redis.Channel):
    """A channel of the Redis transport that says so when its connection was lost.

    Celery 5.7.0 collects a lost connection before it closes its channels. What then is still to be given back or acknowledged
    asks for the address of the broker, which collecting took away: an AttributeError, which ended the worker. A lost connection
    is what Celery expects there; the broker hands those messages out again by itself, and what is overdue is sent anew.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise BrokerLost("The connection to the broker was lost.")
        found: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        return found


class _Sentence(logging.Filter):
    """Tells a loss of the broker in a sentence, without the trace that Celery adds to everything it could not say to it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], BrokerLost):
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
            record.msg = "a task ended after the broker was lost: its message is handed out again"
            record.args, record.exc_info = (), None
        return True


def outlive_the_broker() -> None:
    """Use this channel in this process from now on, and say so in sentences."""
    redis.Transport.Channel = Channel
    logging.getLogger("celery.worker.request").addFilter(_Sentence())
