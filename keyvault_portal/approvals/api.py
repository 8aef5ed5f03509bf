"""REST: requests for agreement and the decisions on them."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.api import AWAITS_AGREEMENT
from keyvault_portal.accounts.api_auth import InPerson
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices, services, signatures, signing_keys
from keyvault_portal.approvals.models import ApprovalRequest, Decision, Notice, SigningKey


class DecisionSerializer(serializers.ModelSerializer[Decision]):
    class Meta:
        model = Decision
        fields = ["person_id", "person_label", "groups", "verdict", "reason", "act_hash", "signature", "at"]
        read_only_fields = fields


class ApprovalSerializer(serializers.ModelSerializer[ApprovalRequest]):
    decisions = DecisionSerializer(many=True, read_only=True)
    act = serializers.SerializerMethodField(help_text="The canonical JSON whose SHA-256 is act_hash.")

    class Meta:
        model = ApprovalRequest
        fields = [
            "id", "operation", "title", "act", "act_hash", "params", "consequences", "target_type", "target_id", "target_label", "ring_id",
            "groups", "requester_id", "requester_label", "reason", "state", "created_at", "expires_at", "decided_at", "finished_at", "result",
            "failure_code", "failure_detail", "broken_by", "broken_because", "decisions",
        ]  # fmt: skip
        read_only_fields = fields

    def get_act(self, request: ApprovalRequest) -> str:
        return bytes(request.act).decode()


class ApproveSerializer(serializers.Serializer[dict[str, Any]]):
    act_hash = serializers.CharField(min_length=64, max_length=64)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)
    signature = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=signatures.LONGEST,
        help_text="Over the line `keyvault-portal agreement v1` and the act: an armored OpenSSH or OpenPGP signature, 64 bytes of Ed25519 in base64, "
        "or the JSON of a WebAuthn assertion whose challenge is the SHA-256 of these bytes.",
    )  # fmt: skip


class DecisionReasonSerializer(serializers.Serializer[dict[str, Any]]):
    reason = serializers.CharField(max_length=2000)


class ApprovalFilter(filters.FilterSet):
    waiting = filters.BooleanFilter(method="filter_waiting", label="Waiting for the caller")

    class Meta:
        model = ApprovalRequest
        fields = ["state", "operation", "target_type", "target_id", "requester_id"]

    def filter_waiting(self, rows: QuerySet[ApprovalRequest], name: str, value: bool) -> QuerySet[ApprovalRequest]:
        waiting = services.waiting_requests(self.request.actor).values("pk")
        return rows.filter(pk__in=waiting) if value else rows.exclude(pk__in=waiting)


class ApprovalViewSet(ReadOnlyModelViewSet[ApprovalRequest]):
    """Requests in view of the caller; decisions need a person's session with a second factor."""

    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    queryset = ApprovalRequest.objects.none()
    keyset_order = ("-created_at", "-id")
    required_permission = {
        "list": Permission.APPROVAL_VIEW,
        "retrieve": Permission.APPROVAL_VIEW,
        "approve": Permission.APPROVAL_DECIDE,
        "reject": Permission.APPROVAL_DECIDE,
        "withdraw": Permission.APPROVAL_VIEW,
        "break_glass": Permission.APPROVAL_BREAK_GLASS,
    }
    lookup_value_regex = "[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def get_queryset(self) -> QuerySet[ApprovalRequest]:
        return services.visible_requests(self.actor).prefetch_related("decisions")

    def _answer(self, pk: str) -> Response:
        return Response(ApprovalSerializer(self.get_queryset().get(pk=pk)).data)

    @extend_schema(request=ApproveSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        body = ApproveSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        services.approve(actor=self.actor, request_id=UUID(pk), **body.validated_data)
        return self._answer(pk)

    @extend_schema(request=DecisionReasonSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        services.reject(actor=self.actor, request_id=UUID(pk), reason=self._reason())
        return self._answer(pk)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        services.withdraw(actor=self.actor, request_id=UUID(pk))
        return self._answer(pk)

    @extend_schema(request=DecisionReasonSerializer)
    @action(detail=True, methods=["post"], url_path="break-glass")
    def break_glass(self, request: Request, pk: str) -> Response:
        services.break_glass(actor=self.actor, request_id=UUID(pk), reason=self._reason())
        return self._answer(pk)

    def _reason(self) -> str:
        body = DecisionReasonSerializer(data=self.request.data)
        body.is_valid(raise_exception=True)
        return str(body.validated_data["reason"])


class NoticeSerializer(serializers.ModelSerializer[Notice]):
    class Meta:
        model = Notice
        fields = ["id", "text", "detail", "path", "alarm", "created_at", "read_at"]
        read_only_fields = fields


class NoticeViewSet(ListModelMixin, GenericViewSet[Notice]):
    """What the portal told the caller."""

    serializer_class = NoticeSerializer
    filterset_fields = ["alarm"]
    keyset_order = ("-created_at", "-id")
    queryset = Notice.objects.none()
    permission_classes = [IsAuthenticated, InPerson]  # everybody's are their own

    def get_queryset(self) -> QuerySet[Notice]:
        return Notice.objects.filter(person_id=services.identity(self.request.actor))  # type: ignore[attr-defined]

    @extend_schema(request=None, responses={204: None})
    @action(detail=False, methods=["post"])
    def read(self, request: Request) -> Response:
        """Mark all of them as read."""
        notices.mark_read(services.identity(request.actor))  # type: ignore[attr-defined]
        return Response(status=status.HTTP_204_NO_CONTENT)


class SigningKeySerializer(serializers.ModelSerializer[SigningKey]):
    class Meta:
        model = SigningKey
        fields = ["id", "name", "kind", "fingerprint", "public_key", "created_at", "approval_id"]
        read_only_fields = ["id", "kind", "fingerprint", "created_at", "approval_id"]
        extra_kwargs = {
            "public_key": {
                "max_length": signing_keys.LONGEST,
                "help_text": "Given as an OpenSSH line or a PEM block of Ed25519, or an OpenPGP certificate; "
                "shown as 32 bytes in hexadecimal, or the certificate.",
            }
        }  # fmt: skip


class SigningKeyViewSet(ListModelMixin, GenericViewSet[SigningKey]):
    """The caller's own keys for signing acts offline; asking for one needs a person's session with a second factor."""

    serializer_class = SigningKeySerializer
    filterset_fields = ["kind"]
    keyset_order = ("-created_at", "-id")
    queryset = SigningKey.objects.none()
    required_permission = {"list": Permission.APPROVAL_DECIDE, "create": Permission.APPROVAL_DECIDE}
    lookup_value_regex = r"\d{1,18}"

    def get_permissions(self) -> Any:
        # One's own may always be removed, whatever one may do by now; the service knows whose it is.
        return [IsAuthenticated()] if self.action == "destroy" else super().get_permissions()

    def get_queryset(self) -> QuerySet[SigningKey]:
        return signing_keys.keys_of(services.identity(self.request.actor))  # type: ignore[attr-defined]

    @extend_schema(responses={202: AWAITS_AGREEMENT})
    def create(self, request: Request) -> Response:
        """Put a public key before a security officer; `Location` is the request to follow."""
        body = SigningKeySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        signing_keys.ask_for_key(actor=request.actor, **body.validated_data)  # type: ignore[attr-defined]

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Let a key sign nothing any more; what it signed stays signed."""
        signing_keys.remove_key(actor=request.actor, key_id=int(pk))  # type: ignore[attr-defined]
        return Response(status=status.HTTP_204_NO_CONTENT)


router_entries = [
    ("approvals", ApprovalViewSet, "approval"),
    ("notices", NoticeViewSet, "notice"),
    ("signing-keys", SigningKeyViewSet, "signing-key"),
]
