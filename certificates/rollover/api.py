"""REST: rollovers of authorities, and the reports of relying parties."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from certificates.models import RelyingParty, Rollover
from certificates.rollover import gates, parties, steps
from certificates.rollover import serializers as shapes
from certificates.services.reading import pem
from keys.api.base import ACCEPTED, ActorView
from keys.serializers import ReasonSerializer
from keyvault_portal.accounts.permissions import Permission


class RolloverViewSet(ActorView, ReadOnlyModelViewSet[Rollover]):
    """The way from one authority to another, step by step."""

    serializer_class = shapes.RolloverSerializer
    queryset = Rollover.objects.none()
    filterset_fields = ["state", "old", "new"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Rollover]:
        return steps.visible_rollovers(self.actor)

    @extend_schema(request=shapes.NewRolloverSerializer, responses={201: shapes.RolloverSerializer})
    def create(self, request: Request) -> Response:
        """Plan it; nothing changes yet."""
        values = self.body(shapes.NewRolloverSerializer)
        row = steps.plan_rollover(actor=self.actor, old_id=values["old"], new_id=values["new"], reason=values["reason"])
        return self.created(shapes.RolloverSerializer, row, "rollovers")

    @extend_schema(request=shapes.StepSerializer, responses={200: shapes.RolloverSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def step(self, request: Request, pk: str) -> Response:
        """Take a step; refused with numbers while its gate is not met."""
        row = steps.take_step(actor=self.actor, rollover_id=self.get_object().pk, **self.body(shapes.StepSerializer))
        return Response(shapes.RolloverSerializer(row).data)

    @extend_schema(responses=shapes.GateSerializer)
    @action(detail=True, methods=["get"])
    def gate(self, request: Request, pk: str) -> Response:
        """Whether the next step would break anybody, in numbers."""
        return Response(shapes.GateSerializer(gates.gate(self.get_object())).data)

    @extend_schema(responses=shapes.BundleSerializer)
    @action(detail=True, methods=["get"])
    def bundle(self, request: Request, pk: str) -> Response:
        """What relying parties are to trust now."""
        rows = steps.bundle(self.get_object())
        return Response({"pem": pem(*rows), "fingerprints": [row.fingerprint for row in rows]})


class RelyingPartyViewSet(ActorView, ReadOnlyModelViewSet[RelyingParty]):
    """What trusts our authorities, by its own report."""

    serializer_class = shapes.PartySerializer
    queryset = RelyingParty.objects.none()
    filterset_fields = ["name", "ring"]
    keyset_order = ("name", "id")
    required_permission = {  # type: ignore[assignment]
        "create": Permission.TRUST_REPORT, "list": Permission.CERTIFICATE_VIEW, "retrieve": Permission.CERTIFICATE_VIEW,
        "remove": Permission.CERTIFICATE_VIEW,
    }  # fmt: skip
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[RelyingParty]:
        return parties.visible_parties(self.actor)

    @extend_schema(request=shapes.TrustReportSerializer, responses=shapes.PartySerializer)
    def create(self, request: Request) -> Response:
        """Report a bundle; the newest report of a name counts."""
        values = self.body(shapes.TrustReportSerializer)
        ring = self.ring(values.pop("ring"), Permission.TRUST_REPORT)
        return Response(shapes.PartySerializer(parties.report_bundle(actor=self.actor, ring=ring, **values)).data)

    @extend_schema(request=ReasonSerializer, responses={204: None})
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str) -> Response:
        """Count it no more; its next report brings it back."""
        parties.remove_party(actor=self.actor, party_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)


router_entries: list[tuple[str, type[GenericViewSet[Any]], str]] = [
    ("rollovers", RolloverViewSet, "rollover"),
    ("relying-parties", RelyingPartyViewSet, "relying-party"),
]
