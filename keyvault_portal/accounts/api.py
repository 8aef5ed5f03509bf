"""REST: people, rings, role bindings, tokens and sessions; a write is one service, a read one visibility query."""

from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from django.db.models import Model, QuerySet
from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from keyvault_portal.accounts import filters, queries, services
from keyvault_portal.accounts import serializers as shapes
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.api_auth import HasPermission
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed

AWAITS_AGREEMENT = OpenApiResponse(description="Other people must agree first; Location is the approval to follow.")


class AccountsView(ListModelMixin, RetrieveModelMixin, GenericViewSet):  # type: ignore[type-arg]
    """Lists and shows what the actor may see; bodies are read through one serializer an action."""

    permission_classes = [IsAuthenticated, HasPermission]
    lookup_value_regex = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    keyset_order: tuple[str, ...] = ("id",)

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def body(self, shape: type[Any]) -> dict[str, Any]:
        serializer = shape(data=self.request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def shown(self, row: Model, code: int = status.HTTP_200_OK) -> Response:
        return Response(self.get_serializer(row).data, status=code)


def named[M: Model](queryset: QuerySet[M], pk: UUID, field: str) -> M:
    """The object a body names, if the actor may see it; raises ValidationFailed at `field`."""
    row = queryset.filter(pk=pk).first()
    if row is None:
        raise ValidationFailed(errors={field: ["There is no such thing, or you may not see it."]})
    return row


class PersonViewSet(AccountsView):
    """People and service accounts."""

    serializer_class = shapes.PersonSerializer
    filterset_class = filters.PersonFilter
    keyset_order = ("name", "id")
    queryset = Person.objects.none()
    required_permission = {
        "list": Permission.PERSON_VIEW,
        "retrieve": Permission.PERSON_VIEW,
        "create": Permission.PERSON_MANAGE,
        "partial_update": Permission.PERSON_MANAGE,
        "invite": Permission.PERSON_MANAGE,
        "deactivate": Permission.PERSON_MANAGE,
        "reactivate": Permission.PERSON_MANAGE,
    }

    def get_queryset(self) -> QuerySet[Person]:
        return queries.visible_people(self.actor)

    @extend_schema(request=shapes.PersonCreateSerializer, responses={201: shapes.PersonSerializer})
    def create(self, request: Request) -> Response:
        person = services.create_person(actor=self.actor, **self.body(shapes.PersonCreateSerializer))
        return self.shown(person, status.HTTP_201_CREATED)

    @extend_schema(request=shapes.PersonEditSerializer, responses={200: shapes.PersonSerializer, 202: AWAITS_AGREEMENT})
    def partial_update(self, request: Request, pk: str) -> Response:
        person = self.get_object()
        values = {field: getattr(person, field) for field in ("name", "site", "reporting_line")}
        changes = shapes.PersonEditSerializer(data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        return self.shown(services.update_person(actor=self.actor, person=person, **values | changes.validated_data))

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"])
    def invite(self, request: Request, pk: str) -> Response:
        """Mail a one-time sign-in link."""
        services.send_invitation(actor=self.actor, person=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={200: shapes.PersonSerializer, 202: AWAITS_AGREEMENT})
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, pk: str) -> Response:
        return self.shown(services.deactivate_person(actor=self.actor, person=self.get_object()))

    @extend_schema(request=None, responses={200: shapes.PersonSerializer, 202: AWAITS_AGREEMENT})
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, pk: str) -> Response:
        return self.shown(services.reactivate_person(actor=self.actor, person=self.get_object()))


