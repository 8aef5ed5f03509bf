"""The key ranges of a job: one worker at a time walks one, and holds it by a lease."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection
from django.utils import timezone

from keys.models import ReEncryptionJob, ReEncryptionRange

_CLAIM = """
WITH hurried AS (SELECT set_config('synchronous_commit', 'off', true))
UPDATE keys_reencryptionrange AS part SET lease_until = %s, worker = %s
FROM hurried, re_encryption_jobs AS job
WHERE job.id = part.job_id AND part.id = (
    SELECT id FROM keys_reencryptionrange
    WHERE job_id = %s AND NOT done AND (lease_until IS NULL OR lease_until < %s)
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING part.id, part.cursor, part.upper, job.state, job.rate_limit
"""


class Part(NamedTuple):
    """A claimed range: after `cursor`, up to `upper`."""

    pk: int
    cursor: str | None
    upper: str | None


def lease() -> timedelta:
    """How long a range stays with a worker that gives no sign of life, and a job without one before it is swept."""
    return timedelta(seconds=settings.REENCRYPTION_LEASE_SECONDS)


def claim(job: ReEncryptionJob, worker: str) -> tuple[Part, str, int | None] | None:
    """A free range that is `worker`'s from now on, with the job's state and rate limit; None when none is free."""
    now = timezone.now()
    with connection.cursor() as db:
        db.execute(_CLAIM, [now + lease(), worker, job.pk, now])
        found: tuple[Any, ...] | None = db.fetchone()
    return found and (Part(*found[:3]), found[3], found[4])


def give_back(job: ReEncryptionJob, worker: str) -> None:
    """Leave the ranges that are still `worker`'s to others."""
    mine = ReEncryptionRange.objects.filter(job=job, worker=worker, done=False)
    mine.update(lease_until=None, worker="")
