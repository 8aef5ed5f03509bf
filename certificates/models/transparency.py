"""Certificate Transparency: the list of logs that count, logs that are watched, and what was found in them."""

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from certificates.models.certificates import Certificate
from keyvault_portal.accounts.models import KeyRing


class LogList(models.Model):
    """One list of logs in Google's v3 format, as it was uploaded; the newest row is in force."""

    content = models.JSONField()
    version = models.CharField(max_length=20)
    listed_at = models.DateTimeField(help_text="Its own log_list_timestamp.")
    sha256 = models.CharField(max_length=64)
    provenance = models.CharField(max_length=500, help_text="Where it was taken from.")
    uploaded_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"log list {self.version}"


class LogMonitor(models.Model):
    """A log (RFC 6962) that is read for names of ours; `frontier` is the tree up to `position`, recomputed by us."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=100)
    url = models.URLField(max_length=500)
    public_key = models.BinaryField(help_text="The log's SubjectPublicKeyInfo.")
    domains = models.JSONField(default=list, help_text="Names of ours, with everything below them.")
    every_minutes = models.PositiveIntegerField(default=60)
    next_at = models.DateTimeField(default=timezone.now)
    begun = models.BooleanField(default=False)
    position = models.PositiveBigIntegerField(default=0, help_text="The next entry that will be read.")
    frontier = models.BinaryField(default=b"", editable=False)
    tree_size = models.PositiveBigIntegerField(default=0, help_text="Of the newest signed tree head.")
    tree_head_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["ring", "url"], name="pki_monitor_once"),
            models.CheckConstraint(
                condition=Q(every_minutes__gte=5, every_minutes__lte=10_080), name="pki_monitor_every"
            ),
        ]
        indexes = [models.Index(fields=["next_at", "id"], name="pki_monitor_due")]

    def __str__(self) -> str:
        return self.name


class LoggedCertificate(models.Model):
    """An entry of a watched log with a name of ours; `certificate` is empty when nobody here knows of it."""

    monitor = models.ForeignKey(LogMonitor, on_delete=models.CASCADE, related_name="findings")
    index = models.PositiveBigIntegerField()
    precertificate = models.BooleanField()
    serial = models.CharField(max_length=40)
    issuer = models.CharField(max_length=300)
    names = models.JSONField(default=list)
    not_after = models.DateTimeField()
    logged_at = models.DateTimeField()
    der = models.BinaryField(editable=False)
    certificate = models.ForeignKey(Certificate, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["monitor", "index"], name="pki_logged_once")]
        indexes = [models.Index(fields=["serial"], name="pki_logged_serial")]

    def __str__(self) -> str:
        return f"entry {self.index} of {self.monitor_id}"
