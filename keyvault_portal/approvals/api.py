"""REST: requests for agreement and the decisions on them."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services
from keyvault_portal.approvals.models import ApprovalRequest, Decision


class DecisionSerializer(serializers.ModelSerializer[Decision]):
    class Meta:
        model = Decision
        fields = ["person_id", "person_label", "roles", "verdict", "reason", "act_hash", "at"]
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


class ReasonSerializer(serializers.Serializer[dict[str, Any]]):
    reason = serializers.CharField(max_length=2000)


class ApprovalViewSet(ReadOnlyModelViewSet[ApprovalRequest]):
    """Requests in view of the caller; decisions need a person's session with a second factor."""

    serializer_class = ApprovalSerializer
    filterset_fields = ["state", "operation", "target_type", "target_id", "requester_id"]
    keyset_order = ("-created_at", "-id")
    required_permission = Permission.APPROVAL_VIEW
    lookup_value_regex = "[0-9a-f-]{36}"

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

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        services.reject(actor=self.actor, request_id=UUID(pk), reason=self._reason())
        return self._answer(pk)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, pk: str) -> Response:
        services.withdraw(actor=self.actor, request_id=UUID(pk))
        return self._answer(pk)

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"], url_path="break-glass")
    def break_glass(self, request: Request, pk: str) -> Response:
        services.break_glass(actor=self.actor, request_id=UUID(pk), reason=self._reason())
        return self._answer(pk)

    def _reason(self) -> str:
        body = ReasonSerializer(data=self.request.data)
        body.is_valid(raise_exception=True)
        return str(body.validated_data["reason"])


router_entries = [("approvals", ApprovalViewSet, "approval")]
