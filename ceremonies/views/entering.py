"""Who stands at the door of a room: a person signed in, or a guest whose browser holds an invitation's session."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from ceremonies.models import Ceremony, Participant
from ceremonies.services.frame import guest_actor, seat_of
from ceremonies.services.invitations import guest_of
from ceremonies.services.plans import visible_ceremony
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.web import actor_of, client_address
from keyvault_portal.errors import NotAuthenticated

SESSION_KEY = "ceremony_seat"


def enter(request: HttpRequest, ceremony_id: UUID) -> tuple[Actor, Participant | None, Ceremony]:
    """The actor, the seat (None for somebody who may only look) and the ceremony; raises NotAuthenticated, NotInTheRoom."""
    signed_in = isinstance(request.user, Person)
    if signed_in:
        actor = actor_of(request)
        seat = seat_of(actor, ceremony_id)
        if seat is not None:
            return actor, seat, seat.ceremony
    held: dict[str, Any] = request.session.get(SESSION_KEY) or {}
    if held.get("ceremony") == str(ceremony_id):
        seat = guest_of(ceremony_id, held["seat"], held["secret"])
        if seat is not None:
            return guest_actor(seat, client_address(request)), seat, seat.ceremony
    if not signed_in:
        raise NotAuthenticated
    return actor, None, visible_ceremony(actor, ceremony_id)


def frame_for(actor: Actor) -> str:
    """The page frame: guests have no navigation."""
    return "ceremonies/guest_base.html" if actor.kind == "guest" else "base.html"
