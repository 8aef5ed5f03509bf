"""REST: the record, its proofs and checkpoints."""

import base64
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ReadOnlyModelViewSet

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import proofs
from keyvault_portal.audit.events import OUTCOMES
from keyvault_portal.audit.exports import FORMATS, SEARCHED, Filters, export
from keyvault_portal.audit.files import as_attachment, evidence_file
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from keyvault_portal.visible import on_rings


class EventSerializer(serializers.ModelSerializer[AuditEvent]):
    leaf = serializers.SerializerMethodField(help_text="The canonical JSON that was hashed.")
    leaf_hash = serializers.SerializerMethodField(help_text="SHA-256(0x00 | leaf), hexadecimal (RFC 9162, 2.1.1).")

    class Meta:
        model = AuditEvent
        fields = [
            "seq",
            "at",
            "actor_id",
            "actor_label",
            "action",
            "target_type",
            "target_id",
            "ring_id",
            "outcome",
            "leaf",
            "leaf_hash",
        ]
        read_only_fields = fields

    def get_leaf(self, event: AuditEvent) -> str:
        return bytes(event.leaf).decode()

    def get_leaf_hash(self, event: AuditEvent) -> str:
        return bytes(event.leaf_hash).hex()


class CheckpointSerializer(serializers.ModelSerializer[AuditCheckpoint]):
    class Meta:
        model = AuditCheckpoint
        fields = ["tree_size", "at", "note"]
        read_only_fields = fields


class EventFilter(filters.FilterSet):
    since = filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")
    outcome = filters.ChoiceFilter(choices=[(outcome, outcome) for outcome in OUTCOMES])
    q = filters.CharFilter(
        method="by_text",
        max_length=200,
        help_text=f"Text anywhere in the event, in the newest {SEARCHED:,} events or wherever `since` and `until` say.",
    )

    class Meta:
        model = AuditEvent
        fields = ["actor_id", "action", "target_type", "target_id", "ring_id"]

    def by_text(self, events: QuerySet[AuditEvent], name: str, value: str) -> QuerySet[AuditEvent]:
        times = self.form.cleaned_data
        chosen = Filters(text=value, since=times["since"], until=times["until"])
        size = AuditHead.objects.values_list("size", flat=True).get()
        return (events & chosen.queryset()).filter(seq__gte=chosen.searched_from(size))


class ProofSerializer(serializers.Serializer[dict[str, Any]]):
    leaf_index = serializers.IntegerField()
    tree_size = serializers.IntegerField()
    leaf_hash = serializers.CharField(help_text="Base64.")
    inclusion_path = serializers.ListField(child=serializers.CharField(), help_text="Base64 (RFC 9162, 2.1.3).")


class ConsistencySerializer(serializers.Serializer[dict[str, Any]]):
    older = serializers.IntegerField()
    newer = serializers.IntegerField()
    consistency_path = serializers.ListField(child=serializers.CharField(), help_text="Base64 (RFC 9162, 2.1.4).")


