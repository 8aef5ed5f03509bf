"""Shapes of the management API; what may be written is checked again by the services."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from keys.models import CensusCount, DataStore, FailedItem, Key, KeyPolicy, KeyVersion, ReEncryptionJob, Rotation
from keys.models.keys import KEY_KINDS
from keys.services import budget, lifecycle, reencryption
from keys.services.rotation.frame import MOST_ITEMS_A_SECOND


class UseBudgetSerializer(serializers.Serializer[Any]):
    reserved = serializers.IntegerField(source="used", help_text="An upper bound: processes reserve uses in blocks.")
    limit = serializers.IntegerField(allow_null=True, help_text="Null where uses do not wear the key out.")
    due_uses = serializers.IntegerField(
        allow_null=True, help_text="From how many uses on the policy asks for a rotation."
    )
    due = serializers.BooleanField(help_text="Whether it is the version in use and has reached them.")
    exhausted = serializers.BooleanField(
        help_text="Whether it protects nothing more, because all its uses are reserved."
    )


class VersionSerializer(serializers.ModelSerializer[KeyVersion]):
    budget = serializers.SerializerMethodField()

    class Meta:
        model = KeyVersion
        fields = [
            "key_id", "key_version", "kms_key_arn", "provider", "status", "created_at", "activated_at", "rotated_at", "expires_at", "re_encrypt_done",
            "uses_reserved", "budget", "last_used_at", "last_used_by", "compromised_at", "compromise_reason", "deletion_due_at", "deletion_halted_at",
            "deletion_halted_by", "destroyed_at", "generated_here", "never_extractable", "exported_at",
        ]  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(UseBudgetSerializer)
    def get_budget(self, version: KeyVersion) -> dict[str, Any]:
        return UseBudgetSerializer(budget.status(version)).data


class PolicySerializer(serializers.ModelSerializer[KeyPolicy]):
    class Meta:
        model = KeyPolicy
        exclude = ["key"]
        read_only_fields = ["version", "updated_at"]


class PolicyChangeSerializer(PolicySerializer):
    reason = serializers.CharField(
        required=False, write_only=True, max_length=2000, help_text="Needed when the change guards the key less."
    )


class KeySerializer(serializers.ModelSerializer[Key]):
    current = VersionSerializer(read_only=True)
    ring: "serializers.SlugRelatedField[Any]" = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = Key
        fields = [
            "id", "ring", "ring_id", "name", "title", "purpose", "kind", "algorithm", "parent_id", "provider", "exportable", "current",
            "next_rotation_at", "labels", "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields

    def to_representation(self, key: Key) -> dict[str, Any]:
        if key.current is not None:
            key.current.key = key  # as it was read, so that the version asks for nothing of it again
        return super().to_representation(key)


class KeyCreateSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.SlugField(max_length=100)
    title = serializers.CharField(max_length=150)
    kind = serializers.ChoiceField(choices=KEY_KINDS)
    algorithm = serializers.CharField(max_length=50, default="AES-256-GCM")
    parent: "serializers.Field[Any, Any, Any, Any]" = serializers.UUIDField(  # type: ignore[assignment]
        required=False, allow_null=True, default=None
    )
    provider = serializers.SlugField(max_length=63, default="local", help_text="The alias of the provider it lives at.")
    purpose = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)
    exportable = serializers.BooleanField(default=False, help_text="Now or never; it can be withdrawn later.")
    cryptoperiod_days = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=3650
    )


class ReasonSerializer(serializers.Serializer[dict[str, Any]]):
    reason = serializers.CharField(max_length=2000)


class GiveUpSerializer(ReasonSerializer):
    items = serializers.IntegerField(min_value=1, help_text="How many wait for a decision, as you saw them.")


class CompromiseSerializer(serializers.Serializer[dict[str, Any]]):
    reason_code = serializers.ChoiceField(
        choices=[
            "key_compromise",
            "ca_compromise",
            "affiliation_changed",
            "superseded",
            "cessation_of_operation",
            "privilege_withdrawn",
        ]
    )
    occurred_at = serializers.DateTimeField()
    note = serializers.CharField(max_length=2000)


class WalkSerializer(ReasonSerializer):
    rate_limit = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=MOST_ITEMS_A_SECOND
    )


class RotateSerializer(WalkSerializer):
    key_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=2**31 - 1,
        help_text="The version to rotate from, as you saw it in use. Where another is by now, the answer is 409.",
    )  # fmt: skip


class ThrottleSerializer(serializers.Serializer[dict[str, Any]]):
    rate_limit = serializers.IntegerField(allow_null=True, min_value=1, max_value=MOST_ITEMS_A_SECOND)


class JobSerializer(serializers.ModelSerializer[ReEncryptionJob]):
    rate = serializers.SerializerMethodField(
        help_text="Items a second while it worked, without pauses and waits, or its limit where that is lower."
    )
    seconds_left = serializers.SerializerMethodField()

    class Meta:
        model = ReEncryptionJob
        fields = [
            "id", "store_id", "mode", "state", "items_total", "items_done", "items_failed", "items_gone", "items_changed_meanwhile",
            "provider_calls", "rate_limit", "passes", "rate", "seconds_left", "created_at", "started_at", "heartbeat_at", "finished_at", "last_error",
        ]  # fmt: skip
        read_only_fields = fields
        extra_kwargs = {
            "items_done": {"help_text": "Moved at least: what a worker that died had not written down is not in it."},
            "items_gone": {
                "help_text": "Of a job that is done: counted on the old version, there no more, and not written down as moved."
            },
        }

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_rate(self, job: ReEncryptionJob) -> float | None:
        return reencryption.progress(job).rate

    @extend_schema_field(serializers.FloatField(allow_null=True))
    def get_seconds_left(self, job: ReEncryptionJob) -> float | None:
        left = reencryption.progress(job).eta
        return None if left is None else float(left)


class RotationSerializer(serializers.ModelSerializer[Rotation]):
    old_version = serializers.IntegerField(source="old_version.key_version", read_only=True)
    new_version = serializers.IntegerField(
        source="new_version.key_version", read_only=True, default=None, allow_null=True
    )
    jobs = JobSerializer(many=True, read_only=True)

    class Meta:
        model = Rotation
        fields = [
            "id", "key_id", "old_version", "new_version", "trigger", "reason", "state", "approval_id", "decommission_approval_id",
            "requested_by", "created_at", "introduced_at", "re_encrypted_at", "decommissioned_at", "completed_at", "sample_checked", "last_error",
            "jobs",
        ]  # fmt: skip
        read_only_fields = fields


class FailedItemSerializer(serializers.ModelSerializer[FailedItem]):
    class Meta:
        model = FailedItem
        fields = [
            "id",
            "store_id",
            "item",
            "column",
            "reason",
            "seen_at",
            "resolution",
            "resolved_at",
            "resolved_by",
            "resolution_note",
        ]
        read_only_fields = fields


class StoreSerializer(serializers.ModelSerializer[DataStore]):
    context_template = serializers.DictField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = DataStore
        fields = [
            "id", "ring_id", "key_id", "name", "title", "kind", "format", "schema_name", "table_name", "primary_key", "columns",
            "context_template", "rate_limit", "last_error", "census_at", "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class StoreCreateSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    key = serializers.UUIDField()
    name = serializers.SlugField(max_length=100)
    title = serializers.CharField(max_length=150)
    dsn = serializers.CharField(max_length=500, write_only=True)
    schema_name = serializers.CharField(max_length=63, default="public")
    table_name = serializers.CharField(max_length=63)
    primary_key = serializers.CharField(max_length=63, default="id")
    columns = serializers.ListField(child=serializers.CharField(max_length=63), min_length=1, max_length=20)
    format = serializers.ChoiceField(choices=DataStore.Format.values, default=DataStore.Format.COMPACT)
    context_template = serializers.DictField(child=serializers.CharField(max_length=200), default=dict)
    rate_limit = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=MOST_ITEMS_A_SECOND
    )


class CensusSerializer(serializers.ModelSerializer[CensusCount]):
    key_id = serializers.UUIDField(source="version.key_id", read_only=True, default=None, allow_null=True)
    key_version = serializers.IntegerField(source="version.key_version", read_only=True, default=None, allow_null=True)

    class Meta:
        model = CensusCount
        fields = ["store_id", "column", "key_id", "key_version", "items", "counted_at"]
        read_only_fields = fields


class KeyEditSerializer(serializers.Serializer[dict[str, Any]]):
    title = serializers.CharField(required=False, max_length=150)
    purpose = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    labels = serializers.DictField(required=False, child=serializers.CharField(max_length=200))


class DeletionSerializer(ReasonSerializer):
    grace_days = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        min_value=1,
        max_value=3650,
        help_text="Without it the policy's own.",
    )
    accept_loss = serializers.BooleanField(
        default=False, help_text="Delete it although things known to stand on it become unreadable."
    )


class VersionDetailSerializer(VersionSerializer):
    consequences = serializers.SerializerMethodField(help_text="What destroying it would lose, as sentences.")

    class Meta(VersionSerializer.Meta):
        fields = [*VersionSerializer.Meta.fields, "consequences"]
        read_only_fields = fields

    def get_consequences(self, version: KeyVersion) -> list[str]:
        return lifecycle.consequences(version)


class VersionPageSerializer(serializers.Serializer[dict[str, Any]]):
    results = VersionSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class FailedItemPageSerializer(serializers.Serializer[dict[str, Any]]):
    results = FailedItemSerializer(many=True)
    next_cursor = serializers.CharField(allow_null=True)


class BudgetSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField(help_text="An upper bound: processes reserve uses in blocks.")
    limit = serializers.IntegerField(allow_null=True)
    share = serializers.FloatField(help_text="In per cent.")
    due = serializers.BooleanField(help_text="Whether the policy asks for a rotation by now.")
    due_at = serializers.DateTimeField(allow_null=True)
    exhausted_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField()


class EstimatePartSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]
    items = serializers.IntegerField()
    provider_calls = serializers.IntegerField()
    seconds = serializers.FloatField()


class EstimateSerializer(serializers.Serializer[Any]):
    items = serializers.IntegerField()
    provider_calls = serializers.IntegerField()
    seconds = serializers.FloatField()
    parts = EstimatePartSerializer(many=True)


class ConsequencesSerializer(serializers.Serializer[dict[str, Any]]):
    consequences = serializers.ListField(child=serializers.CharField())


class ReportLineSerializer(serializers.Serializer[Any]):
    column = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    items = serializers.IntegerField()


class ReportSerializer(serializers.Serializer[Any]):
    items = serializers.IntegerField(help_text="Cells of the sample that were opened.")
    summary = serializers.CharField()
    counts = ReportLineSerializer(many=True)


class SealSerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.UUIDField(help_text="A data key that serves nothing else.")


class CountingSerializer(serializers.Serializer[dict[str, Any]]):
    store_id = serializers.UUIDField()
