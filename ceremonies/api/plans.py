"""REST: ceremonies from their plan to their minutes; the room's acts are in `room`."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from ceremonies import serializers as shapes
from ceremonies.api.room import RoomActions
from ceremonies.models import Ceremony
from ceremonies.quorums import Quorum
from ceremonies.services import invitations, minutes, plans, subjects
from ceremonies.services.minutes import read_minutes
from keys.api.base import ACCEPTED, ActorView
from keys.models import Key
from keys.services.overview import visible_keys
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed

SEAT_PATH = "(?P<participant_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
SEAT = OpenApiParameter("participant_id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class CeremonyFilter(filters.FilterSet):
    class Meta:
        model = Ceremony
        fields = ["kind", "state", "practice", "key", "script_hash"]


class CeremonyViewSet(RoomActions, ActorView, ReadOnlyModelViewSet[Ceremony]):
    """Ceremonies in view of the caller, planned and held."""

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

    @extend_schema(parameters=[SEAT], responses={204: None})
    @action(detail=True, methods=["delete"], url_path=f"people/{SEAT_PATH}", url_name="people-remove")
    def people_remove(self, request: Request, pk: str, participant_id: str) -> Response:
        """Take somebody out of the plan."""
        plans.remove_person(actor=self.actor, ceremony_id=self.get_object().pk, participant_id=UUID(participant_id))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(parameters=[SEAT], request=None, responses=shapes.InvitationSerializer)
    @action(detail=True, methods=["post"], url_path=f"people/{SEAT_PATH}/invite", url_name="people-invite")
    def people_invite(self, request: Request, pk: str, participant_id: str) -> Response:
        """Make a guest's link and code, this once; they go to the guest by two different ways."""
        ceremony = self.get_object()
        made = invitations.invite_guest(actor=self.actor, ceremony_id=ceremony.pk, participant_id=UUID(participant_id))
        answer = Response(shapes.InvitationSerializer(made).data)
        answer["Cache-Control"] = "no-store"
        return answer

    @extend_schema(request=None, responses=shapes.ToldSerializer)
    @action(detail=True, methods=["post"])
    def invite(self, request: Request, pk: str) -> Response:
        """Tell everybody in the plan who has an account."""
        told = invitations.invite_people(actor=self.actor, ceremony_id=self.get_object().pk)
        return Response({"told": told})

    @extend_schema(request=shapes.SubjectSerializer, responses=shapes.CeremonyDetailSerializer)
    @action(detail=True, methods=["post"])
    def subject(self, request: Request, pk: str) -> Response:
        """Say what the ceremony is about, where that is no key: a waiting request, or a root authority to be founded."""
        ceremony = self.get_object()
        form = subjects.subject_form(ceremony, self.body(shapes.SubjectSerializer)["values"], actor=self.actor)
        if not form.is_valid():
            raise ValidationFailed(errors={name: [str(word) for word in words] for name, words in form.errors.items()})
        subjects.set_subject(actor=self.actor, ceremony_id=ceremony.pk, values=form.cleaned_data)
        return Response(self._shown(self.get_object()))

    @extend_schema(request=None, responses=shapes.CeremonyDetailSerializer)
    @action(detail=True, methods=["post"])
    def replan(self, request: Request, pk: str) -> Response:
        """Take a plan that waits for agreement back, to change it."""
        plans.back_to_planning(actor=self.actor, ceremony_id=self.get_object().pk)
        return Response(self._shown(self.get_object()))

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def minutes(self, request: Request, pk: str) -> HttpResponse:
        """The minutes: as they were signed, and a draft before the end."""
        return HttpResponse(read_minutes(actor=self.actor, ceremony=self.get_object()), content_type="application/pdf")

    @extend_schema(responses={(200, "text/calendar"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def calendar(self, request: Request, pk: str) -> HttpResponse:
        """The date, and the reserve date, for a calendar program."""
        return HttpResponse(invitations.calendar_file(self.get_object()), content_type="text/calendar; charset=utf-8")

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
