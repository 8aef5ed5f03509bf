"""REST: authorities and issuing."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from certificates import serializers as shapes
from certificates.models import Authority
from certificates.services import authorities, bringing, crls, issuing, revoking
from certificates.services.authorities import Plan
from certificates.services.reading import visible_authorities
from certificates.views.certificates import handed_over
from keys.api.base import ACCEPTED, ActorView
from keys.crypto.secret import SecretBytes
from keys.models import Key
from keys.serializers import ReasonSerializer
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import ValidationFailed


class AuthorityViewSet(ActorView, ReadOnlyModelViewSet[Authority]):
    """Certification authorities; private keys are keys of the hierarchy and never leave it."""

    serializer_class = shapes.AuthoritySerializer
    queryset = Authority.objects.none()
    filterset_fields = ["kind", "state", "name"]
    keyset_order = ("name", "id")
    required_permission = Permission.CERTIFICATE_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

    def get_queryset(self) -> QuerySet[Authority]:
        return visible_authorities(self.actor).select_related("key")

    def _plan(self, values: dict[str, Any]) -> Plan:
        ring = self.ring(values.pop("ring"), Permission.AUTHORITY_MANAGE)
        key, parent = values.pop("key"), values.pop("parent")
        names = {name: list(value) if isinstance(value, list) else value for name, value in values.pop("names").items()}
        return Plan(
            ring_id=str(ring.pk), key_id=str(key), parent_id=str(parent) if parent else None, names=names, **values
        )

    def _made(self, row: Authority) -> Response:
        return self.created(shapes.AuthoritySerializer, row, "authorities")

    @extend_schema(request=shapes.PlanSerializer, responses={201: shapes.AuthoritySerializer, 202: ACCEPTED})
    def create(self, request: Request) -> Response:
        values = self.body(shapes.PlanSerializer)
        reason = values.pop("reason")
        return self._made(authorities.create_authority(actor=self.actor, plan=self._plan(values), reason=reason))

    @extend_schema(request=shapes.ImportSerializer, responses={201: shapes.AuthoritySerializer, 202: ACCEPTED})
    @action(detail=False, methods=["post"], url_path="import", url_name="import")
    def bring(self, request: Request) -> Response:
        """Take in a CA that exists, over a key that is in the hierarchy."""
        values = self.body(shapes.ImportSerializer)
        reason, certificate = values.pop("reason"), values.pop("certificate")
        plan = self._plan(values)
        return self._made(
            bringing.import_authority(actor=self.actor, plan=plan, certificate=certificate, reason=reason)
        )

    @extend_schema(request=shapes.CaKeyImportSerializer, responses={201: shapes.ImportedKeySerializer})
    @action(detail=False, methods=["post"], url_path="import-key", url_name="import-key")
    def import_key(self, request: Request) -> Response:
        """Keep the private key of a CA that exists as a key of the hierarchy; its certificate is imported next."""
        values = self.body(shapes.CaKeyImportSerializer)
        ring = self.ring(values["ring"], Permission.AUTHORITY_MANAGE)
        above = Key.objects.filter(pk=values["above"], ring=ring).first()
        if above is None:
            raise ValidationFailed(errors={"above": ["There is no such key in this ring."]})
        password = values["password"]
        key = bringing.import_key(
            actor=self.actor, ring=ring, name=values["name"], title=values["title"], parent=above,
            pem=SecretBytes(values["private_key"].encode()), password=SecretBytes(password.encode()) if password else None,
        )  # fmt: skip
        headers = {"Location": f"/api/v1/keys/{key.pk}"}
        return Response(
            {"key": str(key.pk), "algorithm": key.algorithm}, status=status.HTTP_201_CREATED, headers=headers
        )

    @extend_schema(request=shapes.CrossSignSerializer, responses={201: shapes.GrantSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"], url_path="cross-sign")
    def cross_sign(self, request: Request, pk: str) -> Response:
        """Certify the name and key of another CA."""
        grant = bringing.cross_sign(
            actor=self.actor, authority_id=self.get_object().pk, **self.body(shapes.CrossSignSerializer)
        )
        return Response({"grant": str(grant.pk), "serial": grant.serial}, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReasonSerializer, responses=shapes.AuthoritySerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Issue nothing more; status goes on."""
        row = authorities.retire_authority(
            actor=self.actor, authority_id=self.get_object().pk, **self.body(ReasonSerializer)
        )
        return Response(shapes.AuthoritySerializer(row).data)

    @extend_schema(request=ReasonSerializer, responses=shapes.AuthoritySerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Issue again."""
        row = authorities.resume_authority(
            actor=self.actor, authority_id=self.get_object().pk, **self.body(ReasonSerializer)
        )
        return Response(shapes.AuthoritySerializer(row).data)

    @extend_schema(request=ReasonSerializer, responses={200: shapes.AuthoritySerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, pk: str) -> Response:
        """End it, everything below it and every certificate of theirs: its key is in other hands."""
        note = self.body(ReasonSerializer)["reason"]
        row = revoking.revoke_authority(actor=self.actor, authority_id=self.get_object().pk, note=note)
        return Response(shapes.AuthoritySerializer(row).data)

    @extend_schema(request=None, responses=shapes.CrlSerializer(many=True))
    @action(detail=True, methods=["post"], pagination_class=None, filterset_fields=[])
    def crl(self, request: Request, pk: str) -> Response:
        """Sign a new CRL now."""
        lists = crls.request_publication(actor=self.actor, authority_id=self.get_object().pk)
        return Response(shapes.CrlSerializer(lists, many=True).data)

    @extend_schema(request=shapes.CsrSerializer, responses={201: shapes.CertificateSerializer, 202: ACCEPTED})
    @action(detail=True, methods=["post"])
    def issue(self, request: Request, pk: str) -> Response:
        """Issue for a certification request; names given here replace those of the request."""
        values = self.body(shapes.CsrSerializer)
        reason = values.pop("reason")
        order = issuing.order_from_csr(values.pop("csr"), owner_id=values.pop("owner"), **_named(values))
        row = issuing.issue_certificate(actor=self.actor, authority_id=self.get_object().pk, order=order, reason=reason)
        return issued(row)

    @extend_schema(request=shapes.NewKeySerializer, responses={201: OpenApiTypes.BINARY})
    @action(detail=True, methods=["post"], url_path="issue-key")
    def issue_key(self, request: Request, pk: str) -> HttpResponse:
        """Make a key, certify it and answer with both in one encrypted file, once."""
        values = self.body(shapes.NewKeySerializer)
        row, bundle = issuing.issue_with_new_key(
            actor=self.actor, authority_id=self.get_object().pk, owner_id=values.pop("owner"), **_named(values)
        )
        response = handed_over(bundle)
        response.status_code = status.HTTP_201_CREATED
        response["Location"] = f"/api/v1/certificates/{row.pk}"
        return response

    @extend_schema(request=shapes.KeyCertificateSerializer, responses={201: shapes.CertificateSerializer})
    @action(detail=True, methods=["post"], url_path="issue-for-key")
    def issue_for_key(self, request: Request, pk: str) -> Response:
        """Certify a transport key of the hierarchy; its private half stays where it is."""
        values = self.body(shapes.KeyCertificateSerializer)
        values.pop("owner")
        row = issuing.issue_for_key(
            actor=self.actor, authority_id=self.get_object().pk, key_id=values.pop("key"), **_named(values)
        )
        return issued(row)


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"names": [(name["kind"], name["value"]) for name in values["names"]]}


def issued(row: Any) -> Response:
    """The answer to an issuance."""
    headers = {"Location": f"/api/v1/certificates/{row.pk}"}
    return Response(shapes.CertificateSerializer(row).data, status=status.HTTP_201_CREATED, headers=headers)
