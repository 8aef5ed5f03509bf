"""Moves of keys between providers; a version remembers where it lives."""

import django.db.models.deletion
import django.utils.timezone
import uuid
from django.db import migrations, models


# Until now every version of a key lived at the key's own provider.
PLACES = "UPDATE encryption_keys AS v SET provider = k.provider FROM keys_key AS k WHERE k.id = v.key_id AND k.provider <> v.provider"


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0006_seals"),
    ]

    operations = [
        migrations.AddField(
            model_name="keyversion",
            name="moved_from",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="moved_to",
                to="keys.keyversion",
            ),
        ),
        migrations.AddField(
            model_name="keyversion",
            name="provider",
            field=models.SlugField(default="local", max_length=63),
        ),
        migrations.AlterField(
            model_name="rotation",
            name="trigger",
            field=models.CharField(
                choices=[
                    ("on_demand", "On demand"),
                    ("scheduled", "Scheduled by policy"),
                    ("use_budget", "Use budget"),
                    ("compromise", "Compromise"),
                    ("move", "Moved to another provider"),
                ],
                default="on_demand",
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="Move",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("source", models.SlugField(max_length=63)),
                ("target", models.SlugField(max_length=63)),
                (
                    "with_material",
                    models.BooleanField(default=False, help_text="The new version has the material of the old one."),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("making", "Making"),
                            ("dual_wrapping", "Dual wrapping"),
                            ("comparing", "Comparing"),
                            ("re_wrapping", "Re wrapping"),
                            ("re_wrapped", "Re wrapped"),
                            ("dropping", "Dropping"),
                            ("completed", "Completed"),
                            ("paused", "Paused"),
                            ("failed", "Failed"),
                            ("undoing", "Undoing"),
                            ("undone", "Undone"),
                        ],
                        default="making",
                        max_length=20,
                    ),
                ),
                (
                    "held_from",
                    models.CharField(
                        blank=True, help_text="What it goes back to from paused or failed.", max_length=20
                    ),
                ),
                ("reason", models.TextField(blank=True)),
                ("undo_reason", models.TextField(blank=True)),
                ("rate_limit", models.PositiveIntegerField(blank=True, null=True)),
                ("approval_id", models.UUIDField(blank=True, null=True)),
                ("requested_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("made_at", models.DateTimeField(blank=True, null=True)),
                ("probes", models.JSONField(blank=True, default=list, editable=False)),
                ("wrapped_at", models.DateTimeField(blank=True, null=True)),
                ("compared", models.PositiveIntegerField(default=0, help_text="Values read back at both places.")),
                ("compared_at", models.DateTimeField(blank=True, null=True)),
                ("switched_at", models.DateTimeField(blank=True, null=True)),
                ("re_wrapped_at", models.DateTimeField(blank=True, null=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                ("attempts", models.PositiveIntegerField(default=0, help_text="Tries of the step at hand.")),
                ("next_try_at", models.DateTimeField(blank=True, null=True)),
                ("last_error", models.TextField(blank=True)),
                (
                    "key",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="moves", to="keys.key"),
                ),
                (
                    "new_version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="move", to="keys.keyversion"
                    ),
                ),
                (
                    "old_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="moves_from", to="keys.keyversion"
                    ),
                ),
                (
                    "rotation",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="move",
                        to="keys.rotation",
                    ),
                ),
            ],
            options={
                "db_table": "key_moves",
                "indexes": [models.Index(fields=["-created_at", "id"], name="keys_move_recent")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "state__in",
                                [
                                    "making",
                                    "dual_wrapping",
                                    "comparing",
                                    "re_wrapping",
                                    "re_wrapped",
                                    "dropping",
                                    "completed",
                                    "paused",
                                    "failed",
                                    "undoing",
                                    "undone",
                                ],
                            )
                        ),
                        name="keys_move_state",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("source", models.F("target")), _negated=True),
                        name="keys_move_goes_somewhere",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("state__in", ["completed", "undone"]), _negated=True),
                        fields=("key",),
                        name="keys_one_move_at_a_time",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state__in", ["paused", "failed"]), models.Q(("held_from", ""), _negated=True)),
                            models.Q(models.Q(("state__in", ["paused", "failed"]), _negated=True), ("held_from", "")),
                            _connector="OR",
                        ),
                        name="keys_move_held_from",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("switched_at", None),
                            models.Q(("compared__gte", 1), ("compared_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="keys_move_compared_before_switch",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("state__in", ["re_wrapping", "re_wrapped", "dropping", "completed"]), _negated=True
                            ),
                            models.Q(("rotation__isnull", False), ("switched_at__isnull", False)),
                            _connector="OR",
                        ),
                        name="keys_move_switched",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("ended_at__isnull", False), ("state__in", ["completed", "undone"])),
                            models.Q(
                                models.Q(("state__in", ["completed", "undone"]), _negated=True), ("ended_at", None)
                            ),
                            _connector="OR",
                        ),
                        name="keys_move_ended",
                    ),
                ],
            },
        ),
        migrations.RunSQL(PLACES, migrations.RunSQL.noop),
    ]
