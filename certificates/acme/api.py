"""REST: ACME servers, keys for their accounts, accounts and orders; each action is one service."""

from dataclasses import replace
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from certificates.acme import serializers as shapes
from certificates.acme.filters import AccountFilter, ExternalKeyFilter, OrderFilter
from certificates.acme.services import reading, serving
from certificates.acme.services.serving import Rules
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeOrder, AcmeServer, Authority
from certificates.services.reading import visible_authorities
from keys.api.base import ActorView
from keys.serializers import ReasonSerializer
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed

_UUID = "[0-9a-f-]{36}"


class AcmeServerViewSet(ActorView, ReadOnlyModelViewSet[AcmeServer]):
    """Authorities that serve ACME, and by which rules."""

    serializer_class = shapes.AcmeServerSerializer
    queryset = AcmeServer.objects.none()
    filterset_fields = ["enabled"]
    keyset_order = ("authority_id",)
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_field = "authority_id"
    lookup_value_regex = _UUID

    def get_queryset(self) -> QuerySet[AcmeServer]:
        return reading.visible_servers(self.actor)

    @extend_schema(request=shapes.AcmeServerCreateSerializer, responses={201: shapes.AcmeServerSerializer})
    def create(self, request: Request) -> Response:
        """Let an authority serve ACME."""
        values = self.body(shapes.AcmeServerCreateSerializer)
        authority = _named(self.actor, values.pop("authority"))
        row = serving.save_server(actor=self.actor, authority_id=authority.pk, rules=Rules(**values))
        headers = {"Location": f"/api/v1/acme-servers/{authority.pk}"}
        return Response(shapes.AcmeServerSerializer(row).data, status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=shapes.AcmeRulesSerializer, responses=shapes.AcmeServerSerializer)
    def partial_update(self, request: Request, authority_id: str) -> Response:
        """Change some of the rules."""
        rules = replace(Rules.of(self.get_object()), **self.body(shapes.AcmeRulesSerializer))
        row = serving.save_server(actor=self.actor, authority_id=UUID(authority_id), rules=rules)
        return Response(shapes.AcmeServerSerializer(row).data)

    @extend_schema(request=shapes.AcmeSwitchSerializer, responses=shapes.AcmeServerSerializer)
    @action(detail=True, methods=["post"])
    def switch(self, request: Request, authority_id: str) -> Response:
        """Stop serving, or serve again."""
        values = self.body(shapes.AcmeSwitchSerializer)
        row = serving.switch_server(actor=self.actor, authority_id=self.get_object().authority_id, **values)
        return Response(shapes.AcmeServerSerializer(row).data)


def _named(actor: Actor, authority_id: UUID) -> Authority:
    """The authority that a body names; one that may not be seen is no authority."""
    row = visible_authorities(actor).filter(pk=authority_id).first()
    if row is None:
        raise ValidationFailed(errors={"authority": ["There is no such authority, or you may not see it."]})
    return row


class ExternalKeyViewSet(ActorView, ReadOnlyModelViewSet[AcmeExternalKey]):
    """Keys for external account binding; only the answer to a creation holds a secret."""

    serializer_class = shapes.ExternalKeySerializer
    queryset = AcmeExternalKey.objects.none()
    filterset_class = ExternalKeyFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _UUID

    def get_queryset(self) -> QuerySet[AcmeExternalKey]:
        return reading.visible_keys(self.actor)

    @extend_schema(request=shapes.ExternalKeyCreateSerializer, responses={201: shapes.ExternalKeyCreatedSerializer})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.ExternalKeyCreateSerializer)
        authority = _named(self.actor, values.pop("authority"))
        row, secret = serving.create_external_key(
            actor=self.actor, authority_id=authority.pk, owner_id=values.pop("owner"), **values
        )
        row.secret_text = secret.reveal().decode()  # type: ignore[attr-defined]
        headers = {"Cache-Control": "no-store", "Location": f"/api/v1/acme-external-keys/{row.pk}"}
        return Response(shapes.ExternalKeyCreatedSerializer(row).data, status.HTTP_201_CREATED, headers=headers)

    @extend_schema(request=ReasonSerializer, responses=shapes.ExternalKeySerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """No account opens with it any more."""
        row = serving.revoke_external_key(actor=self.actor, key_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.ExternalKeySerializer(row).data)


class AcmeAccountViewSet(ActorView, ReadOnlyModelViewSet[AcmeAccount]):
    """Accounts of ACME clients."""

    serializer_class = shapes.AcmeAccountSerializer
    queryset = AcmeAccount.objects.none()
    filterset_class = AccountFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _UUID

    def get_queryset(self) -> QuerySet[AcmeAccount]:
        return reading.visible_accounts(self.actor)

    @extend_schema(request=ReasonSerializer, responses=shapes.AcmeAccountSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End it and its open orders for good."""
        row = serving.revoke_account(actor=self.actor, account_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.AcmeAccountSerializer(row).data)


class AcmeOrderViewSet(ActorView, ReadOnlyModelViewSet[AcmeOrder]):
    """Orders of ACME clients, with the proofs of their names and the reasons of failures."""

    serializer_class = shapes.AcmeOrderSerializer
    queryset = AcmeOrder.objects.none()
    filterset_class = OrderFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _UUID

    def get_queryset(self) -> QuerySet[AcmeOrder]:
        return reading.visible_orders(self.actor).prefetch_related("authorizations__challenges")


router_entries = [
    ("acme-servers", AcmeServerViewSet, "acme-server"),
    ("acme-external-keys", ExternalKeyViewSet, "acme-external-key"),
    ("acme-accounts", AcmeAccountViewSet, "acme-account"),
    ("acme-orders", AcmeOrderViewSet, "acme-order"),
]
