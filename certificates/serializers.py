"""Shapes of the REST API of certificates; what may be written is checked again by the services."""

from typing import Any

from rest_framework import serializers

from certificates.bundles import FORMS, SUBJECT_ALGORITHMS
from certificates.models import Authority, CaRevocation, Certificate, CertificateList
from certificates.profiles import LEAF_PROFILES
from certificates.services.revoking import LEAF_REASONS
from certificates.services.weaknesses import weakness_of_authority

SUBJECT_KEY_CHOICES = [(name, name) for name in SUBJECT_ALGORITHMS]
PROFILE_CHOICES = [(name, name) for name in LEAF_PROFILES]
REVOCATION_REASONS = [(item.value, item.value) for item in LEAF_REASONS]


class AuthoritySerializer(serializers.ModelSerializer[Authority]):
    weakness = serializers.SerializerMethodField(
        help_text="What is wrong with the algorithm of its key; empty if nothing is."
    )

    class Meta:
        model = Authority
        fields = [
            "id", "ring_id", "name", "title", "organization", "kind", "state", "parent_id", "key_id", "certificate_id", "days",
            "path_length", "profiles",
            "names", "max_days", "crl_hours", "crl_partitions", "delta_crls", "next_crl_at", "crl_error", "responder_id", "created_at", "created_by",
            "weakness",
        ]  # fmt: skip
        read_only_fields = fields

    def get_weakness(self, row: Authority) -> str:
        return weakness_of_authority(row.key.algorithm)


class NameRulesSerializer(serializers.Serializer[dict[str, Any]]):
    dns = serializers.ListField(child=serializers.CharField(max_length=253), required=False, max_length=200)
    ip = serializers.ListField(child=serializers.CharField(max_length=50), required=False, max_length=200)
    uri = serializers.ListField(child=serializers.CharField(max_length=500), required=False, max_length=200)
    email = serializers.ListField(child=serializers.CharField(max_length=254), required=False, max_length=200)
    wildcards = serializers.BooleanField(required=False, default=False)


class PlanSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.SlugField(max_length=63)
    title = serializers.CharField(max_length=64)
    key = serializers.UUIDField(
        help_text="A transport key with a signature algorithm the table recommends, that nothing else uses."
    )
    parent: "serializers.Field[Any, Any, Any, Any]" = serializers.UUIDField(  # type: ignore[assignment]
        required=False, allow_null=True, default=None, help_text="The issuing authority; none for a root."
    )
    organization = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    days = serializers.IntegerField(min_value=1, max_value=9132, default=1826)
    path_length = serializers.IntegerField(min_value=0, max_value=8, required=False, allow_null=True, default=None)
    profiles = serializers.ListField(
        child=serializers.ChoiceField(PROFILE_CHOICES), required=False, default=list, max_length=10
    )
    names = NameRulesSerializer(required=False, default=dict)
    max_days = serializers.IntegerField(min_value=1, max_value=3650, required=False, allow_null=True, default=None)
    crl_hours = serializers.IntegerField(min_value=1, max_value=8784, default=168)
    crl_partitions = serializers.IntegerField(min_value=1, max_value=1024, default=1)
    delta_crls = serializers.BooleanField(default=False)
    reason = serializers.CharField(max_length=2000)


class ImportSerializer(PlanSerializer):
    title = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    certificate = serializers.CharField(
        max_length=20_000,
        help_text="The CA's certificate in PEM; its subject, life and path length are taken, whatever else is said of them.",
    )


class CrossSignSerializer(serializers.Serializer[dict[str, Any]]):
    certificate = serializers.CharField(max_length=20_000, help_text="The other CA's certificate in PEM.")
    days = serializers.IntegerField(min_value=1, max_value=3653)
    reason = serializers.CharField(max_length=2000)


class GrantSerializer(serializers.Serializer[dict[str, Any]]):
    grant = serializers.UUIDField()
    serial = serializers.CharField()


class NameSerializer(serializers.Serializer[dict[str, Any]]):
    kind = serializers.ChoiceField(["dns", "ip", "uri", "email"])
    value = serializers.CharField(max_length=2048)


class _IssueSerializer(serializers.Serializer[dict[str, Any]]):
    profile = serializers.ChoiceField(PROFILE_CHOICES)
    names = NameSerializer(many=True, required=False, default=list)
    common_name = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    days = serializers.IntegerField(min_value=1, max_value=3650, required=False, allow_null=True, default=None)
    owner = serializers.UUIDField(required=False, allow_null=True, default=None)


