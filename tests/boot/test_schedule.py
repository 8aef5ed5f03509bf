"""What beat sends, the worker knows."""

from django.conf import settings

from keyvault_portal.celery import app


def test_every_scheduled_task_is_one_the_worker_knows():
    app.loader.import_default_modules()
    unknown = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} - set(app.tasks)
    assert not unknown


def test_every_task_of_ours_that_takes_nothing_is_scheduled():
    """A tick that nobody sends never runs."""
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    ticks = {name for name, task in app.tasks.items() if "tick" in name or name.endswith(".sweep")}
    assert ticks == scheduled
