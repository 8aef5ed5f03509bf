"""Shapes of the management API for key providers; secrets go in and never come out."""

from typing import Any

from rest_framework import serializers

from keys.models import KeyProvider, ProviderFinding, ProviderIntent, ProviderRegion
from keys.models.keys import KEY_KINDS
from keys.services.providers import breaker, findings


class ProviderSerializer(serializers.ModelSerializer[KeyProvider]):
    has_sealed_settings = serializers.SerializerMethodField(help_text="Whether credentials are sealed here.")

    class Meta:
        model = KeyProvider
        fields = [
            "alias", "kind", "title", "settings", "has_sealed_settings", "region", "state", "calls_per_second", "created_at", "created_by",
            "last_check_at", "last_check_ms", "last_identity", "last_error", "compared_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_has_sealed_settings(self, row: KeyProvider) -> bool:
        return row.sealed_settings_id is not None


class ProviderEditSerializer(serializers.Serializer[dict[str, Any]]):
    title = serializers.CharField(max_length=150)
    values = serializers.DictField(
        child=serializers.CharField(max_length=10_000, allow_blank=True),
        write_only=True,
        help_text="What the kind declares; a secret that is left out stays what it is.",
    )
    calls_per_second = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1)


class ProviderCreateSerializer(ProviderEditSerializer):
    kind = serializers.SlugField(max_length=30)
    alias = serializers.SlugField(max_length=63)


class KindSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.CharField()
    title = serializers.CharField()
    missing = serializers.CharField(help_text="Why it cannot be used here; empty if it can.")


class TestReportSerializer(serializers.Serializer[Any]):
    milliseconds = serializers.IntegerField()
    identity = serializers.CharField(help_text="Whom the provider takes the portal for.")
    detail = serializers.CharField()
    budget = serializers.IntegerField(allow_null=True, help_text="Calls a second of background work.")
    quota = serializers.CharField(help_text="The provider's published limits.")


class ComplaintSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    operation = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class RegionSerializer(serializers.ModelSerializer[ProviderRegion]):
    class Meta:
        model = ProviderRegion
        fields = ["name", "primary", "milliseconds", "error", "seen_at"]
        read_only_fields = fields


class DataKeyCacheSerializer(serializers.Serializer[Any]):
    messages = serializers.IntegerField(help_text="Envelopes sealed or opened in the last hour.")
    calls = serializers.IntegerField(help_text="Calls of the provider for them.")
    saved = serializers.IntegerField(help_text="Calls that were not made.")
    hit_rate = serializers.FloatField(allow_null=True, help_text="Percent of the messages that needed no call.")
    kept = serializers.IntegerField(help_text="Data keys kept now, over all processes.")
    oldest_seconds = serializers.IntegerField(help_text="The age of the oldest of them.")


class HealthSerializer(serializers.Serializer[Any]):
    circuit = serializers.ChoiceField(choices=[circuit.value for circuit in breaker.Circuit])
    calls = serializers.IntegerField(help_text="In the last hour.")
    failures = serializers.IntegerField(help_text="Of those.")
    p50_ms = serializers.IntegerField(allow_null=True)
    p95_ms = serializers.IntegerField(allow_null=True)
    p99_ms = serializers.IntegerField(allow_null=True)
    budget = serializers.IntegerField(allow_null=True, help_text="Calls a second of background work.")
    complaints = ComplaintSerializer(many=True)
    on_replica = serializers.BooleanField(help_text="The first region does not answer, and a replica serves.")
    data_keys = DataKeyCacheSerializer()
    regions = RegionSerializer(many=True, help_text="Empty where there is only one.")


class ChangeSerializer(serializers.Serializer[Any]):
    place = serializers.CharField()
    accepted = serializers.CharField(help_text="Empty: nothing was there.")
    there = serializers.CharField(help_text="Empty: nothing is there.")


class AcceptanceSerializer(serializers.Serializer[dict[str, Any]]):
    seen = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="The `sha256` of the difference that was looked at.")
    reason = serializers.CharField(max_length=2000)


class DifferenceSerializer(serializers.ModelSerializer[ProviderFinding]):
    key_id = serializers.UUIDField(source="version.key_id", read_only=True, default=None, allow_null=True)
    key_version = serializers.IntegerField(source="version.key_version", read_only=True, default=None, allow_null=True)
    can_mend = serializers.SerializerMethodField()
    can_accept = serializers.SerializerMethodField()
    region = serializers.CharField(
        source="facts.region",
        read_only=True,
        default="",
        help_text="Of the copy that differs; empty for the key itself.",
    )
    sha256 = serializers.CharField(
        source="facts.sha256",
        read_only=True,
        default="",
        help_text="Of the policy, attributes and tags, or of the rotation, that is there.",
    )
    changes = ChangeSerializer(source="facts.changes", many=True, read_only=True, default=list)

    class Meta:
        model = ProviderFinding
        fields = [
            "id", "kind", "opaque", "key_id", "key_version", "detail", "state", "can_mend", "can_accept", "region", "sha256", "changes",
            "first_seen_at", "last_seen_at", "decided_at", "decided_by", "reason",
        ]  # fmt: skip
        read_only_fields = fields

    def get_can_mend(self, finding: ProviderFinding) -> bool:
        return findings.can_mend(finding)

    def get_can_accept(self, finding: ProviderFinding) -> bool:
        return findings.can_accept(finding)


class DifferencePageSerializer(serializers.Serializer[dict[str, Any]]):
    results = DifferenceSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class AdoptionSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.SlugField(max_length=100)
    title = serializers.CharField(max_length=150)
    kind = serializers.ChoiceField(choices=KEY_KINDS)
    parent: "serializers.Field[Any, Any, Any, Any]" = serializers.UUIDField(  # type: ignore[assignment]
        required=False, allow_null=True, default=None
    )
    purpose = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class WorkSerializer(serializers.ModelSerializer[ProviderIntent]):
    key_id = serializers.UUIDField(source="version.key_id", read_only=True)
    key_version = serializers.IntegerField(source="version.key_version", read_only=True)
    provider = serializers.CharField(source="version.provider", read_only=True)

    class Meta:
        model = ProviderIntent
        fields = [
            "id", "key_id", "key_version", "provider", "act", "state", "attempts", "next_try_at", "last_error", "requested_by",
            "created_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields
