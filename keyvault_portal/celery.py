"""The Celery application: `celery -A keyvault_portal.celery worker` and `... beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")

app = Celery("keyvault_portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
