"""The record's tables, their triggers and the empty head; see 0001_initial.sql beside this file."""

from pathlib import Path

from django.db import migrations, models

DROP = """
DROP TABLE audit_event, audit_tile, audit_checkpoint, audit_signer, audit_head;
DROP FUNCTION audit_refuse_change();
DROP FUNCTION audit_head_forward();
"""


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(Path(__file__).with_suffix(".sql").read_text(), DROP),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("actor_id", models.TextField()),
                ("actor_label", models.TextField()),
                ("action", models.TextField()),
                ("target_type", models.TextField()),
                ("target_id", models.TextField()),
                ("ring_id", models.UUIDField(null=True)),
                ("outcome", models.TextField()),
                ("leaf", models.BinaryField()),
                ("leaf_hash", models.BinaryField()),
            ],
            options={"db_table": "audit_event", "ordering": ["-seq"], "managed": False},
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("size", models.BigIntegerField()),
                ("frontier", models.BinaryField()),
                ("root", models.BinaryField()),
                ("at", models.DateTimeField()),
            ],
            options={"db_table": "audit_head", "managed": False},
        ),
        migrations.CreateModel(
            name="AuditTile",
            fields=[
                ("pk", models.CompositePrimaryKey("level", "index", blank=True, editable=False, primary_key=True, serialize=False)),
                ("level", models.SmallIntegerField()),
                ("index", models.BigIntegerField()),
                ("hash", models.BinaryField()),
            ],
            options={"db_table": "audit_tile", "managed": False},
        ),
        migrations.CreateModel(
            name="AuditCheckpoint",
            fields=[
                ("tree_size", models.BigIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("root_hash", models.BinaryField()),
                ("note", models.TextField()),
            ],
            options={"db_table": "audit_checkpoint", "ordering": ["-tree_size"], "managed": False},
        ),
        migrations.CreateModel(
            name="AuditSigner",
            fields=[
                ("key_id", models.TextField(primary_key=True, serialize=False)),
                ("public_key", models.BinaryField()),
                ("name", models.TextField()),
                ("created_at", models.DateTimeField()),
            ],
            options={"db_table": "audit_signer", "ordering": ["created_at"], "managed": False},
        ),
    ]
