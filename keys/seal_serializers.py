"""Shapes of the management API for the seals of the root; nothing of a root or a share is among them."""

from typing import Any

from rest_framework import serializers

from keys.models import RootSeal


class RootSealSerializer(serializers.ModelSerializer[RootSeal]):
    key_id = serializers.UUIDField(read_only=True, allow_null=True)
    key_version = serializers.IntegerField(source="version.key_version", read_only=True, default=None, allow_null=True)

    class Meta:
        model = RootSeal
        fields = [
            "id", "kind", "name", "state", "provider", "key_id", "key_version", "threshold", "shares", "created_at", "created_by",
            "wrapped_at", "checked_at", "last_error", "retired_at", "retired_by",
        ]  # fmt: skip
        read_only_fields = fields


class ProviderSealSerializer(serializers.Serializer[dict[str, Any]]):
    name = serializers.CharField(max_length=150)
    key = serializers.UUIDField(help_text="A master key in use that lives at a provider with an ambient identity.")
    reason = serializers.CharField(max_length=2000, help_text="The officers who agree read it.")


class KeyholderSerializer(serializers.Serializer[Any]):
    machine = serializers.CharField()
    state = serializers.ChoiceField(choices=["sealed", "unsealed", "silent"])
    since = serializers.DateTimeField(help_text="When it was sealed or opened.")
    seen_at = serializers.DateTimeField()
    detail = serializers.CharField(help_text="Why it does not open by itself.")
