"""What was answered to a write that carried an Idempotency-Key."""

from django.db import models
from django.utils import timezone


class IdempotencyRecord(models.Model):
    """The first answer to one key of one caller; `status` is empty while the first request is still running."""

    caller = models.BinaryField(max_length=32)
    key = models.CharField(max_length=255)
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    rights = models.JSONField(null=True, help_text="What the caller was allowed, by ring; empty is everything.")
    kept = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "idempotency_records"
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="portal_idempotency_once")]
        indexes = [models.Index(fields=["created_at"], name="portal_idempotency_age")]

    def __str__(self) -> str:
        return self.key