class ExportSerializer(serializers.Serializer[dict[str, Any]]):
    """Which events, and as what; empty values do not restrict."""

    format = serializers.ChoiceField(choices=sorted(FORMATS))
    actor = serializers.CharField(required=False, max_length=200)
    action = serializers.CharField(required=False, max_length=100)
    outcome = serializers.ChoiceField(required=False, choices=OUTCOMES)
    target_type = serializers.CharField(required=False, max_length=100)
    target_id = serializers.CharField(required=False, max_length=200)
    ring = serializers.UUIDField(required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    text = serializers.CharField(required=False, max_length=200)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A name that restricts nothing would export more than was meant."""
        if unknown := self.initial_data.keys() - self.fields.keys():
            raise serializers.ValidationError({name[:100]: ["There is no such field."] for name in sorted(unknown)})
        return attrs


class EventViewSet(ReadOnlyModelViewSet[AuditEvent]):
    """Audit events on the rings of the caller, newest first."""

    serializer_class = EventSerializer
    filterset_class = EventFilter
    queryset = AuditEvent.objects.none()
    keyset_order = ("-seq",)
    required_permission = Permission.AUDIT_VIEW
    lookup_value_regex = r"\d{1,18}"

    @property
    def actor(self) -> Actor:
        return self.request.actor  # type: ignore[attr-defined, no-any-return]

    def get_queryset(self) -> QuerySet[AuditEvent]:
        return on_rings(AuditEvent.objects.all(), self.actor.ring_ids(Permission.AUDIT_VIEW))

    @extend_schema(responses=ProofSerializer)
    @action(detail=True, methods=["get"])
    def proof(self, request: Request, pk: str) -> Response:
        """The inclusion proof of this event in the newest tree."""
        event = self.get_object()
        size = AuditCheckpoint.objects.order_by("-tree_size").values_list("tree_size", flat=True)[0]
        proof = proofs.inclusion(event.seq, size)
        return Response(
            {
                "leaf_index": proof.seq,
                "tree_size": proof.size,
                "leaf_hash": base64.b64encode(proof.leaf_hash).decode(),
                "inclusion_path": [base64.b64encode(node).decode() for node in proof.path],
            }
        )


class CheckpointViewSet(ReadOnlyModelViewSet[AuditCheckpoint]):
    """Signed checkpoints of the whole record (C2SP tlog-checkpoint), newest first."""

    serializer_class = CheckpointSerializer
    queryset = AuditCheckpoint.objects.all()
    keyset_order = ("-tree_size",)
    required_permission = Permission.AUDIT_VIEW
    lookup_value_regex = r"\d{1,18}"

    @extend_schema(
        responses=ConsistencySerializer,
        parameters=[OpenApiParameter("newer", int, OpenApiParameter.PATH, description="Size of the newer tree.")],
    )
    @action(detail=True, methods=["get"], url_path=r"consistency/(?P<newer>\d{1,18})")
    def consistency(self, request: Request, pk: str, newer: str) -> Response:
        """The proof that the tree of size `newer` only appended to this one."""
        path = proofs.consistency(int(pk), int(newer)).path
        return Response(
            {
                "older": int(pk),
                "newer": int(newer),
                "consistency_path": [base64.b64encode(node).decode() for node in path],
            }
        )


class ExportViewSet(GenericViewSet[AuditEvent]):
    """The record as a file: events as JSON Lines or CSV, or all of it with its proofs as an evidence pack."""

    serializer_class = ExportSerializer  # type: ignore[assignment]
    required_permission = Permission.AUDIT_EXPORT
    pagination_class = None
    filter_backends = []

    @extend_schema(request=ExportSerializer, responses={(200, "application/jsonl"): bytes, (200, "text/csv"): bytes})
    def create(self, request: Request) -> HttpResponseBase:
        """Stream the events that match and that the caller may see."""
        body = ExportSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = dict(body.validated_data)
        kind, actor = values.pop("format"), request.actor  # type: ignore[attr-defined]
        chosen = Filters(**values, rings=actor.ring_ids(Permission.AUDIT_EXPORT))
        stream = StreamingHttpResponse(export(actor, kind, chosen), content_type=FORMATS[kind])
        return as_attachment(stream, f"audit-{timezone.now():%Y%m%dT%H%M%SZ}.{kind}")

    @extend_schema(request=None, responses={(200, "application/zip"): bytes})
    @action(detail=False, methods=["post"])
    def evidence(self, request: Request) -> HttpResponseBase:
        """The whole record as an evidence pack, for those who may export all of it."""
        return evidence_file(request.actor)  # type: ignore[attr-defined]


router_entries = [
    ("audit-events", EventViewSet, "audit-event"),
    ("checkpoints", CheckpointViewSet, "checkpoint"),
    ("audit-exports", ExportViewSet, "audit-export"),
]
