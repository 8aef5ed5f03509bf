"""REST: the custody register."""

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from ceremonies import serializers as shapes
from ceremonies.models import Share, ShareGeneration
from ceremonies.services import custody, risks, seal_shares
from keys.api.base import ACCEPTED, ActorView
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import whole_list


class ShareSetViewSet(ActorView, ReadOnlyModelViewSet[ShareGeneration]):
    """Sets of shares: who holds what, how healthy the quorum is. No share is ever here."""

    serializer_class = shapes.ShareSetSerializer
    queryset = ShareGeneration.objects.none()
    filterset_fields = ["state", "key", "practice"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CEREMONY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[ShareGeneration]:
        return custody.visible_generations(self.actor)

    @extend_schema(responses=shapes.DueSerializer(many=True))
    @whole_list(detail=False)
    def due(self, request: Request) -> Response:
        """What needs a ceremony or a custodian now."""
        found = [
            {"tone": row.tone, "text": row.text, "needs_ceremony": bool(row.script)} for row in custody.due(self.actor)
        ]
        return Response(shapes.DueSerializer(found, many=True).data)

    @extend_schema(request=shapes.NameCustodianSerializer, responses=shapes.SealCustodianSerializer)
    @action(detail=False, methods=["post"], url_path="seal-custodians", filter_backends=[])
    def seal_custodians(self, request: Request) -> Response:
        """Write down who has a share of the portal's seal that was made without a ceremony."""
        named = seal_shares.name_custodian(actor=self.actor, **self.body(shapes.NameCustodianSerializer))
        return Response(shapes.SealCustodianSerializer(named).data)

    @extend_schema(responses={(200, "application/json"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def package(self, request: Request, pk: str) -> HttpResponse:
        """The offline package, as `offline.py` reads it; each download is on the record."""
        found = custody.download_package(actor=self.actor, generation_id=self.get_object().pk)
        return HttpResponse(
            bytes(found.package), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


class ShareViewSet(ActorView, ReadOnlyModelViewSet[Share]):
    """One share each: its whereabouts and its custody log, never its words."""

    serializer_class = shapes.ShareDetailSerializer
    queryset = Share.objects.none()
    filterset_fields = ["state", "generation"]
    keyset_order = ("-id",)
    required_permission = Permission.CEREMONY_VIEW
    lookup_value_regex = "[0-9]{1,18}"

    def get_queryset(self) -> QuerySet[Share]:
        return custody.visible_shares(self.actor).prefetch_related("log")

    @extend_schema(request=shapes.CustodyNoteSerializer, responses=shapes.ShareDetailSerializer)
    @action(detail=True, methods=["post"])
    def note(self, request: Request, pk: str) -> Response:
        """Write one line of its custody log; the duty is acknowledged by its custodian alone."""
        share = self.get_object()
        custody.note_custody(actor=self.actor, share_id=share.pk, **self.body(shapes.CustodyNoteSerializer))
        return Response(shapes.ShareDetailSerializer(self.get_object()).data)

    @extend_schema(request=shapes.WhySerializer, responses={202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path="accept-risk")
    def accept_risk(self, request: Request, pk: str) -> Response:
        """Keep a set of which this share is lost, or its custodian leaves; others agree first."""
        share = risks.accept_risk(actor=self.actor, share_id=self.get_object().pk, **self.body(shapes.WhySerializer))
        return Response(shapes.ShareDetailSerializer(share).data)
