"""Shapes of the REST API of ACME; what may be written is checked again by the services."""

from typing import Any

from rest_framework import serializers

from certificates.acme import addresses
from certificates.acme.services.serving import OFFERED, Rules
from certificates.acme.states import ChallengeType
from certificates.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeExternalKey, AcmeOrder, AcmeServer

PROFILE_CHOICES = [(name, name) for name in OFFERED]
_WORDS: dict[str, Any] = {"required": False, "max_length": 200}


def _words(length: int, **more: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=length), **(_WORDS | more))


class AcmeRulesSerializer(serializers.Serializer[dict[str, Any]]):
    """What is left out stays as it is, or is as a new server has it."""

    profiles = serializers.ListField(
        child=serializers.ChoiceField(PROFILE_CHOICES), required=False, max_length=10,
        help_text="What may be ordered; the first is the default.",
    )  # fmt: skip
    days = serializers.IntegerField(min_value=1, max_value=3650, required=False, allow_null=True)
    names = _words(253, help_text="Domains with everything below them; empty: all that the authority certifies.")
    wildcards = serializers.BooleanField(required=False)
    challenges = serializers.ListField(
        child=serializers.ChoiceField([(kind.value, kind.value) for kind in ChallengeType]),
        required=False,
        max_length=3,
    )
    external_account_required = serializers.BooleanField(required=False)
    terms_url = serializers.URLField(max_length=500, required=False, allow_blank=True)
    check_caa = serializers.BooleanField(required=False)
    caa_identities = _words(253)
    order_hours = serializers.IntegerField(min_value=1, max_value=168, required=False)
    networks = _words(50, help_text="Networks, besides the public ones, where proofs are looked for.")
    resolvers = _words(60, help_text="DNS resolvers; empty: those of the machine.")
    http_port = serializers.IntegerField(min_value=1, max_value=65_535, required=False)
    tls_port = serializers.IntegerField(min_value=1, max_value=65_535, required=False)


class AcmeServerCreateSerializer(AcmeRulesSerializer):
    authority = serializers.UUIDField()


class AcmeServerSerializer(serializers.ModelSerializer[AcmeServer]):
    directory = serializers.SerializerMethodField(help_text="The address that clients are given.")
    names = serializers.SerializerMethodField(help_text="Domains and networks; none: all that the authority certifies.")
    wildcards = serializers.BooleanField(source="name_rules.wildcards", read_only=True)

    class Meta:
        model = AcmeServer
        fields = [
            "authority_id", "enabled", "directory", *AcmeRulesSerializer._declared_fields, "created_at", "created_by",
        ]  # fmt: skip
        read_only_fields = fields

    def get_names(self, row: AcmeServer) -> list[str]:
        return Rules.of(row).names

    def get_directory(self, row: AcmeServer) -> str:
        return addresses.of(row, "directory")


class AcmeSwitchSerializer(serializers.Serializer[dict[str, Any]]):
    enabled = serializers.BooleanField()
    reason = serializers.CharField(max_length=2000)


class ExternalKeyCreateSerializer(serializers.Serializer[dict[str, Any]]):
    authority = serializers.UUIDField()
    label = serializers.CharField(max_length=100)  # type: ignore[assignment]
    owner = serializers.UUIDField(required=False, allow_null=True, default=None)
    once = serializers.BooleanField(default=True, help_text="For one account only.")
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class ExternalKeySerializer(serializers.ModelSerializer[AcmeExternalKey]):
    authority_id = serializers.UUIDField(source="server.authority_id", read_only=True)
    state = serializers.CharField(source="shown_state", read_only=True)

    class Meta:
        model = AcmeExternalKey
        fields = [
            "id", "authority_id", "label", "state", "owner_id", "once", "created_at", "created_by", "expires_at", "used_at", "revoked_at",
            "revoked_by",
        ]  # fmt: skip
        read_only_fields = fields


class ExternalKeyCreatedSerializer(ExternalKeySerializer):
    secret = serializers.CharField(
        source="secret_text", read_only=True, help_text="The HMAC key in base64url; shown in this answer only."
    )

    class Meta(ExternalKeySerializer.Meta):
        fields = [*ExternalKeySerializer.Meta.fields, "secret"]
        read_only_fields = fields


class AcmeAccountSerializer(serializers.ModelSerializer[AcmeAccount]):
    authority_id = serializers.UUIDField(source="server.authority_id", read_only=True)
    state = serializers.CharField(read_only=True)

    class Meta:
        model = AcmeAccount
        fields = [
            "id", "authority_id", "state", "contact", "thumbprint", "external_key_id", "terms_agreed_at", "created_at", "created_from",
        ]  # fmt: skip
        read_only_fields = fields


class AcmeChallengeSerializer(serializers.ModelSerializer[AcmeChallenge]):
    state = serializers.CharField(read_only=True)
    kind = serializers.CharField(read_only=True)

    class Meta:
        model = AcmeChallenge
        fields = ["kind", "state", "attempts", "next_try_at", "validated_at", "failure"]
        read_only_fields = fields


class AcmeAuthorizationSerializer(serializers.ModelSerializer[AcmeAuthorization]):
    state = serializers.CharField(source="shown_state", read_only=True)
    challenges = AcmeChallengeSerializer(many=True, read_only=True)

    class Meta:
        model = AcmeAuthorization
        fields = ["name", "wildcard", "state", "proved_at", "expires_at", "challenges"]
        read_only_fields = fields


class AcmeOrderSerializer(serializers.ModelSerializer[AcmeOrder]):
    authority_id = serializers.UUIDField(source="server.authority_id", read_only=True)
    state = serializers.CharField(read_only=True)
    authorizations = AcmeAuthorizationSerializer(many=True, read_only=True)

    class Meta:
        model = AcmeOrder
        fields = [
            "id", "authority_id", "account_id", "state", "names", "profile", "replaces_id", "certificate_id", "failure", "created_at",
            "expires_at", "authorizations",
        ]  # fmt: skip
        read_only_fields = fields
