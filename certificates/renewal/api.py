"""REST: ACME CAs, the certificates they keep alive, and where these are delivered; each action is one service."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from certificates.models import AcmeSource, Delivery, DeployHook, DnsHook, ManagedCertificate
from certificates.renewal import deploying, managing, sources
from certificates.renewal import serializers as shapes
from certificates.renewal.frame import visible_dns_hooks, visible_managed, visible_sources
from keys.api.base import ACCEPTED, ActorView
from keys.crypto.secret import SecretBytes
from keys.serializers import ReasonSerializer
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.filtering import whole_list

_ID = "[0-9a-f-]{36}"


def _secret(text: str) -> SecretBytes | None:
    return SecretBytes(text.encode()) if text else None


class SourceViewSet(ActorView, ReadOnlyModelViewSet[AcmeSource]):
    """Accounts at ACME CAs; account keys are sealed and never shown."""

    serializer_class = shapes.SourceSerializer
    queryset = AcmeSource.objects.none()
    filterset_fields = ["state", "name"]
    keyset_order = ("name", "id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _ID

    def get_queryset(self) -> QuerySet[AcmeSource]:
        return visible_sources(self.actor)

    @extend_schema(request=shapes.NewSourceSerializer, responses={201: shapes.SourceSerializer})
    def create(self, request: Request) -> Response:
        """Make an account key and have it registered by a worker."""
        values = self.body(shapes.NewSourceSerializer)
        ring = self.ring(values.pop("ring"), Permission.AUTHORITY_MANAGE)
        row = sources.register_source(actor=self.actor, ring=ring, eab_key=_secret(values.pop("eab_key")), **values)
        return self.created(shapes.SourceSerializer, row, "acme-sources")

    @extend_schema(request=shapes.LookSerializer, responses=shapes.FoundCaSerializer)
    @action(detail=False, methods=["post"])
    def look(self, request: Request) -> Response:
        """What a CA says of itself, before an account is made there."""
        values = self.body(shapes.LookSerializer)
        ring = self.ring(values.pop("ring"), Permission.AUTHORITY_MANAGE)
        found = sources.look_at_ca(actor=self.actor, ring=ring, **values)
        return Response(shapes.FoundCaSerializer(found).data)

    @extend_schema(request=None, responses=shapes.SourceSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Register again after a refusal; a ready CA is asked whether it answers."""
        row = sources.retry_source(actor=self.actor, source_id=self.get_object().pk)
        return Response(shapes.SourceSerializer(row).data)

    @extend_schema(request=ReasonSerializer, responses=shapes.SourceSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Use it no more."""
        row = sources.retire_source(actor=self.actor, source_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.SourceSerializer(row).data)


class DnsHookViewSet(ActorView, ReadOnlyModelViewSet[DnsHook]):
    """How TXT records for dns-01 are written."""

    serializer_class = shapes.DnsHookSerializer
    queryset = DnsHook.objects.none()
    filterset_fields = ["kind", "name"]
    keyset_order = ("name", "id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _ID

    def get_queryset(self) -> QuerySet[DnsHook]:
        return visible_dns_hooks(self.actor)

    @extend_schema(request=shapes.NewDnsHookSerializer, responses={201: shapes.DnsHookSerializer})
    def create(self, request: Request) -> Response:
        """Keep a hook, its secret sealed."""
        values = self.body(shapes.NewDnsHookSerializer)
        ring = self.ring(values.pop("ring"), Permission.AUTHORITY_MANAGE)
        secret = SecretBytes(values.pop("secret").encode())
        row = sources.register_dns_hook(actor=self.actor, ring=ring, secret=secret, **values)
        return self.created(shapes.DnsHookSerializer, row, "dns-hooks")


class RenewalViewSet(ActorView, ReadOnlyModelViewSet[ManagedCertificate]):
    """Certificates that the portal obtains from ACME CAs and keeps alive."""

    serializer_class = shapes.ManagedSerializer
    queryset = ManagedCertificate.objects.none()
    filterset_fields = ["enabled", "challenge"]
    keyset_order = ("renew_at", "id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _ID

    def get_queryset(self) -> QuerySet[ManagedCertificate]:
        return visible_managed(self.actor)

    @extend_schema(request=shapes.ObtainSerializer, responses={201: shapes.ManagedSerializer})
    def create(self, request: Request) -> Response:
        """Obtain a certificate for a transport key, and keep it renewed from then on."""
        values = self.body(shapes.ObtainSerializer)
        row = managing.obtain_certificate(
            actor=self.actor, source_id=values["source"], key_id=values["key"], challenge=values["challenge"], dns_hook_id=values["dns_hook"],
            names=[(name["kind"], name["value"]) for name in values["names"]], new_key=values["new_key"],
        )  # fmt: skip
        return self.created(shapes.ManagedSerializer, row, "renewals")

    @extend_schema(request=ReasonSerializer, responses={202: shapes.OrderSerializer})
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, pk: str) -> Response:
        """Renew it now although it is not due."""
        order = managing.renew_now(actor=self.actor, managed_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.OrderSerializer(order).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=ReasonSerializer, responses=shapes.ManagedSerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, pk: str) -> Response:
        """Renew it no more."""
        row = managing.stop_renewal(actor=self.actor, managed_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.ManagedSerializer(row).data)

    @extend_schema(request=ReasonSerializer, responses=shapes.ManagedSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Renew it again."""
        row = managing.resume_renewal(actor=self.actor, managed_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(shapes.ManagedSerializer(row).data)

    @extend_schema(responses=shapes.OrderSerializer(many=True))
    @whole_list(detail=True)
    def orders(self, request: Request, pk: str) -> Response:
        """Its newest attempts, at most 50."""
        rows = self.get_object().orders.select_related("version").order_by("-created_at")[:50]
        return Response(shapes.OrderSerializer(rows, many=True).data)

    @extend_schema(request=shapes.NewHookSerializer, responses={201: shapes.HookSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path="deploy-hooks")
    def deploy_hooks(self, request: Request, pk: str) -> Response:
        """Have each new certificate put somewhere, the present one at once."""
        values = self.body(shapes.NewHookSerializer)
        hook = deploying.add_hook(
            actor=self.actor, managed_id=self.get_object().pk, secret=_secret(values.pop("secret")), **values
        )
        return self.created(shapes.HookSerializer, hook, "deploy-hooks")


class DeployHookViewSet(ActorView, ReadOnlyModelViewSet[DeployHook]):
    """Places where certificates are delivered."""

    serializer_class = shapes.HookSerializer
    queryset = DeployHook.objects.none()
    filterset_fields = ["kind", "managed"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _ID

    def get_queryset(self) -> QuerySet[DeployHook]:
        return DeployHook.objects.filter(managed__in=visible_managed(self.actor).values("pk"), removed_at=None)

    @extend_schema(request=ReasonSerializer, responses={204: None})
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str) -> Response:
        """Deliver nothing more there; what is there stays."""
        deploying.remove_hook(actor=self.actor, hook_id=self.get_object().pk, **self.body(ReasonSerializer))
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeliveryViewSet(ActorView, ReadOnlyModelViewSet[Delivery]):
    """Each certificate on its way to each place."""

    serializer_class = shapes.DeliverySerializer
    queryset = Delivery.objects.none()
    filterset_fields = ["state", "hook", "certificate"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = _ID

    def get_queryset(self) -> QuerySet[Delivery]:
        return Delivery.objects.filter(hook__managed__in=visible_managed(self.actor).values("pk"))

    @extend_schema(request=None, responses=shapes.DeliverySerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Try one again that was given up."""
        row = deploying.retry_delivery(actor=self.actor, delivery_id=self.get_object().pk)
        return Response(shapes.DeliverySerializer(row).data)


router_entries: list[tuple[str, type[GenericViewSet[Any]], str]] = [
    ("acme-sources", SourceViewSet, "acme-source"),
    ("dns-hooks", DnsHookViewSet, "dns-hook"),
    ("renewals", RenewalViewSet, "renewal"),
    ("deploy-hooks", DeployHookViewSet, "deploy-hook"),
    ("deliveries", DeliveryViewSet, "delivery"),
]
