"""./manage.py ceremony_process: the process in which ceremonies happen."""

import logging
import os
import signal
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ceremonies.process.doorkeeper import Doorkeeper
from ceremonies.process.key_services import PortalKeyServices
from ceremonies.process.sessions import Sessions
from keys.keyholder import memory

logger = logging.getLogger("ceremonies.process")


class Stopping(BaseException):
    """A signal asked for the end."""


class Command(BaseCommand):
    help = (
        "Hold the secrets of ceremonies under way for the web, which asks over a Unix socket (PORTAL_CEREMONY_SOCKET)."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.CEREMONY_SOCKET:
            raise CommandError("Set PORTAL_CEREMONY_SOCKET to the path at which to listen.")
        for sentence in memory.protect():
            logger.warning(sentence)
        users = {os.getuid(), *settings.KEYHOLDER_USERS}
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, _stop)
        try:
            doorkeeper = Doorkeeper(Path(settings.CEREMONY_SOCKET), _sessions, users=users)
        except OSError as error:
            raise CommandError(f"PORTAL_CEREMONY_SOCKET cannot be listened at: {error}.") from None
        try:
            logger.info("listening")
            doorkeeper.serve_forever()
        except Stopping:
            logger.info("stopping")
        finally:
            doorkeeper.destroy_all()
            doorkeeper.server_close()
            doorkeeper.path.unlink(missing_ok=True)


def _sessions() -> Sessions:
    return Sessions(
        PortalKeyServices(), idle_seconds=settings.CEREMONY_IDLE_SECONDS, life_seconds=settings.CEREMONY_LIFE_SECONDS
    )


def _stop(*_: Any) -> NoReturn:
    raise Stopping
