"""Shapes of the REST API of endpoints, agents and Certificate Transparency."""

from typing import Any

from rest_framework import serializers

from certificates.models import EndpointScan, LoggedCertificate, LogList, LogMonitor, ScanRange, ScanTarget, Sighting
from certificates.services.reports import KINDS, MAX_ITEMS, MAX_PEM


class ScanRangeSerializer(serializers.ModelSerializer[ScanRange]):
    class Meta:
        model = ScanRange
        fields = ["id", "value", "reason", "created_by", "created_at"]
        read_only_fields = fields


class NewRangeSerializer(serializers.Serializer[dict[str, Any]]):
    value = serializers.CharField(max_length=253, help_text="A network such as 10.1.0.0/16, or a host name.")
    reason = serializers.CharField(max_length=500)


class EndpointScanSerializer(serializers.ModelSerializer[EndpointScan]):
    class Meta:
        model = EndpointScan
        fields = [
            "id", "state", "requested_by", "created_at", "finished_at", "error", "address", "grade", "versions", "group", "hybrid",
            "staple", "sound", "leaf_id", "chain", "changes",
        ]  # fmt: skip
        read_only_fields = fields


class ScanTargetSerializer(serializers.ModelSerializer[ScanTarget]):
    last = EndpointScanSerializer(read_only=True)

    class Meta:
        model = ScanTarget
        fields = [
            "id",
            "ring_id",
            "host",
            "port",
            "owner_id",
            "every_hours",
            "next_at",
            "last",
            "created_by",
            "created_at",
        ]
        read_only_fields = fields


class NewTargetSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    host = serializers.CharField(max_length=253)
    port = serializers.IntegerField(min_value=1, max_value=65_535, default=443)
    every_hours = serializers.IntegerField(
        min_value=1, max_value=8784, required=False, allow_null=True, default=None, help_text="None: on demand only."
    )


class SightingSerializer(serializers.ModelSerializer[Sighting]):
    class Meta:
        model = Sighting
        fields = ["kind", "host", "path", "position", "reported_by", "first_seen_at", "last_seen_at", "gone_at"]
        read_only_fields = fields


class AgentFoundSerializer(serializers.Serializer[dict[str, Any]]):
    path = serializers.CharField(max_length=400, help_text="A file, or namespace/secret.", trim_whitespace=False)
    pem = serializers.CharField(
        max_length=MAX_PEM, allow_blank=True, help_text="Its certificates, the own one first. Leave private keys out."
    )


class AgentReportSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    host = serializers.CharField(max_length=253, help_text="The host, or the cluster.")
    kind = serializers.ChoiceField([(kind, kind) for kind in KINDS], default=KINDS[0])
    complete = serializers.BooleanField(
        default=False, help_text="It names all there is: what is missing stands there no more."
    )
    found = serializers.ListField(child=AgentFoundSerializer(), min_length=1, max_length=MAX_ITEMS)


class AgentReportedSerializer(serializers.Serializer[Any]):
    added = serializers.IntegerField(help_text="Certificates that were not known.")
    known = serializers.IntegerField()
    changed = serializers.IntegerField(help_text="Places where another certificate stands now.")
    unreadable = serializers.ListField(child=serializers.CharField(), help_text="Places that were left as they were.")


class SignedTimestampSerializer(serializers.Serializer[Any]):
    log = serializers.CharField(source="log.description", default="")
    operator = serializers.CharField(source="log.operator", default="")
    log_id = serializers.SerializerMethodField()
    at = serializers.DateTimeField(source="timestamp.at")
    found_in = serializers.CharField(source="timestamp.source", help_text="embedded, tls or ocsp.")
    fault = serializers.CharField(help_text="Empty when it counts.")

    def get_log_id(self, checked: Any) -> str:
        return str(checked.timestamp.log_id.hex())


class TransparencySerializer(serializers.Serializer[Any]):
    needed = serializers.IntegerField(source="verdict.needed", help_text="Logs that browsers ask for.")
    counted = serializers.IntegerField(source="verdict.counted")
    enough = serializers.BooleanField(source="verdict.enough")
    log_list = serializers.CharField(
        source="logs.version", default="", help_text="Empty while there is no list of logs."
    )
    timestamps = SignedTimestampSerializer(many=True, source="verdict.checked")


class LogListSerializer(serializers.ModelSerializer[LogList]):
    class Meta:
        model = LogList
        fields = ["id", "version", "listed_at", "sha256", "provenance", "uploaded_by", "created_at"]
        read_only_fields = fields


class NewLogListSerializer(serializers.Serializer[dict[str, Any]]):
    content = serializers.JSONField(help_text="The list, in Google's v3 format.")
    provenance = serializers.CharField(max_length=500)


class LogMonitorSerializer(serializers.ModelSerializer[LogMonitor]):
    class Meta:
        model = LogMonitor
        fields = [
            "id", "ring_id", "name", "url", "domains", "every_minutes", "next_at", "position", "tree_size", "tree_head_at", "error",
            "created_by", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class NewMonitorSerializer(serializers.Serializer[dict[str, Any]]):
    ring = serializers.UUIDField()
    name = serializers.CharField(max_length=100)
    url = serializers.URLField(max_length=500)
    public_key = serializers.CharField(max_length=2000, help_text="Base64 of its SubjectPublicKeyInfo.")
    domains = serializers.ListField(child=serializers.CharField(max_length=253), min_length=1, max_length=200)
    every_minutes = serializers.IntegerField(min_value=5, max_value=10_080, default=60)


class LoggedCertificateSerializer(serializers.ModelSerializer[LoggedCertificate]):
    class Meta:
        model = LoggedCertificate
        fields = ["index", "precertificate", "serial", "issuer", "names", "not_after", "logged_at", "certificate_id"]
        read_only_fields = fields
