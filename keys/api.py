"""REST: keys, versions, rotations, stores and the census; each action is one service."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from keys import serializers as shapes
from keys.models import CensusCount, DataStore, FailedItem, Key, KeyVersion, Rotation
from keys.services import census, lifecycle, rotation, stores
from keys.services.overview import visible_keys
from keys.views.rotations import visible_rotations
from keys.views.stores import visible_stores
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, ValidationFailed
from keyvault_portal.paging import keyset_page

ACCEPTED = OpenApiResponse(description="Other people must agree first; Location is the approval to follow.")


class ActorView:
    """Answers to the actor of the request and reads bodies through one serializer."""

    request: Any
    required_permission: Permission

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def body(self, shape: type[Any]) -> dict[str, Any]:
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


class KeyFilter(filters.FilterSet):
    overdue = filters.BooleanFilter(method="filter_overdue")
    status = filters.CharFilter(field_name="current__status")
    ring = filters.CharFilter(field_name="ring__name")

    class Meta:
        model = Key
        fields = ["kind", "algorithm", "provider", "name", "parent"]

    def filter_overdue(self, keys: QuerySet[Key], name: str, value: bool) -> QuerySet[Key]:
        now = timezone.now()
        return keys.filter(next_rotation_at__lt=now) if value else keys.exclude(next_rotation_at__lt=now)


class KeyViewSet(ActorView, ReadOnlyModelViewSet[Key]):
    """Keys in view of the caller; writes go through the lifecycle services."""

    serializer_class = shapes.KeySerializer
    filterset_class = KeyFilter
    keyset_order = ("name", "id")
    required_permission = Permission.KEY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Key]:
        return visible_keys(self.actor).select_related("ring", "current")

    @extend_schema(request=shapes.KeyCreateSerializer, responses={201: shapes.KeySerializer})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.KeyCreateSerializer)
        ring = KeyRing.objects.filter(pk=values["ring"]).first()
        parent = visible_keys(self.actor).filter(pk=values["parent"]).first() if values["parent"] else None
        if ring is None or not self.actor.can(Permission.KEY_CREATE, ring.pk):
            raise ValidationFailed(errors={"ring": ["There is no such ring, or you may not create keys in it."]})
        if values["parent"] and parent is None:
            raise ValidationFailed(errors={"parent": ["There is no such key, or you may not see it."]})
        key = lifecycle.create_key(actor=self.actor, **(values | {"ring": ring, "parent": parent}))
        return Response(
            shapes.KeySerializer(key).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/keys/{key.pk}"},
        )

    @extend_schema(responses=shapes.PolicySerializer)
    @action(detail=True, methods=["get"])
    def policy(self, request: Request, pk: str) -> Response:
        """The policy that governs this key."""
        return Response(shapes.PolicySerializer(self.get_object().policy).data)

    @extend_schema(request=shapes.PolicySerializer, responses={200: shapes.PolicySerializer, 202: ACCEPTED})
    @policy.mapping.patch
    def change_policy(self, request: Request, pk: str) -> Response:
        key = self.get_object()
        serializer = shapes.PolicySerializer(key.policy, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        policy = lifecycle.update_policy(actor=self.actor, key_id=key.pk, changes=dict(serializer.validated_data))
        return Response(shapes.PolicySerializer(policy).data)

    @extend_schema(responses=shapes.VersionSerializer(many=True))
    @action(detail=True, methods=["get"])
    def versions(self, request: Request, pk: str) -> Response:
        """Versions of this key, newest first, in keyset pages."""
        page = keyset_page(
            self.get_object().versions.all(), ["-key_version"], cursor=request.query_params.get("cursor", "")
        )
        return Response({"results": shapes.VersionSerializer(page.rows, many=True).data, "next_cursor": page.older})

    @extend_schema(
        responses={200: OpenApiResponse(description="Items, provider calls and seconds a rotation would take.")}
    )
    @action(detail=True, methods=["get"], url_path="dry-run")
    def dry_run(self, request: Request, pk: str) -> Response:
        estimate = rotation.dry_run(actor=self.actor, key_id=self.get_object().pk)
        return Response(estimate.as_dict())

    @extend_schema(request=shapes.RotateSerializer, responses={201: shapes.RotationSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        key = self.get_object()
        found = rotation.request_rotation(actor=self.actor, key_id=key.pk, **self.body(shapes.RotateSerializer))
        return Response(
            shapes.RotationSerializer(found).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/rotations/{found.pk}"},
        )

    def _act(self, number: str, permission: Permission, shape: type[Any], service: Callable[..., Any]) -> Response:
        key = self.get_object()
        authorize(self.actor, permission, ring_id=key.ring_id, target=str(key))
        version = key.versions.filter(key_version=int(number)).first()
        if version is None:
            raise NotFound(f"{key} has no version {number}.")
        service(actor=self.actor, version_id=version.pk, **self.body(shape))
        return Response(shapes.VersionSerializer(KeyVersion.objects.get(pk=version.pk)).data)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/suspend")
    def suspend(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DISABLE, shapes.ReasonSerializer, lifecycle.suspend_version)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/resume")
    def resume(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DISABLE, shapes.ReasonSerializer, lifecycle.resume_version)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/activate")
    def activate(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DISABLE, shapes.ReasonSerializer, lifecycle.activate_version)

    @extend_schema(request=shapes.CompromiseSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/compromise")
    def compromise(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_COMPROMISE, shapes.CompromiseSerializer, rotation.rotate_compromised)

    @extend_schema(request=shapes.ReasonSerializer, responses={200: shapes.VersionSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/schedule-deletion")
    def schedule_deletion(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DESTROY, shapes.ReasonSerializer, lifecycle.schedule_deletion)

    @extend_schema(request=shapes.ReasonSerializer, responses=shapes.VersionSerializer)
    @action(detail=True, methods=["post"], url_path=r"versions/(?P<number>\d{1,9})/cancel-deletion")
    def cancel_deletion(self, request: Request, pk: str, number: str) -> Response:
        return self._act(number, Permission.KEY_DESTROY, shapes.ReasonSerializer, lifecycle.cancel_deletion)


class RotationFilter(filters.FilterSet):
    key = filters.UUIDFilter(field_name="key_id")

    class Meta:
        model = Rotation
        fields = ["state", "trigger"]


class RotationViewSet(ActorView, ReadOnlyModelViewSet[Rotation]):
    """Rotations with the progress of their jobs."""

    serializer_class = shapes.RotationSerializer
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

    @extend_schema(responses=shapes.FailedItemSerializer(many=True))
    @action(detail=True, methods=["get"], url_path="failed-items")
    def failed_items(self, request: Request, pk: str) -> Response:
        rows = FailedItem.objects.filter(job__rotation=self.get_object())
        page = keyset_page(rows, ["id"], cursor=request.query_params.get("cursor", ""))
        return Response({"results": shapes.FailedItemSerializer(page.rows, many=True).data, "next_cursor": page.older})

    @extend_schema(request=shapes.ReasonSerializer)
    @action(detail=True, methods=["post"], url_path=r"failed-items/(?P<item_id>\d{1,18})/give-up")
    def give_up(self, request: Request, pk: str, item_id: str) -> Response:
        found = self.get_object()
        rotation.decide_failed(
            actor=self.actor, rotation_id=found.pk, item_id=int(item_id), **self.body(shapes.ReasonSerializer)
        )
        return Response(shapes.RotationSerializer(self.get_queryset().get(pk=found.pk)).data)


class StoreViewSet(ActorView, ReadOnlyModelViewSet[DataStore]):
    """Data stores; the DSN is write-only."""

    serializer_class = shapes.StoreSerializer
    filterset_fields = ["kind", "format", "name"]
    keyset_order = ("name", "id")
    required_permission = Permission.STORE_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[DataStore]:
        return visible_stores(self.actor)

    def _values(self) -> dict[str, Any]:
        values = self.body(shapes.StoreCreateSerializer)
        ring = KeyRing.objects.filter(pk=values["ring"]).first()
        key = visible_keys(self.actor).filter(pk=values["key"]).first()
        if ring is None or not self.actor.can(Permission.STORE_MANAGE, ring.pk):
            raise ValidationFailed(errors={"ring": ["There is no such ring, or you may not register stores in it."]})
        if key is None:
            raise ValidationFailed(errors={"key": ["There is no such key, or you may not see it."]})
        return values | {"ring": ring, "key": key}

    @extend_schema(request=shapes.StoreCreateSerializer, responses={201: shapes.StoreSerializer})
    def create(self, request: Request) -> Response:
        store = stores.register_store(actor=self.actor, **self._values())
        return Response(
            shapes.StoreSerializer(store).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/v1/stores/{store.pk}"},
        )

    @extend_schema(
        request=shapes.StoreCreateSerializer, responses={200: OpenApiResponse(description="What the store holds.")}
    )
    @action(detail=False, methods=["post"])
    def test(self, request: Request) -> Response:
        """Read the store as it would be registered, and keep nothing."""
        return Response(stores.test_store(actor=self.actor, **self._values()).as_dict())

    @extend_schema(request=None, responses={200: OpenApiResponse(description="What the store holds.")})
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        return Response(stores.check_store(actor=self.actor, store_id=self.get_object().pk).as_dict())

    @extend_schema(request=None, responses={202: OpenApiResponse(description="The census is being taken.")})
    @action(detail=True, methods=["post"])
    def count(self, request: Request, pk: str) -> Response:
        store = self.get_object()
        census.request_count(actor=self.actor, store_id=store.pk)
        return Response(
            {"store_id": str(store.pk)},
            status=status.HTTP_202_ACCEPTED,
            headers={"Location": f"/api/v1/census?store={store.pk}"},
        )


class CensusFilter(filters.FilterSet):
    store = filters.UUIDFilter(field_name="store_id")
    key = filters.UUIDFilter(field_name="version__key_id")
    key_version = filters.NumberFilter(field_name="version__key_version")

    class Meta:
        model = CensusCount
        fields: list[str] = []


class CensusViewSet(ActorView, GenericViewSet[CensusCount]):
    """Which data stands on which key version, as last counted."""

    serializer_class = shapes.CensusSerializer
    filterset_class = CensusFilter
    keyset_order = ("id",)
    required_permission = Permission.STORE_VIEW

    def get_queryset(self) -> QuerySet[CensusCount]:
        return census.visible_counts(self.actor).select_related("version")

    def list(self, request: Request) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(rows, many=True).data)


router_entries = [
    ("keys", KeyViewSet, "key"),
    ("rotations", RotationViewSet, "rotation"),
    ("stores", StoreViewSet, "store"),
    ("census", CensusViewSet, "census"),
]
