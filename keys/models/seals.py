"""How the root that wraps the portal's own key material is sealed; a portal may have more than one way, for the day one is lost."""

import uuid

from django.db import models
from django.utils import timezone


class RootSeal(models.Model):
    """One sealed copy of the root. What opens it lies elsewhere: in a file, with a provider, or with custodians."""

    class Kind(models.TextChoices):
        FILE = "file", "Key file"
        PROVIDER = "provider", "Key provider"
        SHARES = "shares", "Shares of custodians"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=150)
    provider = models.SlugField(max_length=63, blank=True)
    handle = models.TextField(blank=True, editable=False)
    algorithm = models.CharField(max_length=50, blank=True)
    wrapped = models.BinaryField(null=True, blank=True, editable=False)
    check_value = models.BinaryField(editable=False)
    identifier = models.PositiveIntegerField(null=True, blank=True, help_text="Of the set of shares (SLIP-39).")
    threshold = models.PositiveSmallIntegerField(null=True, blank=True)
    shares = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=200)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_by = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "root_seals"
        constraints = [
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(kind__in=["file", "shares"], retired_at=None),
                name="keys_one_seal_of_a_kind",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind="shares") | models.Q(threshold__gte=2, shares__gte=models.F("threshold")),
                name="keys_seal_threshold",
            ),
            models.CheckConstraint(
                condition=models.Q(kind="file") | ~models.Q(wrapped=None), name="keys_seal_has_root"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SealState(models.Model):
    """One row: whether somebody sealed the portal on purpose; then nothing opens it by itself."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sealed_at = models.DateTimeField(null=True, blank=True)
    sealed_by = models.CharField(max_length=200, blank=True)
    reason = models.TextField(blank=True)

    class Meta:
        db_table = "seal_state"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="keys_one_seal_state")]

    def __str__(self) -> str:
        return "sealed" if self.sealed_at else "open"
