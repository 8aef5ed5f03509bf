"""REST: how the portal's root is sealed, and which machines hold it."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keys import seal_serializers as shapes
from keys.api.base import ActorView
from keys.models import RootSeal
from keys.serializers import ReasonSerializer
from keys.services import keyholders, seals
from keys.services.overview import visible_keys
from keyvault_portal.accounts.actors import authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.filtering import whole_list


class RootSealViewSet(ActorView, ReadOnlyModelViewSet[RootSeal]):
    """Ways to open the portal. Shares are made on the page, where they are shown once, and never here."""

    serializer_class = shapes.RootSealSerializer
    queryset = RootSeal.objects.none()
    filterset_fields = ["kind", "state"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.SETTINGS_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[RootSeal]:
        return RootSeal.objects.select_related("version")

    def _manager(self) -> None:
        authorize(self.actor, Permission.SETTINGS_MANAGE, target="the portal's seal")

    @extend_schema(request=shapes.ProviderSealSerializer, responses={201: shapes.RootSealSerializer})
    def create(self, request: Request) -> Response:
        """Seal the root under a provider's key once other officers agree; a worker does it, and `state` says when it is in use."""
        self._manager()
        values = self.body(shapes.ProviderSealSerializer)
        key = visible_keys(self.actor).filter(pk=values["key"]).first()
        if key is None:
            raise ValidationFailed(errors={"key": ["There is no such key, or you may not see it."]})
        seal = seals.register_provider(actor=self.actor, name=values["name"], key=key, reason=values["reason"])
        headers = {"Location": f"/api/v1/seals/{seal.pk}"}
        return Response(shapes.RootSealSerializer(seal).data, status=status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=None, responses={202: shapes.RootSealSerializer})
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str) -> Response:
        """Have a worker try whether it opens the root; `checked_at` and `last_error` say what came of it."""
        self._manager()
        seal = seals.request_check(actor=self.actor, seal_id=self.get_object().pk)
        return Response(shapes.RootSealSerializer(seal).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonSerializer, responses=shapes.RootSealSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Stop using it for good, once other officers agree; never the last one that works."""
        self._manager()
        seal = seals.retire_seal(actor=self.actor, seal_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.RootSealSerializer(seal).data)

    @extend_schema(request=ReasonSerializer, responses={204: None})
    @action(detail=False, methods=["post"], filter_backends=[])
    def now(self, request: Request) -> Response:
        """Seal the portal at once, on every machine, until an officer or a quorum of custodians opens it; this API then answers 503."""
        self._manager()
        seals.seal_now(actor=self.actor, **self.body(ReasonSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=shapes.KeyholderSerializer(many=True))
    @whole_list(detail=False)
    def keyholders(self, request: Request) -> Response:
        """Which machines are sealed, unsealed or silent."""
        return Response(shapes.KeyholderSerializer(keyholders.seen(), many=True).data)
