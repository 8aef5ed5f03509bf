"""The signed minutes of a ceremony, kept as they were signed."""

from django.db import models
from django.utils import timezone

from ceremonies.models.ceremonies import Ceremony


class Minutes(models.Model):
    """One document for good; who signed it is named by label, so that it outlives the key."""

    ceremony = models.OneToOneField(Ceremony, on_delete=models.PROTECT, related_name="minutes")
    pdf = models.BinaryField(editable=False)
    sha256 = models.CharField(max_length=64)
    key_id = models.UUIDField()
    key_label = models.CharField(max_length=200)
    key_version = models.PositiveIntegerField()
    certificate = models.BinaryField(editable=False, help_text="Of the key, in DER.")
    self_signed = models.BooleanField(help_text="Whether nobody but the key itself stands behind the certificate.")
    timestamped = models.BooleanField()
    signed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["key_id", "key_version", "-signed_at"], name="ceremonies_minutes_key")]

    def __str__(self) -> str:
        return f"Minutes of {self.ceremony_id}"
