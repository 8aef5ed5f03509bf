"""REST below /api/v1/tls/: what the pages make, as JSON."""

from hashlib import sha256
from typing import Any

from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from certificates.tls import dns, manifests, pins, services
from certificates.tls import serializers as shapes
from certificates.tls.configuration import Configuration
from certificates.tls.generator import generate
from keys.api.base import ActorView
from keyvault_portal.accounts.permissions import Permission


def _file(name: str, text: str) -> Response:
    return Response({"name": name, "text": text, "sha256": sha256(text.encode()).hexdigest()})


class ConfigurationView(ActorView, APIView):
    """The configuration file of a server; nothing is kept."""

    required_permission = Permission.TLS_VIEW

    @extend_schema(request=shapes.ConfigurationSerializer, responses=shapes.FileSerializer)
    def post(self, request: Request) -> Response:
        made = generate(Configuration.of(self.body(shapes.ConfigurationSerializer)))
        return _file(made.name, made.text)


class ScanView(ActorView, APIView):
    """A live endpoint, scanned now: its grade with reasons, and how it differs from its configuration."""

    required_permission = Permission.TLS_SCAN

    @extend_schema(request=shapes.ScanRequestSerializer, responses=shapes.TlsScanSerializer)
    def post(self, request: Request) -> Response:
        values = self.body(shapes.ScanRequestSerializer)
        asked: dict[str, Any] | None = values.pop("configuration", None)
        found = services.scan_endpoint(actor=self.actor, asked=Configuration.of(asked) if asked else None, **values)
        return Response(shapes.TlsScanSerializer(found).data)


class PinsView(ActorView, APIView):
    """Pins of a chain with at least one backup, and the files that mobile programs read."""

    required_permission = Permission.TLS_VIEW

    @extend_schema(request=shapes.PinRequestSerializer, responses=shapes.PinsSerializer)
    def post(self, request: Request) -> Response:
        made = pins.make_pins(today=timezone.localdate(), **self.body(shapes.PinRequestSerializer))
        return Response(
            shapes.PinsSerializer({"pins": made, "android": pins.android(made), "ios": pins.ios(made)}).data
        )


class RecordsView(ActorView, APIView):
    """CAA records as lines of a zone file."""

    required_permission = Permission.TLS_VIEW

    @extend_schema(request=shapes.RecordsRequestSerializer, responses=shapes.FileSerializer)
    def post(self, request: Request) -> Response:
        values = self.body(shapes.RecordsRequestSerializer)
        return _file(f"{values['domain']}.zone", dns.caa_records(**values))


class ManifestsView(ActorView, APIView):
    """A ClusterIssuer and a Certificate for cert-manager."""

    required_permission = Permission.TLS_VIEW

    @extend_schema(request=shapes.ManifestRequestSerializer, responses=shapes.FileSerializer)
    def post(self, request: Request) -> Response:
        values = self.body(shapes.ManifestRequestSerializer)
        asked = manifests.Manifest(**values | {"names": tuple(values["names"])})
        return _file(f"{asked.name}.yaml", manifests.render(asked))


api_urlpatterns = [
    path("tls/configurations", ConfigurationView.as_view(), name="api-tls-configuration"),
    path("tls/scans", ScanView.as_view(), name="api-tls-scan"),
    path("tls/pins", PinsView.as_view(), name="api-tls-pins"),
    path("tls/records", RecordsView.as_view(), name="api-tls-records"),
    path("tls/manifests", ManifestsView.as_view(), name="api-tls-manifests"),
]