class RingViewSet(AccountsView):
    """Key rings: the named groups of keys on which roles are given."""

    serializer_class = shapes.RingSerializer
    filterset_class = filters.RingFilter
    keyset_order = ("name",)
    queryset = KeyRing.objects.none()
    required_permission = {
        "list": Permission.KEY_VIEW,
        "retrieve": Permission.KEY_VIEW,
        "create": Permission.RING_MANAGE,
        "partial_update": Permission.RING_MANAGE,
    }

    def get_queryset(self) -> QuerySet[KeyRing]:
        return queries.visible_rings(self.actor)

    @extend_schema(request=shapes.RingCreateSerializer, responses={201: shapes.RingSerializer})
    def create(self, request: Request) -> Response:
        ring = services.create_ring(actor=self.actor, **self.body(shapes.RingCreateSerializer))
        return self.shown(ring, status.HTTP_201_CREATED)

    @extend_schema(request=shapes.RingEditSerializer, responses=shapes.RingSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        ring = self.get_object()
        values = {"title": ring.title, "description": ring.description}
        changes = shapes.RingEditSerializer(data=request.data, partial=True)
        changes.is_valid(raise_exception=True)
        return self.shown(services.update_ring(actor=self.actor, ring=ring, **values | changes.validated_data))


class BindingViewSet(AccountsView):
    """Who holds which role where."""

    serializer_class = shapes.BindingSerializer
    filterset_class = filters.BindingFilter
    keyset_order = ("created_at", "id")
    queryset = RoleBinding.objects.none()
    required_permission = {
        "list": Permission.PERSON_VIEW,
        "retrieve": Permission.PERSON_VIEW,
        "create": Permission.PERSON_MANAGE,
        "destroy": Permission.PERSON_MANAGE,
    }

    def get_queryset(self) -> QuerySet[RoleBinding]:
        return queries.visible_bindings(self.actor)

    @extend_schema(
        request=shapes.BindingCreateSerializer, responses={201: shapes.BindingSerializer, 202: AWAITS_AGREEMENT}
    )
    def create(self, request: Request) -> Response:
        values = self.body(shapes.BindingCreateSerializer)
        person = named(queries.visible_people(self.actor), values["person"], "person")
        ring = named(queries.visible_rings(self.actor), values["ring"], "ring") if values["ring"] else None
        binding = services.bind_role(actor=self.actor, person=person, role=values["role"], ring=ring)
        return self.shown(binding, status.HTTP_201_CREATED)

    @extend_schema(responses={204: None, 202: AWAITS_AGREEMENT})
    def destroy(self, request: Request, pk: str) -> Response:
        services.unbind_role(actor=self.actor, binding=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class TokenViewSet(AccountsView):
    """API tokens; only the answer to a creation holds a token's text."""

    serializer_class = shapes.TokenSerializer
    filterset_class = filters.TokenFilter
    keyset_order = ("-created_at", "-id")
    queryset = ApiToken.objects.none()
    permission_classes = [IsAuthenticated]  # everybody has tokens of their own; the query and the services do the rest

    def get_queryset(self) -> QuerySet[ApiToken]:
        return queries.visible_tokens(self.actor)

    @extend_schema(request=shapes.TokenCreateSerializer, responses={201: shapes.TokenCreatedSerializer})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.TokenCreateSerializer)
        owner_id = values.pop("owner", self.actor.id)
        people = queries.visible_people(self.actor) | Person.objects.filter(pk=str(self.actor.id))
        owner = named(people, owner_id, "owner")
        rings = [named(queries.visible_rings(self.actor), ring, "rings") for ring in values.pop("rings")]
        token, text = services.create_token(actor=self.actor, owner=owner, rings=rings, **values)
        token.text = text  # type: ignore[attr-defined]
        headers = {"Cache-Control": "no-store"}
        return Response(shapes.TokenCreatedSerializer(token).data, status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=None, responses=shapes.TokenSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        return self.shown(services.revoke_token(actor=self.actor, token=self.get_object()))


class SessionViewSet(AccountsView):
    """Browser sessions: one's own, and everybody's for those who manage people."""

    serializer_class = shapes.SessionSerializer
    filterset_fields = ["user"]
    keyset_order = ("-last_seen_at", "-id")
    queryset = UserSession.objects.none()
    lookup_value_regex = r"\d{1,18}"
    permission_classes = [IsAuthenticated]

    def get_queryset(self) -> QuerySet[UserSession]:
        return queries.visible_sessions(self.actor)

    def destroy(self, request: Request, pk: str) -> Response:
        services.revoke_session(actor=self.actor, session=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=shapes.SessionsEndedSerializer)
    @action(detail=False, methods=["post"], url_path="end-others")
    def end_others(self, request: Request) -> Response:
        """End all sessions of the caller but the one that asks, if a session asks."""
        me = Person.objects.get(pk=str(self.actor.id))
        ended = services.revoke_sessions(actor=self.actor, person=me, besides=request.session.session_key or "")
        return Response({"ended": ended})


class MeViewSet(GenericViewSet):  # type: ignore[type-arg]
    """Who is calling, and what they may do where."""

    serializer_class = shapes.MeSerializer
    permission_classes = [IsAuthenticated]
    pagination_class = None
    filter_backends = []

    @extend_schema(responses=forced_singular_serializer(shapes.MeSerializer), operation_id="me_retrieve")
    def list(self, request: Request) -> Response:
        actor: Actor = request.actor  # type: ignore[attr-defined]
        rights = [
            {"ring": grant.ring_id, "permissions": sorted(permission.value for permission in grant.permissions)}
            for grant in actor.grants
        ]
        shown = {"id": actor.id, "kind": actor.kind, "label": actor.label, "second_factor": actor.second_factor}
        return Response(shapes.MeSerializer({**shown, "rights": rights}).data)


router_entries = [
    ("people", PersonViewSet, "person"),
    ("rings", RingViewSet, "ring"),
    ("role-bindings", BindingViewSet, "role-binding"),
    ("tokens", TokenViewSet, "token"),
    ("sessions", SessionViewSet, "session"),
    ("me", MeViewSet, "me"),
]
