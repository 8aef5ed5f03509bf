"""REST: moves of keys between providers, and what a key's own address says and does about them."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import move_serializers as shapes
from keys.api.base import ACCEPTED, ActorView
from keys.models import Key, Move
from keys.serializers import ReasonSerializer, ThrottleSerializer
from keys.services import moving
from keys.views.moves import visible_moves
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission


class MovesOfKeys(ActorView):
    """The actions on a key that have to do with its place."""

    get_object: Callable[[], Key]

    @extend_schema(responses=shapes.OffersSerializer)
    @action(detail=True, methods=["get"], url_path="move-offers")
    def move_offers(self, request: Request, pk: str) -> Response:
        """Where this key can go, and whether its material can go along."""
        key = self.get_object()
        authorize(self.actor, Permission.KEY_MOVE, ring_id=key.ring_id, target=str(key))
        offers = moving.places_for(key, moving.movable(key))
        return Response({"offers": shapes.OfferSerializer(offers, many=True).data})

    @extend_schema(
        responses=shapes.MoveEstimateSerializer,
        parameters=[OpenApiParameter("target", str, required=True, description="The alias of the provider it would go to.")],
    )  # fmt: skip
    @action(detail=True, methods=["get"], url_path="move-dry-run")
    def move_dry_run(self, request: Request, pk: str) -> Response:
        """Items, calls at both providers and seconds a move would take."""
        key = self.get_object()
        authorize(self.actor, Permission.KEY_MOVE, ring_id=key.ring_id, target=str(key))
        asked = shapes.MoveTargetSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return Response(moving.dry_run(actor=self.actor, key_id=key.pk, **asked.validated_data).as_dict())

    @extend_schema(request=shapes.MoveRequestSerializer, responses={201: shapes.MoveSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def move(self, request: Request, pk: str) -> Response:
        """Move the key to another provider."""
        key = self.get_object()
        authorize(self.actor, Permission.KEY_MOVE, ring_id=key.ring_id, target=str(key))
        found = moving.request_move(actor=self.actor, key_id=key.pk, **self.body(shapes.MoveRequestSerializer))
        return Response(
            shapes.MoveSerializer(found).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/moves/{found.pk}"},
        )


class MoveFilter(filters.FilterSet):
    key = filters.UUIDFilter(field_name="key_id")

    class Meta:
        model = Move
        fields = ["state", "source", "target"]


class MoveViewSet(ActorView, ReadOnlyModelViewSet[Move]):
    """Moves with the progress of their walk."""

    serializer_class = shapes.MoveSerializer
    queryset = Move.objects.none()
    filterset_class = MoveFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.ROTATION_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Move]:
        rows = visible_moves(self.actor).select_related("old_version", "new_version", "rotation")
        return rows.prefetch_related("rotation__jobs", "rotation__jobs__store")

    def _act(self, service: Callable[..., Any], shape: type[Any] | None = None) -> Response:
        found = self.get_object()
        service(actor=self.actor, move_id=found.pk, **(self.body(shape) if shape else {}))
        return Response(shapes.MoveSerializer(self.get_queryset().get(pk=found.pk)).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        return self._act(moving.pause_move)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return self._act(moving.resume_move)

    @extend_schema(request=ThrottleSerializer)
    @action(detail=True, methods=["post"])
    def throttle(self, request: Request, pk: str) -> Response:
        return self._act(moving.throttle_move, ThrottleSerializer)

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        return self._act(moving.undo_move, ReasonSerializer)

    @extend_schema(request=ReasonSerializer, responses={200: shapes.MoveSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def drop(self, request: Request, pk: str) -> Response:
        """Let the old version wait out its grace period, at a census of zero."""
        return self._act(moving.drop_old, ReasonSerializer)

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"])
    def keep(self, request: Request, pk: str) -> Response:
        """Take the old version back from its grace period."""
        return self._act(moving.keep_old, ReasonSerializer)
