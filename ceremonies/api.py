"""REST: ceremonies as planned and held, and sets of shares with their health. Acts in the room are for browsers only."""

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from ceremonies import serializers as shapes
from ceremonies.models import Ceremony, ShareGeneration
from ceremonies.quorums import Quorum
from ceremonies.services import custody, minutes, plans
from keys.api.base import ACCEPTED, ActorView
from keys.models import Key
from keys.services.overview import visible_keys
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed


class CeremonyFilter(filters.FilterSet):
    class Meta:
        model = Ceremony
        fields = ["kind", "state", "practice", "key", "script_hash"]


class CeremonyViewSet(ActorView, ReadOnlyModelViewSet[Ceremony]):
    """Ceremonies in view of the caller; planned here or on the pages, held in the room only."""

    queryset = Ceremony.objects.none()
    filterset_class = CeremonyFilter
    keyset_order = ("-starts_at", "-id")
    required_permission = Permission.CEREMONY_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Ceremony]:
        return plans.visible_ceremonies(self.actor)

    def get_serializer_class(self) -> Any:
        return shapes.CeremonySerializer if self.action == "list" else shapes.CeremonyDetailSerializer

    @extend_schema(request=shapes.CeremonyPlanSerializer, responses={201: shapes.CeremonyDetailSerializer})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.CeremonyPlanSerializer)
        key = visible_keys(self.actor).filter(pk=values["key"]).first() if values["key"] else None
        if values["key"] and (key is None or not self.actor.can(Permission.CEREMONY_MANAGE, key.ring_id)):
            raise ValidationFailed(errors={"key": ["There is no such key, or you may plan nothing about it."]})
        groups, needed = values.pop("groups"), values.pop("groups_needed")
        quorum = Quorum.from_json(groups, needed or len(groups)) if groups else None
        made = plans.plan_ceremony(
            actor=self.actor,
            **(
                values
                | {
                    "key": key,
                    "policy": dict(values.get("policy") or {}),
                    "groups": quorum,
                    "minutes_key": self._minutes_key(values),
                }
            ),
        )
        return Response(
            self._shown(made), status=status.HTTP_201_CREATED, headers={"Location": f"/api/v1/ceremonies/{made.pk}"}
        )

    @extend_schema(request=shapes.PersonSeatSerializer, responses={201: shapes.ParticipantSerializer})
    @action(detail=True, methods=["post"])
    def people(self, request: Request, pk: str) -> Response:
        """Seat somebody while the ceremony is planned."""
        seat = plans.add_person(
            actor=self.actor, ceremony_id=self.get_object().pk, **self.body(shapes.PersonSeatSerializer)
        )
        return Response(shapes.ParticipantSerializer(seat).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={200: shapes.CeremonyDetailSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def open(self, request: Request, pk: str) -> Response:
        """Let people in; others agree first unless it is a rehearsal."""
        return Response(self._shown(plans.open_room(actor=self.actor, ceremony_id=self.get_object().pk)))

    @extend_schema(request=shapes.WhySerializer, responses=shapes.CeremonyDetailSerializer)
    @action(detail=True, methods=["post"], url_path="call-off")
    def call_off(self, request: Request, pk: str) -> Response:
        """End it without effect, before the commit."""
        plans.call_off(actor=self.actor, ceremony_id=self.get_object().pk, **self.body(shapes.WhySerializer))
        return Response(self._shown(self.get_object()))

    def _minutes_key(self, values: dict[str, Any]) -> Key | None:
        if values["minutes_key"] is None:
            return None
        found = minutes.minutes_keys(self.actor).filter(pk=values["minutes_key"]).first()
        if found is None:
            raise ValidationFailed(errors={"minutes_key": ["There is no such key that could sign minutes."]})
        return found

    def _shown(self, ceremony: Ceremony) -> dict[str, Any]:
        return dict(shapes.CeremonyDetailSerializer(ceremony).data)


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


router_entries = (("ceremonies", CeremonyViewSet, "ceremony"), ("share-sets", ShareSetViewSet, "share-set"))
