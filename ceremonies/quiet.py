"""A room in which nothing happens: polls are answered from one look at the cache, without a session, a query or a template.

A page carries a ticket that its last full answer gave it, bound to its browser's session. The cache holds the version of the
ceremony (set by every commit), who is here, and that this seat was noted as here a moment ago. Where all three are as the page
has them, nothing has changed. What is not in the cache is asked the long way, so losing it costs nothing but time.
"""

import hashlib
from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse

TICKET_SECONDS = 60
VERSION_SECONDS = 10  # a commit whose note was lost is seen after so long
HERE_SECONDS = 2  # after which somebody's poll counts again who is here
SEEN_SECONDS = 5  # after which a seat's poll is noted as its sign of life again
_signer = signing.TimestampSigner(salt="ceremonies.room")


def note_version(ceremony_id: UUID, version: int) -> None:
    """What a commit made of the ceremony; call it once that is durable."""
    cache.set(f"room-version:{ceremony_id}", version, VERSION_SECONDS)


def note_look(ceremony_id: UUID, seat_id: object, version: int, here: str) -> None:
    """What a full answer saw. It never overwrites a version: a commit may have been faster."""
    cache.add(f"room-version:{ceremony_id}", version, VERSION_SECONDS)
    cache.set(f"room-here:{ceremony_id}", here, HERE_SECONDS)
    cache.set(f"room-seen:{ceremony_id}:{seat_id}", True, SEEN_SECONDS)


def ticket_for(request: HttpRequest, ceremony_id: UUID, seat_id: object) -> str:
    """What this browser shows at its next polls."""
    return _signer.sign(f"{ceremony_id}|{seat_id}|{_browser(request)}")


def is_stale(ticket: str) -> bool:
    """Whether the page needs another ticket."""
    return _read(ticket) is None


def nothing_new(request: HttpRequest) -> bool:
    """Whether this poll's page shows the newest of its room."""
    found = _read(request.GET["ticket"])
    if found is None:
        return False
    ceremony_id, seat_id, browser = found
    if browser != _browser(request) or request.path != f"/ceremonies/{ceremony_id}/room/live/":
        return False
    names = [f"room-version:{ceremony_id}", f"room-here:{ceremony_id}", f"room-seen:{ceremony_id}:{seat_id}"]
    held = cache.get_many(names)
    if len(held) < len(names):
        return False
    return bool(request.GET.get("tag") == f"{held[names[0]]}.{held[names[1]]}")


class QuietRoom:
    """Answers 204 to such polls before anything else is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.endswith("/room/live/") and "ticket" in request.GET and nothing_new(request):
            return HttpResponse(status=204)
        return self.get_response(request)


def _read(ticket: str) -> list[str] | None:
    try:
        parts = _signer.unsign(ticket, max_age=TICKET_SECONDS).split("|")
    except signing.BadSignature:
        return None
    return parts if len(parts) == 3 else None


def _browser(request: HttpRequest) -> str:
    return hashlib.sha256(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "").encode()).hexdigest()[:16]
