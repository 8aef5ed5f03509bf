"""The Celery application: `celery -A keyvault_portal worker` and `celery -A keyvault_portal beat`."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
# Django's checks import every page and what draws it, a third of a worker's memory; what a worker must check is below.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("keyvault_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
@beat_init.connect
def _check_settings(**event: Any) -> None:
    from keyvault_portal.checks import refuse_to_start

    refuse_to_start()


@celeryd_init.connect
def _outlive_the_broker(**event: Any) -> None:
    from keyvault_portal.worker import outlive_the_broker

    outlive_the_broker()


@worker_process_init.connect
def _spare_the_collector(**event: Any) -> None:
    """What was there before the fork stays, and is not looked through again."""
    gc.freeze()
