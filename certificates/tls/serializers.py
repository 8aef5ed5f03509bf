"""Shapes of the REST bodies."""

from typing import Any

from rest_framework import serializers

from certificates.tls.manifests import KEYS, LETS_ENCRYPT
from certificates.tls.pins import MAXIMUM_AGE
from certificates.tls.profiles import PROFILES, ServerKind

_PATH: dict[str, Any] = {"required": False, "max_length": 250, "allow_blank": True}


def _names(**more: Any) -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(max_length=253), max_length=100, **more)


class ConfigurationSerializer(serializers.Serializer[Any]):
    server = serializers.ChoiceField(choices=[server.value for server in ServerKind])
    profile = serializers.ChoiceField(choices=[name.value for name in PROFILES])
    names = _names(required=False)
    address = serializers.CharField(required=False, allow_blank=True, max_length=50)
    port = serializers.IntegerField(required=False, min_value=1, max_value=65_535)
    certificate = serializers.CharField(**_PATH)
    key = serializers.CharField(**_PATH)
    chain = serializers.CharField(**_PATH)
    staple = serializers.CharField(**_PATH)
    backend = serializers.CharField(required=False, max_length=300)
    stapling = serializers.BooleanField(required=False)
    resolvers = _names(required=False)
    hsts_seconds = serializers.IntegerField(required=False, min_value=0, max_value=315_360_000)
    hsts_subdomains = serializers.BooleanField(required=False)
    hsts_preload = serializers.BooleanField(required=False)
    http2 = serializers.BooleanField(required=False)
    post_quantum = serializers.BooleanField(
        required=False, allow_null=True, help_text="X25519MLKEM768; null as the profile and the server allow."
    )
    client_authorities = serializers.CharField(**_PATH, help_text="With it, clients need a certificate.")
    client_revocations = serializers.CharField(**_PATH)
    client_depth = serializers.IntegerField(required=False, min_value=0, max_value=10)
    client_optional = serializers.BooleanField(required=False)
    client_names = _names(required=False)


class FileSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    text = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of the text in UTF-8.")


class ScanRequestSerializer(serializers.Serializer[Any]):
    host = serializers.CharField(max_length=253)
    port = serializers.IntegerField(default=443, min_value=1, max_value=65_535)
    configuration = ConfigurationSerializer(required=False, help_text="What was generated for it, to compare with.")


class CertificateFactsSerializer(serializers.Serializer[Any]):
    subject = serializers.CharField()
    issuer = serializers.CharField()
    names = serializers.ListField(child=serializers.CharField())
    serial = serializers.CharField()
    not_before = serializers.DateTimeField()
    not_after = serializers.DateTimeField()
    key = serializers.CharField()
    signature_hash = serializers.CharField()
    pin = serializers.CharField(help_text="Base64 SHA-256 of the SubjectPublicKeyInfo.")


class GradeReasonSerializer(serializers.Serializer[Any]):
    cap = serializers.CharField()
    text = serializers.CharField()


class TlsDifferenceSerializer(serializers.Serializer[Any]):
    setting = serializers.CharField()
    wanted = serializers.CharField()
    found = serializers.CharField()


class TlsScanSerializer(serializers.Serializer[Any]):
    host = serializers.CharField(source="report.host")
    port = serializers.IntegerField(source="report.port")
    address = serializers.CharField(source="report.address")
    at = serializers.DateTimeField(source="report.at")
    grade = serializers.CharField(source="grade.letter")
    reasons = GradeReasonSerializer(many=True, source="grade.reasons")
    differences = TlsDifferenceSerializer(many=True)
    versions = serializers.ListField(child=serializers.CharField(), source="report.versions")
    ciphers = serializers.ListField(child=serializers.CharField(), source="report.ciphers")
    suites13 = serializers.ListField(child=serializers.CharField(), source="report.suites13")
    groups = serializers.ListField(child=serializers.CharField(), source="report.groups")
    chain = CertificateFactsSerializer(many=True, source="report.chain")
    name_matches = serializers.BooleanField(source="report.name_matches")
    chain_holds = serializers.BooleanField(source="report.chain_holds")
    staple = serializers.CharField(source="report.staple")
    hsts = serializers.CharField(source="report.hsts")
    protocol = serializers.CharField(source="report.protocol")
    asks_for_certificate = serializers.BooleanField(source="report.asks_for_certificate")
    incomplete = serializers.CharField(source="report.incomplete")


class PinRequestSerializer(serializers.Serializer[Any]):
    domain = serializers.CharField(max_length=253)
    chain = serializers.CharField(max_length=200_000, help_text="PEM, the server's own certificate first.")
    backups = serializers.ListField(child=serializers.CharField(max_length=200_000), min_length=1, max_length=10)
    days = serializers.IntegerField(default=MAXIMUM_AGE.days, min_value=1, max_value=MAXIMUM_AGE.days)
    subdomains = serializers.BooleanField(default=False)


class PinsSerializer(serializers.Serializer[Any]):
    leaf = serializers.CharField(source="pins.leaf")
    intermediate = serializers.CharField(source="pins.intermediate")
    backups = serializers.ListField(child=serializers.CharField(), source="pins.backups")
    ends = serializers.DateField(source="pins.ends")
    android = serializers.CharField()
    ios = serializers.CharField()


class RecordsRequestSerializer(serializers.Serializer[Any]):
    domain = serializers.CharField(max_length=253)
    issuers = _names(default=list)
    wildcard_issuers = _names(default=list)
    contact = serializers.CharField(default="", allow_blank=True, max_length=250)
    account = serializers.CharField(default="", allow_blank=True, max_length=250)


class ManifestRequestSerializer(serializers.Serializer[Any]):
    issuer = serializers.CharField(max_length=253)
    name = serializers.CharField(max_length=253)
    names = _names()
    email = serializers.CharField(required=False, allow_blank=True, max_length=250)
    directory = serializers.CharField(default=LETS_ENCRYPT, max_length=300)
    authority_bundle = serializers.CharField(required=False, allow_blank=True, max_length=100_000)
    namespace = serializers.CharField(required=False, max_length=63)
    secret = serializers.CharField(required=False, allow_blank=True, max_length=253)
    ingress_class = serializers.CharField(required=False, allow_blank=True, max_length=253)
    dns_project = serializers.CharField(required=False, allow_blank=True, max_length=30)
    dns_secret = serializers.CharField(required=False, max_length=253)
    dns_key = serializers.CharField(required=False, max_length=253)
    duration_hours = serializers.IntegerField(required=False, min_value=1, max_value=9_600)
    renew_before_hours = serializers.IntegerField(required=False, min_value=1, max_value=9_600)
    algorithm = serializers.ChoiceField(required=False, choices=list(KEYS))
    size = serializers.IntegerField(required=False, min_value=0, max_value=4_096)
