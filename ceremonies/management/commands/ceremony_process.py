"""./manage.py ceremony_process: the process in which ceremonies happen."""

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ceremonies.process.key_services import PortalKeyServices
from ceremonies.process.server import CeremonyServer
from ceremonies.process.sessions import Sessions
from keys.keyholder import memory

logger = logging.getLogger("ceremonies.process")
LOOK_EVERY = 1.0  # seconds between looks at what is over its time


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
        users = {os.getuid(), *(int(user) for user in settings.KEYHOLDER_USERS)}
        sessions = Sessions(
            PortalKeyServices(),
            idle_seconds=settings.CEREMONY_IDLE_SECONDS,
            life_seconds=settings.CEREMONY_LIFE_SECONDS,
        )
        server = CeremonyServer(Path(settings.CEREMONY_SOCKET), sessions, users=users)
        stopping = threading.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: stopping.set())
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()
        logger.info("listening")
        while not stopping.wait(LOOK_EVERY):
            for ceremony_id in sessions.expire():
                logger.warning("ceremony %s: nobody gave a sign of life; everything of it was erased", ceremony_id)
        server.shutdown()
        sessions.destroy_all()
        server.path.unlink(missing_ok=True)
