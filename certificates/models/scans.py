"""Where certificates are met outside the portal: endpoints that may be scanned, their scans, and every place seen."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from certificates.models.certificates import Certificate
from certificates.states import ScanState
from keyvault_portal.accounts.models import KeyRing, Person

SCAN_STATES = [(state.value, state.value.capitalize()) for state in ScanState]


class ScanRange(models.Model):
    """A network in CIDR notation or a host name that may be scanned; without a row nothing may."""

    value = models.CharField(max_length=253, unique=True)
    reason = models.CharField(max_length=500)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.value


class ScanTarget(models.Model):
    """One endpoint that is watched; `every_hours` empty means on demand only."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="+")
    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField(default=443)
    owner = models.ForeignKey(Person, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    every_hours = models.PositiveIntegerField(null=True, blank=True)
    next_at = models.DateTimeField(null=True, blank=True)
    last = models.ForeignKey("EndpointScan", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ring", "host", "port"], name="pki_target_once"),
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=65_535), name="pki_target_port"),
            models.CheckConstraint(
                condition=Q(every_hours=None) | Q(every_hours__gte=1, every_hours__lte=8784), name="pki_target_hours"
            ),
            models.CheckConstraint(
                condition=Q(every_hours=None, next_at=None) | Q(every_hours__isnull=False, next_at__isnull=False),
                name="pki_target_schedule",
            ),
        ]
        indexes = [models.Index(fields=["next_at", "id"], name="pki_target_due")]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class EndpointScan(models.Model):
    """What one endpoint showed at one moment; `chain` are SHA-256 fingerprints, `report` all that was seen."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    target = models.ForeignKey(ScanTarget, on_delete=models.CASCADE, related_name="scans")
    state = models.CharField(max_length=10, choices=SCAN_STATES, default=ScanState.QUEUED.value)
    requested_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    address = models.CharField(max_length=50, blank=True)
    grade = models.CharField(max_length=2, blank=True)
    versions = models.JSONField(default=list)
    group = models.CharField(max_length=40, blank=True)
    hybrid = models.BooleanField(default=False, help_text="Whether a post-quantum hybrid key exchange is offered.")
    staple = models.CharField(max_length=60, blank=True)
    sound = models.BooleanField(default=False, help_text="The chain holds, is in date and is for this host.")
    leaf = models.ForeignKey(Certificate, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    chain = models.JSONField(default=list)
    timestamps = models.JSONField(default=list, help_text="SCTs of the handshake and of the staple.")
    changes = models.JSONField(default=list, help_text="What differs from the scan before, in words.")
    report = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=[s.value for s in ScanState]), name="pki_scan_state"),
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at=None)
                | Q(state__in=["done", "failed"], finished_at__isnull=False),
                name="pki_scan_ends",
            ),
            models.UniqueConstraint(
                fields=["target"], condition=Q(state__in=["queued", "running"]), name="pki_scan_one_at_a_time"
            ),
        ]
        indexes = [
            models.Index(fields=["target", "-created_at", "-id"], name="pki_scan_history"),
            models.Index(fields=["created_at"], condition=Q(finished_at=None), name="pki_scan_open"),
        ]

    def __str__(self) -> str:
        return f"scan of {self.target_id}"


class Sighting(models.Model):
    """That a certificate was seen at a place, first and last; `gone_at` once something else stands there."""

    class Kind(models.TextChoices):
        ENDPOINT = "endpoint", "Live endpoint"
        HOST = "host", "File on a host"
        KUBERNETES = "kubernetes", "Kubernetes secret"

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="sightings")
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind)
    host = models.CharField(max_length=253)
    path = models.CharField(max_length=400, help_text="The port, the file, or namespace/secret.")
    position = models.PositiveSmallIntegerField(default=0, help_text="0 for the certificate itself, above it the rest.")
    reported_by = models.CharField(max_length=200)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["certificate", "ring", "kind", "host", "path"], name="pki_sighting_once")
        ]
        indexes = [
            models.Index(
                fields=["ring", "kind", "host", "path"], condition=Q(gone_at=None), name="pki_sighting_present"
            )
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.path}"
