"""./manage.py keyholder: the process that knows the root."""

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections

from keys.keyholder import memory
from keys.keyholder.holder import Holder, HolderError
from keys.keyholder.server import KeyholderServer
from keys.services import seals
from keyvault_portal.errors import PortalError

logger = logging.getLogger("keys.keyholder")
LOOK_EVERY = 1.0  # seconds between looks at whether the portal was sealed on another machine


class Command(BaseCommand):
    help = "Hold the unsealed root for web and workers, who ask over a Unix socket (PORTAL_KEYHOLDER_SOCKET)."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.KEYHOLDER_SOCKET:
            raise CommandError("Set PORTAL_KEYHOLDER_SOCKET to the path at which to listen.")
        for sentence in memory.protect():
            logger.warning(sentence)
        users = {os.getuid(), *(int(user) for user in settings.KEYHOLDER_USERS)}
        self.holder = Holder(seals.known_check())
        server = KeyholderServer(
            Path(settings.KEYHOLDER_SOCKET), self.holder, users=users, shared_seal=_in_thread(seals.shared_seal),
            refresh=_in_thread(self._refresh), wrap_with=_in_thread(seals.wrap_with),
        )  # fmt: skip
        self._refresh()
        stopping = threading.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: stopping.set())
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()
        logger.info("listening; %s", "sealed" if self.holder.sealed else "unsealed")
        while not stopping.wait(LOOK_EVERY):
            self._look()
        server.shutdown()
        self.holder.seal()
        server.path.unlink(missing_ok=True)

    def _refresh(self) -> None:
        """Unseal by itself where that is possible and nobody forbade it."""
        try:
            root = seals.unseal_by_itself() if self.holder.sealed else None
            if root is not None:
                self.holder.unseal(root)
        except (PortalError, HolderError) as error:
            logger.warning("stays sealed: %s", error)

    def _look(self) -> None:
        """Seal when the portal was sealed on another machine."""
        close_old_connections()
        try:
            if not self.holder.sealed and seals.sealed_on_purpose():
                self.holder.seal()
                logger.warning("sealed on purpose")
        except DatabaseError:
            logger.warning("the database does not answer; the seal stays as it is")


def _in_thread(function: Any) -> Any:
    """`function` for the server's threads, which must not keep broken database connections."""

    def call(*arguments: Any) -> Any:
        close_old_connections()
        try:
            return function(*arguments)
        finally:
            close_old_connections()

    return call
