"""Shapes of the management API for moves of keys."""

from typing import Any

from rest_framework import serializers

from keys.models import Move
from keys.serializers import JobSerializer, WalkSerializer


class MoveRequestSerializer(WalkSerializer):
    target = serializers.SlugField(max_length=63, help_text="The alias of the provider it goes to.")
    with_material = serializers.BooleanField(
        default=False, help_text="Take the material along, where `move-offers` says that it can go."
    )


class MoveSerializer(serializers.ModelSerializer[Move]):
    old_version = serializers.IntegerField(source="old_version.key_version", read_only=True)
    new_version = serializers.IntegerField(source="new_version.key_version", read_only=True)
    jobs = JobSerializer(source="rotation.jobs", many=True, read_only=True, default=list)

    class Meta:
        model = Move
        fields = [
            "id", "key_id", "source", "target", "with_material", "old_version", "new_version", "rotation_id", "state", "held_from",
            "reason", "undo_reason", "rate_limit", "approval_id", "requested_by", "created_at", "made_at", "wrapped_at", "compared",
            "compared_at", "switched_at", "re_wrapped_at", "ended_at", "next_try_at", "last_error", "jobs",
        ]  # fmt: skip
        read_only_fields = fields


class OfferSerializer(serializers.Serializer[Any]):
    alias = serializers.CharField()
    title = serializers.CharField()
    possible = serializers.BooleanField()
    with_material = serializers.BooleanField(help_text="Whether the material itself can go along.")
    words = serializers.CharField(help_text="What can go there and how, or why nothing can.")


class OffersSerializer(serializers.Serializer[dict[str, Any]]):
    offers = OfferSerializer(many=True)


class MovePartSerializer(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]
    items = serializers.IntegerField()


class MoveEstimateSerializer(serializers.Serializer[Any]):
    items = serializers.IntegerField()
    source_calls = serializers.IntegerField()
    target_calls = serializers.IntegerField()
    seconds = serializers.FloatField()
    parts = MovePartSerializer(many=True)


class MoveTargetSerializer(serializers.Serializer[dict[str, Any]]):
    target = serializers.SlugField(max_length=63)