class CsrSerializer(_IssueSerializer):
    csr = serializers.CharField(max_length=65_536, help_text="PKCS#10 in PEM.")
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class NewKeySerializer(_IssueSerializer):
    algorithm = serializers.ChoiceField(SUBJECT_KEY_CHOICES)
    password = serializers.CharField(min_length=12, max_length=256, write_only=True, trim_whitespace=False)
    form = serializers.ChoiceField([(name, name) for name in FORMS], default="pkcs12")


class KeyCertificateSerializer(_IssueSerializer):
    key = serializers.UUIDField(help_text="A transport key of the hierarchy.")


class RenewSerializer(serializers.Serializer[dict[str, Any]]):
    csr = serializers.CharField(max_length=65_536, help_text="PKCS#10 in PEM, with a new key.")
    days = serializers.IntegerField(min_value=1, max_value=3650, required=False, allow_null=True, default=None)


class RenewKeySerializer(serializers.Serializer[dict[str, Any]]):
    algorithm = serializers.ChoiceField(SUBJECT_KEY_CHOICES)
    password = serializers.CharField(min_length=12, max_length=256, write_only=True, trim_whitespace=False)
    form = serializers.ChoiceField([(name, name) for name in FORMS], default="pkcs12")
    days = serializers.IntegerField(min_value=1, max_value=3650, required=False, allow_null=True, default=None)


class CaKeyImportSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.SlugField(max_length=100)
    title = serializers.CharField(max_length=150)
    above = serializers.UUIDField(help_text="The master or key-encryption key that wraps it.")
    private_key = serializers.CharField(max_length=20_000, write_only=True, help_text="PEM: PKCS#8, PKCS#1 or SEC 1.")
    password = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="", write_only=True, trim_whitespace=False
    )


class ImportedKeySerializer(serializers.Serializer[dict[str, Any]]):
    key = serializers.UUIDField()
    algorithm = serializers.CharField()


class RevokeSerializer(serializers.Serializer[dict[str, Any]]):
    reason = serializers.ChoiceField(REVOCATION_REASONS)
    note = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")
    invalid_since = serializers.DateTimeField(required=False, allow_null=True, default=None)


class RevokeManySerializer(serializers.Serializer[dict[str, Any]]):
    by = serializers.ChoiceField(["owner", "key"])
    value = serializers.CharField(
        max_length=64, help_text="A person's id, or the SHA-256 of the key's SPKI in hexadecimal."
    )
    ring = serializers.UUIDField(required=False, allow_null=True, default=None, help_text="None: in all rings.")
    reason = serializers.ChoiceField(REVOCATION_REASONS)
    note = serializers.CharField(max_length=2000)


class CountSerializer(serializers.Serializer[dict[str, Any]]):
    revoked = serializers.IntegerField()
    asked_at_ca = serializers.IntegerField(help_text="Of CAs outside: each certificate's `ca_revocation` follows it.")
    left = serializers.IntegerField(help_text="Of issuers that the portal has no account with: these live on.")


class CaRevocationSerializer(serializers.ModelSerializer[CaRevocation]):
    state = serializers.CharField(read_only=True, help_text="queued, done or failed.")

    class Meta:
        model = CaRevocation
        fields = ["state", "attempts", "last_error", "requested_by", "created_at", "finished_at"]
        read_only_fields = fields


class CertificateSerializer(serializers.ModelSerializer[Certificate]):
    state = serializers.CharField(source="shown_state", read_only=True)
    ca_revocation = CaRevocationSerializer(
        read_only=True, allow_null=True, help_text="The wish that the CA outside that issued it revoke it."
    )

    class Meta:
        model = Certificate
        fields = [
            "id", "ring_id", "authority_id", "issued_under_id", "renews_id", "source", "profile", "state", "serial", "fingerprint", "spki_sha256",
            "subject", "issuer", "names", "key_algorithm", "signature_algorithm", "weaknesses", "key_id", "key_origin", "not_before", "not_after",
            "owner_id", "owner_label", "requested_by", "created_at", "revoked_at", "revoked_by", "reason", "invalid_since",
            "ca_revocation",
        ]  # fmt: skip
        read_only_fields = fields


class ChainSerializer(serializers.Serializer[dict[str, Any]]):
    pem = serializers.CharField(help_text="The certificate and those above it, the root last.")


class CertificateUploadSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    content = serializers.CharField(max_length=1_500_000, help_text="PEM, or DER or PKCS#12 in base64.")
    password = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="", write_only=True, trim_whitespace=False
    )


class CertificateUploadedSerializer(serializers.Serializer[dict[str, Any]]):
    added = CertificateSerializer(many=True)
    known = serializers.IntegerField()
    unreadable = serializers.IntegerField()


class CrlSerializer(serializers.ModelSerializer[CertificateList]):
    class Meta:
        model = CertificateList
        fields = ["kind", "number", "partition", "entries", "this_update", "next_update"]
        read_only_fields = fields
