"""Sessions by ceremony, ended by themselves when nobody gives a sign of life; each ceremony's process holds its own one."""

import threading
import time
from collections.abc import Callable
from hmac import compare_digest
from uuid import UUID

from ceremonies.errors import SessionOpen, SessionOver
from ceremonies.process.contract import KeyServices
from ceremonies.process.session import Session
from keyvault_portal.errors import ValidationFailed

IDLE_SECONDS, LIFE_SECONDS = 900, 28_800


def check_script_hash(script_hash: str) -> None:
    """Raise ValidationFailed for what is no SHA-256 in lower-case hex."""
    if len(script_hash) != 64 or not set(script_hash) <= set("0123456789abcdef"):
        raise ValidationFailed("A script's hash is 64 lower-case hex digits.")


class Sessions:
    """Safe for threads; `expire` is to be called every second or so."""

    def __init__(
        self,
        services: KeyServices,
        *,
        idle_seconds: int = IDLE_SECONDS,
        life_seconds: int = LIFE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.idle_seconds, self.life_seconds = idle_seconds, life_seconds
        self._services, self._clock = services, clock
        self._lock = threading.Lock()
        self._sessions: dict[UUID, Session] = {}

    def begin(self, ceremony_id: UUID, script_hash: str, *, practice: bool) -> Session:
        """A new session; raises SessionOpen while the ceremony has one, ValidationFailed."""
        check_script_hash(script_hash)
        self.expire()
        with self._lock:
            if ceremony_id in self._sessions:
                raise SessionOpen(hint="Go on with that one, or abort the ceremony.")
            session = Session(ceremony_id, script_hash, self._services, practice=practice, clock=self._clock)
            self._sessions[ceremony_id] = session
            return session

    def find(self, ceremony_id: UUID) -> Session | None:
        """The ceremony's session, if it has one that is not over its time."""
        with self._lock:
            session = self._sessions.get(ceremony_id)
        if session is not None and self._is_over(session):
            self.destroy(ceremony_id)
            return None
        return session

    def under(self, ceremony_id: UUID, nonce: str | None) -> Session:
        """The session, if `nonce` is its own (None: the attempt's nonce is checked instead); raises SessionOver."""
        session = self.find(ceremony_id)
        if session is None:
            raise SessionOver(hint="It was aborted, timed out, or the process was restarted: begin again.")
        if nonce is not None and not compare_digest(session.nonce.encode(), nonce.encode()):
            raise SessionOver(hint="This ceremony was begun again since: load the page again.")
        return session

    def idle_left(self, session: Session) -> int:
        """Seconds until the session ends by itself."""
        now = self._clock()
        left = min(session.last_sign + self.idle_seconds - now, session.begun_at + self.life_seconds - now)
        return max(0, int(left))

    def destroy(self, ceremony_id: UUID) -> bool:
        """Erase the session; returns whether there was one."""
        with self._lock:
            session = self._sessions.pop(ceremony_id, None)
        if session is not None:
            session.destroy()
        return session is not None

    def expire(self) -> list[UUID]:
        """Erase what is over its time; returns the ceremonies concerned."""
        with self._lock:
            over = [ceremony_id for ceremony_id, session in self._sessions.items() if self._is_over(session)]
        return [ceremony_id for ceremony_id in over if self.destroy(ceremony_id)]

    def _is_over(self, session: Session) -> bool:
        now = self._clock()
        return now - session.last_sign > self.idle_seconds or now - session.begun_at > self.life_seconds
