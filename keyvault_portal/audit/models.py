"""The record's tables.

They are made by SQL in the first migration and unmanaged here: no Django command ever alters or flushes them.
`leaf` holds the exact bytes that were hashed; every other column of an event is a projection of it for queries.
"""

from django.db import models


class AuditEvent(models.Model):
    """One event: leaf `seq` of the Merkle tree."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor_id = models.TextField()
    actor_label = models.TextField()
    action = models.TextField()
    target_type = models.TextField()
    target_id = models.TextField()
    ring_id = models.UUIDField(null=True)
    outcome = models.TextField()
    leaf = models.BinaryField()
    leaf_hash = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_event"
        ordering = ["-seq"]

    def __str__(self) -> str:
        return f"#{self.seq} {self.action} {self.outcome}"


class AuditHead(models.Model):
    """The single row every writer locks: tree size, frontier and root, and the time of the last event."""

    id = models.SmallIntegerField(primary_key=True)
    size = models.BigIntegerField()
    frontier = models.BinaryField()
    root = models.BinaryField()
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "audit_head"

    def __str__(self) -> str:
        return f"{self.size} events"


class AuditTile(models.Model):
    """The root of a full subtree of 256**level leaves."""

    pk = models.CompositePrimaryKey("level", "index")
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    hash = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_tile"

    def __str__(self) -> str:
        return f"{self.level}/{self.index}"


class AuditCheckpoint(models.Model):
    """A signed statement of the tree's size and root (C2SP tlog-checkpoint)."""

    tree_size = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    root_hash = models.BinaryField()
    note = models.TextField()

    class Meta:
        managed = False
        db_table = "audit_checkpoint"
        ordering = ["-tree_size"]

    def __str__(self) -> str:
        return f"checkpoint {self.tree_size}"


class AuditSigner(models.Model):
    """A public key that signs or has signed checkpoints."""

    key_id = models.TextField(primary_key=True)
    public_key = models.BinaryField()
    name = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "audit_signer"
        ordering = ["created_at"]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id}"
