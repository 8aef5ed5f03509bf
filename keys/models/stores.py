"""Data stores, what they hold on which key version, and the portal's own sealed values."""

import uuid

from django.db import models
from django.utils import timezone

from keys.models.keys import Key, KeyVersion
from keyvault_portal.accounts.models import KeyRing


class SealedValue(models.Model):
    """A secret of the portal itself (a DSN, a credential), in the compact envelope form."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purpose = models.CharField(max_length=100)
    ciphertext = models.BinaryField(editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "sealed_values"

    def __str__(self) -> str:
        return f"{self.purpose} {self.id}"


class RegisteredStores(models.Manager["DataStore"]):
    """Stores that are followed; what was deregistered is history."""

    def get_queryset(self) -> models.QuerySet["DataStore"]:
        return super().get_queryset().filter(deregistered_at=None)


class DataStore(models.Model):
    """A place where encrypted data lives and how to read it; `key` is the key that governs its items."""

    class Kind(models.TextChoices):
        SEALED_VALUES = "sealed_values", "The portal's own sealed values"
        POSTGRESQL_TABLE = "postgresql_table", "PostgreSQL table"

    class Format(models.TextChoices):
        ENVELOPE_JSON = "envelope_json", "Envelope JSON"
        COMPACT = "compact", "Compact binary"
        VAULT_TEXT = "vault_text", "vault:vN: text"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    ring = models.ForeignKey(KeyRing, on_delete=models.PROTECT, related_name="stores")
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="stores")
    name = models.SlugField(max_length=100)
    title = models.CharField(max_length=150)
    kind = models.CharField(max_length=30, choices=Kind)
    format = models.CharField(max_length=20, choices=Format, default=Format.COMPACT)
    dsn = models.ForeignKey(SealedValue, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    schema_name = models.CharField(max_length=63, default="public")
    table_name = models.CharField(max_length=63, blank=True)
    primary_key = models.CharField(max_length=63, blank=True)
    columns = models.JSONField(default=list)
    # The context each cell is bound to, as [name, value] pairs: their order is part of the associated data, and jsonb
    # forgets the order of an object. Values may hold {column} and {pk}. Empty: the cell carries or needs none.
    context_pairs = models.JSONField(default=list, blank=True)
    rate_limit = models.PositiveIntegerField(null=True, blank=True, help_text="Items a second; empty is unlimited.")
    last_error = models.TextField(blank=True)
    census_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=200)
    deregistered_at = models.DateTimeField(null=True, blank=True)
    deregistered_by = models.CharField(max_length=200, blank=True)

    objects = RegisteredStores()
    ever = models.Manager["DataStore"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=["sealed_values", "postgresql_table"]), name="keys_store_kind"
            ),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(deregistered_at=None), name="keys_store_name_once"
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.name

    @property
    def context_template(self) -> dict[str, str]:
        """The template in its order."""
        return dict(self.context_pairs)


class CensusCount(models.Model):
    """How many items of a store's column stand on one key version; `version` empty means unreadable."""

    store = models.ForeignKey(DataStore, on_delete=models.CASCADE, related_name="counts")
    column = models.CharField(max_length=63)
    version = models.ForeignKey(KeyVersion, on_delete=models.CASCADE, null=True, blank=True, related_name="counts")
    items = models.BigIntegerField()
    counted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["store", "column", "version"], nulls_distinct=False, name="keys_census_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.store_id} {self.column} {self.version_id}: {self.items}"
