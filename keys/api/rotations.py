"""REST: rotations, what can be done to them, and the items they set aside."""

from collections.abc import Callable
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import serializers as shapes
from keys.api.base import ACCEPTED, CURSOR, ActorView
from keys.models import FailedItem, Rotation
from keys.services import rotation
from keys.views.rotations import FAILED_ORDER, failed_items, visible_rotations
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.paging import cursor_page


class RotationFilter(filters.FilterSet):
    key = filters.UUIDFilter(field_name="key_id")
    failed = filters.BooleanFilter(method="filter_failed", label="Has items that wait for a decision")

    class Meta:
        model = Rotation
        fields = ["state", "trigger"]

    def filter_failed(self, rows: QuerySet[Rotation], name: str, value: bool) -> QuerySet[Rotation]:
        waiting = FailedItem.objects.filter(job__rotation=OuterRef("pk"), resolution=FailedItem.Resolution.OPEN)
        return rows.filter(Exists(waiting)) if value else rows.exclude(Exists(waiting))


class RotationViewSet(ActorView, ReadOnlyModelViewSet[Rotation]):
    """Rotations with the progress of their jobs."""

    serializer_class = shapes.RotationSerializer
    queryset = Rotation.objects.none()
    filterset_class = RotationFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.ROTATION_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Rotation]:
        return (
            visible_rotations(self.actor)
            .select_related("old_version", "new_version")
            .prefetch_related("jobs", "jobs__store")
        )

    def _act(self, service: Callable[..., Any], shape: type[Any] | None = None) -> Response:
        found = self.get_object()
        service(actor=self.actor, rotation_id=found.pk, **(self.body(shape) if shape else {}))
        return Response(shapes.RotationSerializer(self.get_queryset().get(pk=found.pk)).data)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        return self._act(rotation.pause)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        return self._act(rotation.resume)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        return self._act(rotation.retry_failed)

    @extend_schema(request=shapes.ReasonSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        return self._act(rotation.cancel, shapes.ReasonSerializer)

    @extend_schema(request=shapes.ThrottleSerializer)
    @action(detail=True, methods=["post"])
    def throttle(self, request: Request, pk: str) -> Response:
        return self._act(rotation.throttle, shapes.ThrottleSerializer)

    @extend_schema(request=shapes.ReasonSerializer, responses={200: shapes.RotationSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def decommission(self, request: Request, pk: str) -> Response:
        return self._act(rotation.request_decommission, shapes.ReasonSerializer)

    @extend_schema(request=shapes.ReasonSerializer)
    @action(detail=True, methods=["post"], url_path="cancel-decommission")
    def cancel_decommission(self, request: Request, pk: str) -> Response:
        return self._act(rotation.cancel_decommission, shapes.ReasonSerializer)

    @extend_schema(responses=shapes.ConsequencesSerializer)
    @action(detail=True, methods=["get"])
    def consequences(self, request: Request, pk: str) -> Response:
        """What ending this rotation means, in numbers."""
        return Response({"consequences": rotation.consequences(self.get_object())})

    @extend_schema(responses=shapes.FailedItemPageSerializer, parameters=[CURSOR])
    @action(detail=True, methods=["get"], url_path="failed-items", pagination_class=None, filter_backends=[])
    def failed_items(self, request: Request, pk: str) -> Response:
        """Items set aside, those that wait for a decision first, in keyset pages."""
        page = cursor_page(request, failed_items(self.get_object()), FAILED_ORDER)
        return Response({"results": shapes.FailedItemSerializer(page.rows, many=True).data, "next_cursor": page.older})

    @extend_schema(request=shapes.GiveUpSerializer, operation_id="rotations_failed_items_give_up_open")
    @action(detail=True, methods=["post"], url_path="failed-items/give-up")
    def give_up_open(self, request: Request, pk: str) -> Response:
        """Give up every item that waits for a decision, if they are as many as said."""
        return self._act(rotation.give_up_open, shapes.GiveUpSerializer)

    @extend_schema(request=shapes.ReasonSerializer)
    @action(detail=True, methods=["post"], url_path=r"failed-items/(?P<item_id>\d{1,18})/give-up")
    def give_up(self, request: Request, pk: str, item_id: str) -> Response:
        found = self.get_object()
        rotation.decide_failed(
            actor=self.actor, rotation_id=found.pk, item_id=int(item_id), **self.body(shapes.ReasonSerializer)
        )
        return Response(shapes.RotationSerializer(self.get_queryset().get(pk=found.pk)).data)
