"""Shapes of the management API for keys on their way in and out; material goes in and never comes out but wrapped."""

import base64
import binascii
from typing import Any

from rest_framework import serializers

from keys.crypto.keycheck import check_method
from keys.models import KeyComponent, KeyExport, KeyImport
from keys.models.keys import KEY_KINDS
from keys.services import commands

SEALED = (
    "Its hexadecimal digits, encrypted by HPKE (X25519, HKDF-SHA256, AES-256-GCM) to the import's `wrapping_key`, with the info "
    '{"component":"NUMBER","custodian":"ID OF YOUR ACCOUNT","key_import":"ID OF THE IMPORT"}: `offline.py seal` does it.'
)
CHECK_VALUE = "Six hexadecimal digits; `check_method` says of what."


class Base64Field(serializers.CharField):
    """Bytes in base64."""

    def to_internal_value(self, data: Any) -> bytes:  # type: ignore[override]
        try:
            return base64.b64decode(super().to_internal_value(data), validate=True)
        except (binascii.Error, ValueError):
            raise serializers.ValidationError("Not base64.") from None


class ComponentSerializer(serializers.ModelSerializer[KeyComponent]):
    compared = serializers.SerializerMethodField(help_text="Whether a worker has opened it and found that it fits.")

    class Meta:
        model = KeyComponent
        fields = ["number", "person_label", "entered_at", "compared"]
        read_only_fields = fields

    def get_compared(self, component: KeyComponent) -> bool:
        return component.arrived is None


class KeyImportSerializer(serializers.ModelSerializer[KeyImport]):
    wrapping_key = serializers.SerializerMethodField(help_text="PEM; only while the import is open.")
    check_method = serializers.SerializerMethodField()
    key_version = serializers.IntegerField(source="version.key_version", read_only=True, default=None, allow_null=True)
    components = ComponentSerializer(many=True, read_only=True)
    from_export_id = serializers.UUIDField(read_only=True, allow_null=True)

    class Meta:
        model = KeyImport
        fields = [
            "id", "key_id", "key_version", "from_export_id", "method", "state", "nonce", "wrapping_key", "check_value",
            "check_method", "component_values",
            "components", "activate", "last_error", "reason", "opened_by", "created_at", "received_at", "expires_at", "finished_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_wrapping_key(self, row: KeyImport) -> str:
        return commands.pem(bytes(row.public_key)) if row.public_key is not None and row.state == "open" else ""

    def get_check_method(self, row: KeyImport) -> str:
        return check_method(row.key.algorithm)


class ImportOpenSerializer(serializers.Serializer[dict[str, Any]]):
    method = serializers.ChoiceField(choices=KeyImport.Method.choices)
    reason = serializers.CharField(max_length=2000)
    check_value = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=20, help_text=CHECK_VALUE
    )
    component_values = serializers.ListField(
        child=serializers.CharField(max_length=20), required=False, default=list, max_length=9,
        help_text="For components: the check value of each, in order.",
    )  # fmt: skip
    from_export = serializers.UUIDField(
        required=False,
        allow_null=True,
        default=None,
        help_text="What was given out under another key and comes back; with `method` key.",
    )
    key = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="A key that is there; else name a new one."
    )
    ring = serializers.UUIDField(required=False, allow_null=True, default=None)
    name = serializers.SlugField(required=False, max_length=100, default="")
    title = serializers.CharField(required=False, allow_blank=True, max_length=150, default="")
    kind = serializers.ChoiceField(choices=KEY_KINDS, required=False, default="dek")
    algorithm = serializers.CharField(required=False, max_length=50, default="AES-256-GCM")
    parent: "serializers.Field[Any, Any, Any, Any]" = serializers.UUIDField(  # type: ignore[assignment]
        required=False, allow_null=True, default=None
    )
    provider = serializers.SlugField(required=False, max_length=63, default="local")
    purpose = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)
    exportable = serializers.BooleanField(required=False, default=False)


class UploadSerializer(serializers.Serializer[dict[str, Any]]):
    nonce = serializers.CharField(max_length=64, help_text="Of the import as it stands; good for one upload.")
    wrapped = Base64Field(max_length=30_000, write_only=True)
    check_value = serializers.CharField(max_length=20, help_text=CHECK_VALUE)


class ComponentEntrySerializer(serializers.Serializer[dict[str, Any]]):
    number = serializers.IntegerField(min_value=1, max_value=9)
    sealed = Base64Field(max_length=8192, write_only=True, help_text=SEALED)


class KeyExportSerializer(serializers.ModelSerializer[KeyExport]):
    key_id = serializers.UUIDField(source="version.key_id", read_only=True)
    key_version = serializers.IntegerField(source="version.key_version", read_only=True)

    class Meta:
        model = KeyExport
        fields = [
            "id", "key_id", "key_version", "method", "state", "recipient", "fingerprint", "check_value", "reason", "approval_id", "requested_by",
            "last_error", "created_at", "finished_at", "collected_at", "collected_by",
        ]  # fmt: skip
        read_only_fields = fields


class WrappedSerializer(serializers.Serializer[Any]):
    wrapped = serializers.CharField(help_text="Base64; only the recipient can open it.")
    method = serializers.CharField()
    check_value = serializers.CharField()


class ExportRequestSerializer(serializers.Serializer[dict[str, Any]]):
    recipient = serializers.CharField(max_length=200)
    recipient_key = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=20_000,
        help_text="PEM, or DER in base64: RSA or X25519.",
    )
    wrapping_key = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="Or another key of the hierarchy."
    )
    version_number = serializers.IntegerField(required=False, allow_null=True, default=None, min_value=1)
    reason = serializers.CharField(max_length=2000)
