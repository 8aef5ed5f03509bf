"""Shapes of the REST API of renewal; what may be written is checked again by the services."""

from typing import Any

from rest_framework import serializers

from certificates.models import AcmeSource, Delivery, DeployHook, DnsHook, ManagedCertificate, RenewalOrder
from certificates.renewal.dns01 import ALGORITHMS

PROVED_KINDS = [("dns", "dns"), ("ip", "ip")]


class SourceSerializer(serializers.ModelSerializer[AcmeSource]):
    class Meta:
        model = AcmeSource
        fields = [
            "id", "ring_id", "name", "directory", "contacts", "terms_url", "terms_agreed_by", "eab_kid", "thumbprint", "account_url", "state",
            "offers_renewal_info", "last_error", "checked_at", "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class LookSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    directory = serializers.CharField(max_length=500, help_text="https address of an ACME directory.")
    ca_bundle = serializers.CharField(max_length=100_000, required=False, allow_blank=True, default="")


class FoundCaSerializer(serializers.Serializer[Any]):
    terms = serializers.CharField()
    wants_binding = serializers.BooleanField()
    offers_renewal_info = serializers.BooleanField()


class NewSourceSerializer(LookSerializer):
    name = serializers.SlugField(max_length=63)
    contacts = serializers.ListField(child=serializers.EmailField(), max_length=5, required=False, default=list)
    agree_to_terms = serializers.BooleanField(help_text="True: the CA's terms of service are agreed to.")
    eab_kid = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    eab_key = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        default="",
        write_only=True,
        help_text="HMAC key in base64url.",
    )


class DnsHookSerializer(serializers.ModelSerializer[DnsHook]):
    class Meta:
        model = DnsHook
        fields = [
            "id", "ring_id", "name", "kind", "address", "zone", "key_name", "key_algorithm", "wait_seconds", "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class NewDnsHookSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.SlugField(max_length=63)
    kind = serializers.ChoiceField(DnsHook.Kind.choices)
    address = serializers.CharField(max_length=500)
    secret = serializers.CharField(max_length=500, write_only=True, trim_whitespace=False)
    zone = serializers.CharField(max_length=253, required=False, allow_blank=True, default="")
    key_name = serializers.CharField(max_length=253, required=False, allow_blank=True, default="")
    key_algorithm = serializers.ChoiceField([(name, name) for name in ALGORITHMS], default="hmac-sha256")
    wait_seconds = serializers.IntegerField(min_value=0, max_value=600, default=10)


class ManagedSerializer(serializers.ModelSerializer[ManagedCertificate]):
    state = serializers.CharField(source="shown_state", read_only=True)

    class Meta:
        model = ManagedCertificate
        fields = [
            "id", "ring_id", "source_id", "key_id", "names", "challenge", "dns_hook_id", "new_key", "enabled", "state", "certificate_id", "renew_at",
            "renew_because", "window_start", "window_end", "explanation_url", "failures", "last_error", "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields


class ProvedNameSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.ChoiceField(PROVED_KINDS)
    value = serializers.CharField(max_length=253)


class ObtainSerializer(serializers.Serializer[dict[str, Any]]):
    source = serializers.UUIDField(help_text="A source that is ready.")  # type: ignore[assignment]
    key = serializers.UUIDField(help_text="A transport key of the hierarchy.")
    names = ProvedNameSerializer(many=True, allow_empty=False)
    challenge = serializers.ChoiceField(ManagedCertificate.Challenge.choices)
    dns_hook = serializers.UUIDField(required=False, allow_null=True, default=None)
    new_key = serializers.BooleanField(default=True)


class OrderSerializer(serializers.ModelSerializer[RenewalOrder]):
    key_version = serializers.IntegerField(source="version.key_version", read_only=True)

    class Meta:
        model = RenewalOrder
        fields = [
            "id", "state", "key_version", "because", "certificate_id", "attempts", "next_try_at", "error", "created_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields


class HookSerializer(serializers.ModelSerializer[DeployHook]):
    class Meta:
        model = DeployHook
        fields = [
            "id",
            "managed_id",
            "kind",
            "place",
            "namespace",
            "secret_name",
            "with_key",
            "created_at",
            "created_by",
        ]
        read_only_fields = fields


class NewHookSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.ChoiceField(DeployHook.Kind.choices)
    place = serializers.CharField(max_length=500, help_text="A path below an allowed directory, or a webhook's URL.")
    namespace = serializers.CharField(max_length=63, required=False, allow_blank=True, default="")
    secret_name = serializers.CharField(max_length=253, required=False, allow_blank=True, default="")
    with_key = serializers.BooleanField(default=False, help_text="In files only; others have to agree.")
    secret = serializers.CharField(
        max_length=500, required=False, allow_blank=True, default="", write_only=True, trim_whitespace=False
    )
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    class Meta:
        model = Delivery
        fields = [
            "id", "hook_id", "certificate_id", "state", "attempts", "next_try_at", "last_error", "created_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields
