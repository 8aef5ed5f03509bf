"""REST: the list of logs that count, watched logs and what was found in them."""

import json

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from certificates import scan_serializers as shapes
from certificates.models import LogList, LogMonitor
from certificates.services import log_lists, monitoring
from keys.api.base import ActorView
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import whole_list


class LogListViewSet(ActorView, ReadOnlyModelViewSet[LogList]):
    """Lists of logs; the newest is in force."""

    serializer_class = shapes.LogListSerializer
    queryset = LogList.objects.defer("content")
    keyset_order = ("-id",)
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(request=shapes.NewLogListSerializer, responses={201: shapes.LogListSerializer})
    def create(self, request: Request) -> Response:
        """Put a list into force."""
        values = self.body(shapes.NewLogListSerializer)
        content = json.dumps(values["content"]).encode()
        row = log_lists.upload_list(actor=self.actor, content=content, provenance=values["provenance"])
        return self.created(shapes.LogListSerializer, row, "log-lists")


class LogMonitorViewSet(ActorView, ReadOnlyModelViewSet[LogMonitor]):
    """Logs that are read for names of ours."""

    serializer_class = shapes.LogMonitorSerializer
    queryset = LogMonitor.objects.none()
    keyset_order = ("name", "id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[LogMonitor]:
        return monitoring.visible_monitors(self.actor)

    @extend_schema(request=shapes.NewMonitorSerializer, responses={201: shapes.LogMonitorSerializer})
    def create(self, request: Request) -> Response:
        """Read a log from now on."""
        values = self.body(shapes.NewMonitorSerializer)
        ring = self.ring(values.pop("ring"), Permission.TLS_SCAN)
        row = monitoring.watch_log(actor=self.actor, ring=ring, **values)
        return self.created(shapes.LogMonitorSerializer, row, "log-monitors")

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Read it no more; what was found in it goes with it."""
        monitoring.unwatch_log(actor=self.actor, monitor_id=self.get_object().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: shapes.LogMonitorSerializer})
    @action(detail=True, methods=["post"])
    def read(self, request: Request, pk: str) -> Response:
        """Read it as soon as a worker is free."""
        row = self.get_object()
        monitoring.request_poll(actor=self.actor, monitor_id=row.pk)
        return Response(shapes.LogMonitorSerializer(row).data, status.HTTP_202_ACCEPTED)

    @extend_schema(responses=shapes.LoggedCertificateSerializer(many=True))
    @whole_list(detail=True)
    def findings(self, request: Request, pk: str) -> Response:
        """The newest 500 entries with a name of ours."""
        rows = self.get_object().findings.defer("der").order_by("-index")[:500]
        return Response(shapes.LoggedCertificateSerializer(rows, many=True).data)
