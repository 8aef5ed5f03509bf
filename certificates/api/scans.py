"""REST: what may be scanned, watched endpoints and their scans, and what agents report."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from certificates import scan_serializers as shapes
from certificates.models import ScanRange, ScanTarget
from certificates.services import reports, scan_policy, scanning
from keys.api.base import ActorView
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import whole_list


class ScanRangeViewSet(ActorView, ReadOnlyModelViewSet[ScanRange]):
    """Networks and hosts that may be scanned."""

    serializer_class = shapes.ScanRangeSerializer
    queryset = ScanRange.objects.all()
    keyset_order = ("value", "id")
    required_permission = Permission.TLS_VIEW
    lookup_value_regex = "[0-9]{1,18}"

    @extend_schema(request=shapes.NewRangeSerializer, responses={201: shapes.ScanRangeSerializer})
    def create(self, request: Request) -> Response:
        """Let a network or a host be scanned."""
        row = scan_policy.allow_range(actor=self.actor, **self.body(shapes.NewRangeSerializer))
        return self.created(shapes.ScanRangeSerializer, row, "scan-ranges")

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Scan nothing there from now on."""
        scan_policy.withdraw_range(actor=self.actor, range_id=self.get_object().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ScanTargetViewSet(ActorView, ReadOnlyModelViewSet[ScanTarget]):
    """Endpoints that are watched."""

    serializer_class = shapes.ScanTargetSerializer
    queryset = ScanTarget.objects.none()
    filterset_fields = ["host", "port"]
    keyset_order = ("host", "id")
    required_permission = Permission.TLS_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[ScanTarget]:
        return scanning.visible_targets(self.actor)

    @extend_schema(request=shapes.NewTargetSerializer, responses={201: shapes.ScanTargetSerializer})
    def create(self, request: Request) -> Response:
        """Watch an endpoint; it is scanned at once."""
        values = self.body(shapes.NewTargetSerializer)
        ring = self.ring(values.pop("ring"), Permission.TLS_SCAN)
        row = scanning.add_target(actor=self.actor, ring=ring, **values)
        return self.created(shapes.ScanTargetSerializer, row, "scan-targets")

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Watch it no more; what was found stays in the inventory."""
        scanning.remove_target(actor=self.actor, target_id=self.get_object().pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: shapes.EndpointScanSerializer})
    @action(detail=True, methods=["post"])
    def scan(self, request: Request, pk: str) -> Response:
        """Scan it as soon as a worker is free."""
        row = scanning.request_scan(actor=self.actor, target_id=self.get_object().pk)
        return Response(shapes.EndpointScanSerializer(row).data, status.HTTP_202_ACCEPTED)

    @extend_schema(responses=shapes.EndpointScanSerializer(many=True))
    @whole_list(detail=True)
    def scans(self, request: Request, pk: str) -> Response:
        """Its last 200 scans, the newest first."""
        rows = self.get_object().scans.defer("report").order_by("-created_at", "-id")[: scanning.KEPT]
        return Response(shapes.EndpointScanSerializer(rows, many=True).data)


class CertificateReportViewSet(ActorView, GenericViewSet[ScanTarget]):
    """Where agents of hosts and clusters say what stands there; their token needs the scope certificate.report."""

    required_permission = Permission.CERTIFICATE_REPORT
    queryset = ScanTarget.objects.none()

    @extend_schema(request=shapes.AgentReportSerializer, responses=shapes.AgentReportedSerializer)
    def create(self, request: Request) -> Response:
        """Up to 1,000 places of one host; the same report again changes nothing."""
        values = self.body(shapes.AgentReportSerializer)
        ring = self.ring(values.pop("ring"), Permission.CERTIFICATE_REPORT)
        found = [reports.Found(**item) for item in values.pop("found")]
        done = reports.report(actor=self.actor, ring=ring, found=found, **values)
        return Response(shapes.AgentReportedSerializer(done).data)
