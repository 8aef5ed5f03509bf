"""What beat sends is what a worker knows."""

from django.conf import settings

from keyvault_portal.celery import app


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()
    assert {str(entry["task"]) for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)
