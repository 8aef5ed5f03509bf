from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("keys", "0012_use_budgets_and_work_time")]

    operations = [
        migrations.AlterField(
            "faileditem",
            "reason",
            models.CharField(help_text="A word, or after `refused: ` what the store said.", max_length=500),
        ),
    ]
