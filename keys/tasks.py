"""Background work on data: slices of re-encryption, the census, and the ticks that start and mend both."""

import logging
import random
import traceback
from datetime import timedelta
from uuid import UUID

from celery import Task, shared_task
from django.db import Error, close_old_connections
from django.db.models import Q
from django.utils import timezone

from keys.models import DataStore, ReEncryptionJob
from keys.services import census, moving, ranges, reencryption, rotation
from keys.states import JobState, RotationState
from keyvault_portal.errors import PortalError, ProviderUnavailable, StoreUnavailable

logger = logging.getLogger(__name__)
SLICE_SECONDS = 5.0  # what else waits for a worker, such as an act that was agreed to, gets its turn in between
CENSUS_EVERY = timedelta(hours=1)
_WAIT = (1, 2, 4, 8, 15, 30)


@shared_task(name="keys.reencrypt", bind=True, max_retries=None)
def reencrypt(self: "Task[[str], None]", job_id: str) -> None:
    """Do one slice of a job, then hand the rest to the next slice; trouble that passes is waited out."""
    identifier = UUID(job_id)
    more, trouble = False, None
    try:
        more = reencryption.work(identifier, SLICE_SECONDS)
    except ReEncryptionJob.DoesNotExist:
        return
    except Exception as error:
        trouble = error  # told of below, where nothing that goes wrong brings it into the log
    if trouble is not None and _told_or_away(identifier, trouble, self.request.retries):
        wait = _WAIT[min(self.request.retries, len(_WAIT) - 1)]
        raise self.retry(countdown=random.uniform(wait / 2, wait))  # noqa: S311  not all workers at once
    if more:
        reencrypt.delay(job_id)
        return
    rotation_id = ReEncryptionJob.objects.filter(pk=identifier).values_list("rotation_id", flat=True).first()
    if rotation_id is not None:
        rotation.settle(rotation_id)
        moving.follow_rotation(rotation_id)


def _told_or_away(job_id: UUID, trouble: Exception, tries: int) -> bool:
    """As `_waits`; where the portal's own database is away, nothing can be kept, and the job waits until it is back."""
    try:
        return _waits(job_id, trouble, tries)
    except Error:
        return True


def _waits(job_id: UUID, trouble: Exception, tries: int) -> bool:
    """Keep on the job why it does not go on; True when it is to be tried again by itself, False when a person must act."""
    if isinstance(trouble, PortalError):
        waits = isinstance(trouble, (StoreUnavailable, ProviderUnavailable))
        reencryption.note_trouble(job_id, trouble, fatal=not waits)
        return waits
    # Nobody foresaw it, so its words may quote data: its name and the lines of code do not.
    kind, waits = type(trouble).__name__, tries < len(_WAIT)
    logger.error("job %s met %s:\n%s", job_id, kind, "".join(traceback.format_tb(trouble.__traceback__)))
    mistake = PortalError(
        f"The portal itself failed ({kind}); the log of the worker says where.", hint="Try again later."
    )
    reencryption.note_trouble(job_id, mistake, fatal=not waits)
    return waits


@shared_task(name="keys.take_census")
def take_census(store_id: str) -> None:
    """Count one store."""
    store = DataStore.objects.filter(pk=store_id).first()
    if store is not None:
        census.take(store)


@shared_task(name="keys.sweep")
def sweep() -> None:
    """Send jobs that nobody works on to workers again: their worker died, or the broker lost the message."""
    close_old_connections()
    old = timezone.now() - ranges.lease()
    open_ = ReEncryptionJob.objects.filter(state__in=[JobState.RUNNING.value, JobState.PENDING.value])
    open_ = open_.exclude(rotation__state=RotationState.INTRODUCING.value)
    stalled = open_.filter(Q(heartbeat_at__lt=old) | Q(heartbeat_at=None, created_at__lt=old))
    for job_id in stalled.values_list("pk", flat=True)[:100]:
        for _ in range(reencryption.worker_count()):
            reencrypt.delay(str(job_id))
    finished = ReEncryptionJob.objects.filter(
        state__in=[JobState.DONE.value, JobState.FAILED.value], rotation__state="re_encrypting"
    )
    for rotation_id in set(finished.values_list("rotation_id", flat=True)[:100]):
        rotation.settle(rotation_id)


@shared_task(name="keys.tick")
def tick() -> None:
    """Rotations by policy, those waiting for publication, those whose old version is gone, and hourly censuses."""
    rotation.tick_schedules()
    rotation.tick_introductions()
    rotation.tick_completions()
    due = DataStore.objects.filter(Q(census_at=None) | Q(census_at__lt=timezone.now() - CENSUS_EVERY))
    for store_id in due.values_list("pk", flat=True)[:100]:
        take_census.delay(str(store_id))
