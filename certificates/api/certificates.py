"""REST: the inventory of certificates."""

import base64
import binascii
from dataclasses import asdict

from django.db.models import QuerySet, prefetch_related_objects
from django.http import HttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from certificates import scan_serializers as scan_shapes
from certificates import serializers as shapes
from certificates.api.authorities import issued
from certificates.models import Certificate
from certificates.profiles import PROFILES
from certificates.renewal import revoking as at_ca
from certificates.services import inventory, issuing, log_lists, revoking, sightings
from certificates.services.reading import chain_of, pem, search, visible_certificates
from certificates.views.certificates import handed_over
from keys.api.base import ACCEPTED, ActorView
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed
from keyvault_portal.filtering import whole_list


class CertificateFilter(filters.FilterSet):
    q = filters.CharFilter(
        method="by_text", help_text="Part of a name or a subject, or the beginning of a serial number or a fingerprint."
    )
    authority = filters.UUIDFilter(field_name="authority_id")
    profile = filters.ChoiceFilter(choices=[(row.name, row.title) for row in PROFILES.values()])
    ends_before = filters.IsoDateTimeFilter(field_name="not_after", lookup_expr="lt")

    class Meta:
        model = Certificate
        fields = ["source", "serial", "fingerprint", "spki_sha256", "key_origin"]

    def by_text(self, rows: QuerySet[Certificate], name: str, value: str) -> QuerySet[Certificate]:
        return search(rows, value)


class CertificateViewSet(ActorView, ReadOnlyModelViewSet[Certificate]):
    """Certificates of ours and those that were brought in."""

    serializer_class = shapes.CertificateSerializer
    queryset = Certificate.objects.none()
    filterset_class = CertificateFilter
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Certificate]:
        return visible_certificates(self.actor).select_related("authority", "ca_revocation")

    @extend_schema(responses=shapes.ChainSerializer)
    @action(detail=True, methods=["get"])
    def chain(self, request: Request, pk: str) -> Response:
        """The certificate and its chain in PEM."""
        row = self.get_object()
        return Response({"pem": pem(row, *chain_of(row))})

    @extend_schema(request=shapes.RenewSerializer, responses={201: shapes.CertificateSerializer})
    @action(detail=True, methods=["post"])
    def renew(self, request: Request, pk: str) -> Response:
        """Issue the same names for the new key of a request."""
        values = self.body(shapes.RenewSerializer)
        row = issuing.renew_from_csr(
            actor=self.actor, certificate_id=self.get_object().pk, raw=values["csr"], days=values["days"]
        )
        return issued(row)

    @extend_schema(request=shapes.RenewKeySerializer, responses={201: OpenApiTypes.BINARY})
    @action(detail=True, methods=["post"], url_path="renew-key")
    def renew_key(self, request: Request, pk: str) -> HttpResponse:
        """Issue the same names for a key made here, and answer with both in one encrypted file, once."""
        row, bundle = issuing.renew_with_new_key(
            actor=self.actor, certificate_id=self.get_object().pk, **self.body(shapes.RenewKeySerializer)
        )
        response = handed_over(bundle)
        response.status_code = status.HTTP_201_CREATED
        response["Location"] = f"/api/v1/certificates/{row.pk}"
        return response

    @extend_schema(request=shapes.RevokeSerializer, responses=shapes.CertificateSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """Revoke it, or put it on hold; one that came from an ACME CA is revoked there, which `ca_revocation` follows."""
        row = at_ca.revoke(actor=self.actor, certificate_id=self.get_object().pk, **self.body(shapes.RevokeSerializer))
        return Response(shapes.CertificateSerializer(row).data)

    @extend_schema(request=None, responses=shapes.CertificateSerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, pk: str) -> Response:
        """Take a hold back."""
        row = revoking.release_certificate(actor=self.actor, certificate_id=self.get_object().pk)
        return Response(shapes.CertificateSerializer(row).data)

    @extend_schema(request=shapes.RevokeManySerializer, responses={200: shapes.CountSerializer, 202: ACCEPTED})
    @action(detail=False, methods=["post"], url_path="revoke-many")
    def revoke_many(self, request: Request) -> Response:
        """Revoke everything of an owner, or everything with one key; what came from an ACME CA is revoked there, by a worker."""
        values = self.body(shapes.RevokeManySerializer)
        done = at_ca.revoke_many(actor=self.actor, ring_id=values.pop("ring"), **values)
        return Response(asdict(done))

    @extend_schema(request=shapes.CertificateUploadSerializer, responses={201: shapes.CertificateUploadedSerializer})
    @action(detail=False, methods=["post"])
    def upload(self, request: Request) -> Response:
        """Add certificates from elsewhere to the inventory of a ring."""
        values = self.body(shapes.CertificateUploadSerializer)
        ring = self.ring(values["ring"], Permission.CERTIFICATE_UPLOAD)
        done = inventory.upload(
            actor=self.actor, ring=ring, content=_content(values["content"]), password=values["password"]
        )
        prefetch_related_objects(done.rows, "ca_revocation")
        body = {
            "added": shapes.CertificateSerializer(done.rows, many=True).data,
            "known": done.known,
            "unreadable": done.unreadable,
        }
        return Response(body, status=status.HTTP_201_CREATED)

    @extend_schema(responses=scan_shapes.SightingSerializer(many=True))
    @whole_list(detail=True)
    def places(self, request: Request, pk: str) -> Response:
        """Where it stands and stood, in rings the caller may see; at most 500."""
        rows = sightings.visible_places(self.actor, self.get_object())[:500]
        return Response(scan_shapes.SightingSerializer(rows, many=True).data)

    @extend_schema(responses=scan_shapes.TransparencySerializer)
    @action(detail=True, methods=["get"])
    def transparency(self, request: Request, pk: str) -> Response:
        """The promises of logs it came with, verified, and whether browsers find them enough."""
        return Response(scan_shapes.TransparencySerializer(log_lists.transparency_of(self.get_object())).data)


def _content(text: str) -> bytes:
    if "-----BEGIN" in text:
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValidationFailed(errors={"content": ["Neither PEM nor base64."]}) from None
