"""REST: the room as one person in it sees it, and what they do there.

Where a share, a component or a passphrase is typed, only what `offline.py` or the page's script made of it comes here. A share is
shown in a browser alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from ceremonies import serializers as shapes
from ceremonies.models import Ceremony
from ceremonies.services import bringing, dealing, endings, gathering, handing, looking, outside, proving, room
from ceremonies.services.deeds import deed_of
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import PermissionRefused

_DEED_VALUES = ("bag", "place", "outcome", "component_values", "check_value")


class _Act(NamedTuple):
    """A service, and what of the body it takes."""

    service: Callable[..., object]
    values: tuple[str, ...] = ()


def _perform(*, actor: Actor, ceremony_id: Any, step: int, **values: Any) -> None:
    """The portal's own part of the current step, whichever it is."""
    deed = deed_of(Ceremony.objects.get(pk=ceremony_id), step)
    deed(actor=actor, ceremony_id=ceremony_id, step=step, **values)


def _prove(*, sealed: str, **named: Any) -> None:
    proving.prove_share(proof=sealed, **named)


_SEALED = ("step", "sealed")
ACTS: Mapping[str, _Act] = {
    "confirm": _Act(room.confirm_script, ("read_back",)), "identify": _Act(room.identify, ("participant_id", "how")),
    "start": _Act(room.start), "sign": _Act(room.sign_off, ("step",)), "perform": _Act(_perform, ("step", *_DEED_VALUES)),
    "begin": _Act(dealing.begin, ("step",)), "passphrase": _Act(gathering.seal_passphrase, _SEALED),
    "confirm-share": _Act(handing.confirm_share, (*_SEALED, "bag", "place")), "submit": _Act(gathering.submit_share, _SEALED),
    "prove": _Act(_prove, (*_SEALED, "bag")),
    "enter": _Act(bringing.enter_component, _SEALED), "give": _Act(outside.give_share, _SEALED),
    "exception": _Act(room.note_exception, ("expected", "happened", "decision")), "attest": _Act(room.attest, ("agrees", "reason")),
    "pause": _Act(room.pause, ("reason",)), "resume": _Act(room.resume), "leave": _Act(room.leave, ("reason",)),
    "send-away": _Act(room.send_away, ("participant_id", "reason")), "stand-in": _Act(room.stand_in), "abort": _Act(endings.abort, ("reason",)),
    "deal-again": _Act(dealing.deal_again, ("reason",)), "cancel-verification": _Act(dealing.cancel_verification, ("reason",)),
}  # fmt: skip


class RoomActions:
    """For the viewset of ceremonies."""

    actor: Actor
    get_object: Callable[[], Ceremony]
    body: Callable[[type[Any]], dict[str, Any]]

    @extend_schema(responses=shapes.RoomSerializer)
    @action(detail=True, methods=["get"])
    def room(self, request: Request, pk: str) -> Response:
        """Who is here, which step it is, and what is expected of the caller."""
        return self._seen()

    @extend_schema(request=shapes.RoomActSerializer, responses=shapes.RoomSerializer)
    @room.mapping.post
    def act(self, request: Request, pk: str) -> Response:
        """Do one act in the room, as somebody with a seat; needs a person's session."""
        ceremony = self.get_object()
        if self.actor.token_id is not None or room.seat_of(self.actor, ceremony.pk) is None:
            raise PermissionRefused("You have no part in this ceremony.", hint="You may watch it.")
        values = self.body(shapes.RoomActSerializer)
        found = ACTS[values.pop("act")]
        given = {name: values[name] for name in found.values if name in values}
        found.service(actor=self.actor, ceremony_id=ceremony.pk, **given)
        return self._seen()

    def _seen(self) -> Response:
        ceremony = self.get_object()
        seat = room.seat_of(self.actor, ceremony.pk)
        found = looking.look(ceremony, seat, list(ceremony.participants.all()))
        return Response(shapes.RoomSerializer(found | {"state": ceremony.state, "seat": seat}).data)
