"""./manage.py keyholder: the process that knows the root."""

import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections

from keys.keyholder import memory
from keys.keyholder.holder import Holder, HolderError
from keys.keyholder.server import KeyholderServer
from keys.services import keyholders, provider_seals, seals, unsealing
from keyvault_portal.audit.services import AuditUnavailable
from keyvault_portal.errors import PortalError

logger = logging.getLogger("keys.keyholder")
LOOK_EVERY = 1.0  # seconds between looks at whether the portal was sealed on another machine
OPEN_EVERY = 5.0  # seconds between tries to open it by itself


class Command(BaseCommand):
    help = "Hold the unsealed root for web and workers, who ask over a Unix socket (PORTAL_KEYHOLDER_SOCKET)."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.KEYHOLDER_SOCKET:
            raise CommandError("Set PORTAL_KEYHOLDER_SOCKET to the path at which to listen.")
        for sentence in memory.protect():
            logger.warning(sentence)
        users = {os.getuid(), *settings.KEYHOLDER_USERS}
        self.path = Path(settings.KEYHOLDER_SOCKET)
        self.holder, self.detail, self.said = Holder(seals.known_check()), "", (0.0, True)
        try:
            server = KeyholderServer(
                self.path, self.holder, users=users, shared_seal=_in_thread(seals.shared_seal), refresh=_in_thread(self._refresh),
                opened=_in_thread(_record_opening), wrap_with=_in_thread(provider_seals.wrap), check=_in_thread(provider_seals.check),
            )  # fmt: skip
        except OSError as error:
            raise CommandError(f"PORTAL_KEYHOLDER_SOCKET cannot be listened at: {error}.") from None
        self._refresh()
        self.stopping = threading.Event()
        for sign in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sign, lambda *_: self.stopping.set())
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True).start()
        threading.Thread(target=self._keep_opening, daemon=True).start()
        logger.info("listening; %s", "sealed" if self.holder.sealed else "unsealed")
        while not self.stopping.wait(LOOK_EVERY):
            self._look()
        server.shutdown()
        self.holder.seal()
        self._leave()
        server.path.unlink(missing_ok=True)

    def _refresh(self) -> None:
        """Unseal by itself where that is possible and nobody forbade it."""
        if not self.holder.sealed:
            return
        try:
            detail = seals.unseal_by_itself(self.holder.unseal)
        except (PortalError, HolderError) as error:
            detail = str(error)
        if detail and detail != self.detail:
            logger.warning("stays sealed: %s", detail)
        self.detail = detail

    def _keep_opening(self) -> None:
        """A provider that was away at the start comes back; a portal opened again on another machine opens here, too."""
        while not self.stopping.wait(OPEN_EVERY):
            try:
                _in_thread(self._refresh)()
            except DatabaseError:
                logger.warning("the database does not answer; it stays as it is")

    def _look(self) -> None:
        """Seal when the portal was sealed on another machine, and say how it is here."""
        close_old_connections()
        try:
            if not self.holder.sealed and seals.sealed_on_purpose():
                self.holder.seal()
                logger.warning("sealed on purpose")
            sealed, now = self.holder.sealed, time.monotonic()
            if self.said[1] != sealed or now - self.said[0] >= keyholders.SAY_EVERY or not self.said[0]:
                keyholders.say(self.path, sealed=sealed, detail=self.detail if sealed else "")
                self.said = (now, sealed)
        except DatabaseError:
            logger.warning("the database does not answer; the seal stays as it is")

    def _leave(self) -> None:
        try:
            keyholders.leave(self.path)
        except DatabaseError:
            logger.warning("the database does not answer; this machine will be shown as silent")


def _record_opening(numbers: list[int]) -> None:
    try:
        unsealing.record_opening(numbers)
    except (DatabaseError, AuditUnavailable):
        raise HolderError(
            "not_recorded", "The database does not answer, and nothing opens off the record: give the shares once more."
        ) from None


def _in_thread(function: Any) -> Any:
    """`function` for the server's threads, which must not keep broken database connections."""

    def call(*arguments: Any) -> Any:
        close_old_connections()
        try:
            return function(*arguments)
        finally:
            close_old_connections()

    return call
