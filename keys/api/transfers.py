"""REST: keys on their way in and out; each action is one service."""

import base64
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import transfer_serializers as shapes
from keys.api.base import ActorView
from keys.models import KeyExport, KeyImport
from keys.serializers import ReasonSerializer
from keys.services import exports, imports
from keys.services.overview import visible_exports, visible_imports, visible_keys
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed

_NEW = ("name", "title", "kind", "algorithm", "provider", "purpose", "exportable")
_HOW = ("method", "reason", "check_value", "component_values", "from_export")


class ImportViewSet(ActorView, ReadOnlyModelViewSet[KeyImport]):
    """Keys made elsewhere, wrapped for one import or in components."""

    serializer_class = shapes.KeyImportSerializer
    queryset = KeyImport.objects.none()
    filterset_fields = ("state", "method", "key")
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.KEY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[KeyImport]:
        return visible_imports(self.actor).select_related("key", "version").prefetch_related("components")

    @extend_schema(request=shapes.ImportOpenSerializer, responses={201: shapes.KeyImportSerializer})
    def create(self, request: Request) -> Response:
        """Open an import: of the next version of `key`, or of a new key."""
        values = self.body(shapes.ImportOpenSerializer)
        how = {name: values[name] for name in _HOW}
        if values["key"]:
            key = visible_keys(self.actor).filter(pk=values["key"]).first()
            if key is None:
                raise ValidationFailed(errors={"key": ["There is no such key, or you may not see it."]})
            row = imports.open_import(actor=self.actor, key_id=key.pk, **how)
        else:
            row = imports.open_import_of_new_key(actor=self.actor, **self._placed(values), **how)
        where = {"Location": f"/api/v1/imports/{row.pk}"}
        return Response(shapes.KeyImportSerializer(row).data, status=status.HTTP_201_CREATED, headers=where)

    def _placed(self, values: dict[str, Any]) -> dict[str, Any]:
        ring = KeyRing.objects.filter(pk=values["ring"]).first() if values["ring"] else None
        parent = visible_keys(self.actor).filter(pk=values["parent"]).first() if values["parent"] else None
        if ring is None or not self.actor.can(Permission.KEY_IMPORT, ring.pk):
            raise ValidationFailed(errors={"ring": ["There is no such ring, or you may not import keys into it."]})
        if values["parent"] and parent is None:
            raise ValidationFailed(errors={"parent": ["There is no such key, or you may not see it."]})
        return {name: values[name] for name in _NEW} | {"ring": ring, "parent": parent}

    def _going_on(self, import_id: Any) -> Response:
        row = self.get_queryset().get(pk=import_id)
        where = {"Location": f"/api/v1/imports/{row.pk}"}
        return Response(shapes.KeyImportSerializer(row).data, status=status.HTTP_202_ACCEPTED, headers=where)

    @extend_schema(request=shapes.UploadSerializer, responses={202: shapes.KeyImportSerializer})
    @action(detail=True, methods=["post"])
    def upload(self, request: Request, pk: str) -> Response:
        """Send the wrapped key; a worker opens it, checks it and brings it to its provider."""
        row = self.get_object()
        imports.receive_upload(actor=self.actor, import_id=row.pk, **self.body(shapes.UploadSerializer))
        return self._going_on(row.pk)

    @extend_schema(request=shapes.ComponentEntrySerializer, responses={202: shapes.KeyImportSerializer})
    @action(detail=True, methods=["post"])
    def components(self, request: Request, pk: str) -> Response:
        """Hand in one component, sealed; only a signed-in person can, one each. A worker compares it: `last_error` names a wrong one."""
        row = self.get_object()
        imports.hand_in_component(actor=self.actor, import_id=row.pk, **self.body(shapes.ComponentEntrySerializer))
        return self._going_on(row.pk)

    @extend_schema(request=ReasonSerializer, responses=shapes.KeyImportSerializer)
    @action(detail=True, methods=["post"])
    def abort(self, request: Request, pk: str) -> Response:
        """End it and erase what has arrived."""
        row = self.get_object()
        imports.abort_import(actor=self.actor, import_id=row.pk, **self.body(ReasonSerializer))
        return Response(shapes.KeyImportSerializer(self.get_queryset().get(pk=row.pk)).data)


class ExportViewSet(ActorView, ReadOnlyModelViewSet[KeyExport]):
    """Keys that were given out: when, by whom, to which public key."""

    serializer_class = shapes.KeyExportSerializer
    queryset = KeyExport.objects.none()
    filterset_fields = ("state", "method", "fingerprint")
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.KEY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[KeyExport]:
        return visible_exports(self.actor).select_related("version")

    @extend_schema(request=None, responses=shapes.WrappedSerializer)
    @action(detail=True, methods=["post"])
    def collect(self, request: Request, pk: str) -> Response:
        """The wrapped key; every collection is recorded."""
        row = exports.collect_export(actor=self.actor, export_id=self.get_object().pk)
        wrapped = base64.b64encode(bytes(row.wrapped or b"")).decode()
        return Response({"wrapped": wrapped, "method": row.method, "check_value": row.check_value})

    @extend_schema(request=None, responses=shapes.KeyExportSerializer)
    @action(detail=True, methods=["post"])
    def erase(self, request: Request, pk: str) -> Response:
        """Erase the wrapped key here; that it was given out stays."""
        row = exports.erase_export(actor=self.actor, export_id=self.get_object().pk)
        return Response(shapes.KeyExportSerializer(row).data)
