"""Shapes of the REST API of rollovers; what may be written is checked again by the services."""

from typing import Any

from rest_framework import serializers

from certificates.models import RelyingParty, Rollover
from certificates.rollover.states import RolloverState


class RolloverSerializer(serializers.ModelSerializer[Rollover]):
    class Meta:
        model = Rollover
        fields = [
            "id", "ring_id", "old_id", "new_id", "state", "trust_both_at", "issue_b_at", "trust_b_at", "cancelled_at", "forced", "reason",
            "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class NewRolloverSerializer(serializers.Serializer[dict[str, Any]]):
    old = serializers.UUIDField(help_text="The authority that goes.")
    new = serializers.UUIDField(help_text="The authority that takes its place.")
    reason = serializers.CharField(max_length=2000)


class StepSerializer(serializers.Serializer[dict[str, Any]]):
    to = serializers.ChoiceField([state.value for state in RolloverState if state is not RolloverState.TRUST_A])
    reason = serializers.CharField(max_length=2000)
    force = serializers.BooleanField(default=False, help_text="Although the gate is not met; others have to agree.")


class GateSerializer(serializers.Serializer[Any]):
    to = serializers.CharField(allow_null=True, help_text="The next state; null at the end.")
    met = serializers.BooleanField()
    faults = serializers.ListField(child=serializers.CharField())
    facts = serializers.ListField(child=serializers.CharField())


class BundleSerializer(serializers.Serializer[dict[str, Any]]):
    pem = serializers.CharField(help_text="What relying parties are to trust at this step.")
    fingerprints = serializers.ListField(child=serializers.CharField())


class PartySerializer(serializers.ModelSerializer[RelyingParty]):
    class Meta:
        model = RelyingParty
        fields = ["id", "ring_id", "name", "fingerprints", "reported_at", "reported_by"]
        read_only_fields = fields


class TrustReportSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.CharField(max_length=100, help_text="How the relying party is called, the same each time.")
    fingerprints = serializers.ListField(
        child=serializers.CharField(max_length=100), max_length=1000, help_text="SHA-256 of each certificate in its bundle."
    )  # fmt: skip
