"""What a Celery worker needs to live through the loss of its broker."""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel of the Redis transport that says so when its connection was lost.

    Celery 5.7.0 collects a lost connection before it closes its channels. What then is still to be given back or acknowledged
    asks for the address of the broker, which collecting took away: an AttributeError, which ended the worker. A lost connection
    is what Celery expects there; the broker hands those messages out again by itself, and what is overdue is sent anew.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("The connection to the broker was lost.")
        found: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        return found


def outlive_the_broker() -> None:
    """Use this channel in this process from now on."""
    redis.Transport.Channel = Channel
