"""An index of the versions used much, and how long jobs worked; an estimate that was never kept goes."""

from django.db import migrations, models

# Until now there was but the time from their first page to their last sign of life.
WORKED = """
UPDATE re_encryption_jobs
SET work_seconds = GREATEST(0, EXTRACT(EPOCH FROM COALESCE(finished_at, heartbeat_at) - started_at))
WHERE started_at IS NOT NULL AND COALESCE(finished_at, heartbeat_at) IS NOT NULL
"""


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0001_squashed_0011_provider_rotation'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='rotation',
            name='estimate',
        ),
        migrations.AddField(
            model_name='reencryptionjob',
            name='work_seconds',
            field=models.FloatField(default=0.0),
        ),
        migrations.RunSQL(WORKED, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name='keyversion',
            index=models.Index(condition=models.Q(('status', 'active'), ('uses_reserved__gte', 42949672)), fields=['uses_reserved'], name='keys_version_used_much'),
        ),
    ]
