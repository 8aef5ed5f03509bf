"""What was answered to a write that carried an Idempotency-Key."""

from django.db import models
from django.utils import timezone


class IdempotencyRecord(models.Model):
    """The first answer to a key of one actor; a repeat with the same body gets it again, another body is refused."""

    actor = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    request_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["actor", "key"], name="keys_idempotency_once")]
        indexes = [models.Index(fields=["created_at"], name="keys_idempotency_age")]

    def __str__(self) -> str:
        return self.key
