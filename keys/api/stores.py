"""REST: data stores and the census."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from keys import serializers as shapes
from keys.api.base import ACCEPTED, ActorView
from keys.models import CensusCount, DataStore
from keys.services import census, store_removal, stores
from keys.services.overview import visible_keys
from keys.views.stores import visible_stores
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed


class StoreViewSet(ActorView, ReadOnlyModelViewSet[DataStore]):
    """Data stores; the DSN is write-only."""

    serializer_class = shapes.StoreSerializer
    queryset = DataStore.objects.none()
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

    @extend_schema(request=shapes.StoreCreateSerializer, responses=shapes.ReportSerializer)
    @action(detail=False, methods=["post"])
    def test(self, request: Request) -> Response:
        """Read the store as it would be registered, and keep nothing."""
        return Response(stores.test_store(actor=self.actor, **self._values()).as_dict())

    @extend_schema(request=shapes.SealSerializer, responses={201: shapes.StoreSerializer})
    @action(detail=False, methods=["post"])
    def seal(self, request: Request) -> Response:
        """Choose the data key under which the portal seals its own values, such as the addresses of data stores."""
        key = visible_keys(self.actor).filter(pk=self.body(shapes.SealSerializer)["key"]).first()
        if key is None:
            raise ValidationFailed(errors={"key": ["There is no such key, or you may not see it."]})
        store = stores.register_sealed_values(actor=self.actor, key=key)
        headers = {"Location": f"/api/v1/stores/{store.pk}"}
        return Response(shapes.StoreSerializer(store).data, status=status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=None, responses=shapes.ReportSerializer)
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Read a sample of the store again."""
        return Response(stores.check_store(actor=self.actor, store_id=self.get_object().pk).as_dict())

    @extend_schema(request=shapes.ReasonSerializer, responses={200: shapes.StoreSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def deregister(self, request: Request, pk: str) -> Response:
        """Take the store out of census and rotations and forget how to connect; its data stays as it is."""
        store = store_removal.deregister_store(
            actor=self.actor, store_id=self.get_object().pk, **self.body(shapes.ReasonSerializer)
        )
        return Response(shapes.StoreSerializer(store).data)

    @extend_schema(request=None, responses={202: shapes.CountingSerializer})
    @action(detail=True, methods=["post"])
    def count(self, request: Request, pk: str) -> Response:
        """Take the census of this store again; Location is where its counts appear."""
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
    queryset = CensusCount.objects.none()
    filterset_class = CensusFilter
    keyset_order = ("id",)
    required_permission = Permission.STORE_VIEW

    def get_queryset(self) -> QuerySet[CensusCount]:
        return census.visible_counts(self.actor).select_related("version")

    def list(self, request: Request) -> Response:
        rows = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(rows, many=True).data)
