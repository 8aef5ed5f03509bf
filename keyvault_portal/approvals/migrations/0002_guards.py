"""Decisions name the groups they count in, and triggers hold what may never change; see 0002_guards.sql beside this file."""

from pathlib import Path

from django.db import migrations, models

DROP = """
DROP TRIGGER guard ON approvals_decision;
DROP TRIGGER guard ON approvals_approvalrequest;
DROP FUNCTION approvals_guard_decision();
DROP FUNCTION approvals_guard_request();
"""


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial")]
    operations = [
        migrations.RemoveField("decision", "roles"),
        migrations.AddField(
            "decision",
            "groups",
            models.JSONField(default=list, help_text="Indexes of the request's groups in which the person counted when deciding."),
        ),
        migrations.RunSQL(Path(__file__).with_suffix(".sql").read_text(), DROP),
    ]
