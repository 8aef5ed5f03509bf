"""The walk of one job over one store: ranges claimed by many workers, pages written back only over what was read.

A page is one transaction in the target. The cursor lives in the portal's database and is moved after it, so a worker
that dies in between leaves rows that are already on the new version; reading them again skips them.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress, pairwise
from operator import is_not
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from keys.datastores.base import Answer, Cell, Page, StoreAdapter
from keys.models import FailedItem, ReEncryptionJob, ReEncryptionRange
from keys.services import census, materials, rewrap, turns
from keys.services.opening import open_store
from keys.services.ratelimit import RateLimiter
from keys.services.recoding import Recoder, recoder
from keys.states import JobState, RotationState

PAGE_ROWS = 1_000
MAX_PASSES = 50
# Not flushed page by page: a crash of this database sets the cursor back, and rows that moved already are skipped.
_SAVE = """
WITH hurried AS (SELECT set_config('synchronous_commit', 'off', true)), mine AS (
    UPDATE keys_reencryptionrange SET cursor = %s, done = %s, lease_until = %s
    FROM hurried WHERE id = %s AND worker = %s AND NOT done RETURNING id
)
UPDATE re_encryption_jobs AS job
SET items_done = items_done + %s, items_failed = items_failed + %s,
    items_changed_meanwhile = items_changed_meanwhile + %s, provider_calls = provider_calls + %s,
    heartbeat_at = %s, last_error = ''
FROM mine WHERE job.id = %s RETURNING job.state, job.rate_limit
"""


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


class _Part(NamedTuple):
    """A claimed range, and the job as it was then."""

    pk: int
    cursor: str | None
    upper: str | None
    state: str
    rate: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What pages and the API show of one job; `rate` in items a second, `eta` in seconds."""

    id: str
    label: str
    done: int
    total: int
    failed: int
    rate: float | None
    eta: float | None
    state: str
    rate_limit: int | None
    last_error: str
    unit: str


def progress(job: ReEncryptionJob) -> Progress:
    """How far a job is, at its mean rate since it started."""
    end = job.finished_at or job.heartbeat_at
    seconds = (end - job.started_at).total_seconds() if end and job.started_at else 0.0
    rate = job.items_done / seconds if seconds > 0 and job.items_done else None
    left = max(job.items_total - job.items_done - job.items_failed, 0)
    moving = job.state in {JobState.RUNNING.value, JobState.PENDING.value}
    label = f"{job.get_mode_display()}: {job.store}" if job.store_id else job.get_mode_display()
    return Progress(
        id=f"job-{job.pk}", label=label, done=job.items_done, total=max(job.items_total, job.items_done), failed=job.items_failed,
        rate=rate, eta=left / rate if rate and moving else None, state=job.state, rate_limit=job.rate_limit, last_error=job.last_error,
        unit="keys" if job.mode == ReEncryptionJob.Mode.REWRAP_KEYS else "items",
    )  # fmt: skip


def prepare(job: ReEncryptionJob) -> None:
    """See how much has to move and cut the store into ranges; the job runs from here on. Raises StoreUnavailable and kin.

    How much is only for people to watch, so a census of the last hour serves; the end of the job counts in any case. One
    worker does this; the others wait for it instead of counting the same items beside it.
    """
    with turns.alone(f"prepare {job.pk}"):
        if ReEncryptionJob.objects.filter(pk=job.pk, state=JobState.PENDING.value).exists():
            _prepare(job)


def _prepare(job: ReEncryptionJob) -> None:
    if job.store is None:
        total, ranges = rewrap.count(job.rotation.old_version_id), []
    else:
        adapter = open_store(job.store)
        try:
            total = census.lately_on(job.store, job.rotation.old_version_id)
            total = total or census.items_on(job.store, job.rotation.old_version, adapter=adapter)
            ranges = _cut(adapter, max(1, min(256, total // (4 * PAGE_ROWS)))) if total else []
        finally:
            adapter.close()
    with transaction.atomic():
        locked = ReEncryptionJob.objects.select_for_update().get(pk=job.pk)
        if locked.state != JobState.PENDING.value:
            return
        ReEncryptionRange.objects.filter(job=locked).delete()
        _add_ranges(locked, ranges, 1)
        now = timezone.now()
        locked.state, locked.passes, locked.last_error = JobState.RUNNING.value, 1, ""
        locked.items_total = max(locked.items_total, locked.items_done + total)
        locked.started_at, locked.heartbeat_at = locked.started_at or now, now
        locked.save(update_fields=["state", "passes", "items_total", "started_at", "heartbeat_at", "last_error"])


def _cut(adapter: StoreAdapter, parts: int) -> list[tuple[str | None, str | None]]:
    marks = adapter.boundaries(parts)[:-1]
    edges: list[str | None] = [None, *marks, None]
    # The last range has no upper bound: rows inserted while the job runs belong to it.
    return list(pairwise(edges))


def _add_ranges(job: ReEncryptionJob, ranges: list[tuple[str | None, str | None]], number: int) -> None:
    ReEncryptionRange.objects.bulk_create(
        [
            ReEncryptionRange(job=job, pass_number=number, lower=lower, upper=upper, cursor=lower)
            for lower, upper in ranges
        ]
    )


def work(job_id: UUID, seconds: float) -> bool:
    """Do this worker's share for at most `seconds`; True when there is more to do now.

    Raises StoreUnavailable (try again later) and StoreGone or StoreRefused (a person must act).
    """
    job = ReEncryptionJob.objects.select_related("store", "rotation").get(pk=job_id)
    if job.rotation.state == RotationState.INTRODUCING.value:
        return False  # nothing to move to yet: it is sent again when the new version is active
    if job.state == JobState.PENDING.value:
        prepare(job)
        job.refresh_from_db()
    if job.state != JobState.RUNNING.value:
        return False
    deadline = time.monotonic() + seconds
    if job.store is None:
        return rewrap.work(job, deadline)
    walker = _Walker(job)
    try:
        return walker.walk(deadline)
    finally:
        walker.close()


@dataclass(slots=True)
class _Step:
    """A page worked out: what it needs written, up to which key it goes, and what came of it."""

    cursor: str | None
    page: Page  # without the rows that stay
    new: list[list[Cell]]
    cells: int  # that move
    aside: int  # cells set aside
    written: Answer[set[str]] = set
    moved: int = 0
    meanwhile: int = 0

    def count(self) -> None:
        """Wait until the page is written, and see how much of it was."""
        written = self.written()
        self.meanwhile = len(self.page) - len(written)
        self.moved = self.cells
        if self.meanwhile:
            kept = [key in written for key in self.page.keys]
            self.moved = sum(
                sum(map(is_not, compress(new, kept), compress(olds, kept)))
                for new, olds in zip(self.new, self.page.columns, strict=True)
            )


class _Walker:
    """One worker on one job."""

    def __init__(self, job: ReEncryptionJob) -> None:
        assert job.store is not None
        self.job, self.store = job, job.store
        self.name = f"{socket.gethostname()}:{os.getpid()}:{time.monotonic_ns()}"
        versions = type(job.rotation.old_version).objects.select_related(*materials.CHAIN)
        self.old, self.new = (versions.get(pk=pk) for pk in job.rotation.version_ids)
        self.adapter = open_store(self.store)
        self.recoder: Recoder = recoder(self.store, self.old, self.new)
        self.calls_reported = 0

    def close(self) -> None:
        self.recoder.close()
        self.adapter.close()

    def walk(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            claimed = self._claim()
            if claimed is None:
                return self._end_of_pass()
            if not self._walk_range(claimed, deadline):
                return self._running()
        return True

    def _claim(self) -> _Part | None:
        """A free range that is this worker's from now on, with the job's state and rate limit."""
        now = timezone.now()
        with connection.cursor() as db:
            db.execute(_CLAIM, [now + lease(), self.name, self.job.pk, now])
            found: tuple[Any, ...] | None = db.fetchone()
        return _Part(*found) if found else None

    def _walk_range(self, part: _Part, deadline: float) -> bool:
        """True when the range is finished; False when time, the lease or the job's state stopped it.

        While a page is worked out here, the store writes the one before and reads the one after.
        """
        state, rate, before = part.state, part.rate, None
        page, last = self._ask(part, part.cursor, rate)()
        ahead = None if last else self._ask(part, page.keys[-1], rate)
        while state == JobState.RUNNING.value and time.monotonic() < deadline:
            step = self._work_out(page, before.cursor if before else part.cursor)
            following, ends = ahead() if ahead else (page, True)
            if before is not None:
                before.count()
            if rate and step.cells:
                RateLimiter(f"job:{self.job.pk}", rate).acquire(step.cells)
            step.written = self.adapter.ask_write(step.page, step.new)
            ahead = None if ends else self._ask(part, following.keys[-1], rate)
            if before is not None:
                saved = self._save(part, before, finished=False)
                if saved is None:
                    step.count()
                    return False
                state, rate = saved
            before = step
            if last:
                step.count()
                return self._save(part, step, finished=True) is not None
            page, last = following, ends
        if before is not None:
            before.count()
            self._save(part, before, finished=False)
        ReEncryptionRange.objects.filter(pk=part.pk, worker=self.name).update(lease_until=None, worker="")
        return False

    def _ask(self, part: _Part, after: str | None, rate: int | None) -> Answer[tuple[Page, bool]]:
        """The next page of a range, and whether it is the last."""
        size = min(PAGE_ROWS, max(1, rate // 4)) if rate else PAGE_ROWS
        answer = self.adapter.ask_page(after, part.upper, size)

        def read() -> tuple[Page, bool]:
            page = answer()
            return page, len(page) < size or page.keys[-1] == part.upper

        return read

    def _work_out(self, page: Page, cursor: str | None) -> "_Step":
        self.recoder.prepare(page)
        self.recoder.reserve(page)
        changing, new, aside, cells = recode_page(self.recoder, self.adapter.columns, page)
        return _Step(page.keys[-1] if page else cursor, changing, new, cells, self._set_aside(aside))

    def _set_aside(self, found: list[tuple[str, str, str]]) -> int:
        """Note unreadable cells, each once a job; returns how many are new."""
        if not found:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO keys_faileditem (job_id, store_id, item, "column", reason, seen_at, resolution, resolved_by, resolution_note) '
                "SELECT %s, %s, i, c, r, now(), 'open', '', '' FROM unnest(%s::text[], %s::text[], %s::text[]) AS u(i, c, r) "
                "ON CONFLICT ON CONSTRAINT keys_failed_item_once DO NOTHING",
                [self.job.pk, self.store.pk, *[list(column) for column in zip(*found, strict=True)]],
            )
            return int(cursor.rowcount)

    def _save(self, part: _Part, step: "_Step", *, finished: bool) -> tuple[str, int | None] | None:
        """Move the cursor and the job's counters together; the job's state and rate limit as they are now.

        None when somebody else holds the range by now. One statement, for a page has few milliseconds.
        """
        calls, now = self.recoder.provider_calls - self.calls_reported, timezone.now()
        until = None if finished else now + lease()
        with connection.cursor() as db:
            db.execute(
                _SAVE,
                [step.cursor, finished, until, part.pk, self.name,
                 step.moved, step.aside, step.meanwhile, calls, now, self.job.pk],
            )  # fmt: skip
            row: tuple[str, int | None] | None = db.fetchone()
        if row is not None:
            self.calls_reported += calls
        return row

    def _running(self) -> bool:
        return ReEncryptionJob.objects.filter(pk=self.job.pk, state=JobState.RUNNING.value).exists()

    def _end_of_pass(self) -> bool:
        """No range is free: others still walk theirs, or the pass is over and the census says whether another is due."""
        if ReEncryptionRange.objects.filter(job=self.job, done=False).exists():
            return False
        self.adapter.settle()  # what the census sees now is not to be undone by a crash of the target
        left = census.items_on(self.store, self.old, adapter=self.adapter)
        blocked = (
            FailedItem.objects.filter(job=self.job, reason="decrypt_failed")
            .exclude(resolution=FailedItem.Resolution.RECOVERED)
            .count()
        )
        again = left > blocked
        ranges = _cut(self.adapter, max(1, min(64, left // PAGE_ROWS))) if again else []
        with transaction.atomic():
            job = ReEncryptionJob.objects.select_for_update().get(pk=self.job.pk)
            if job.state != JobState.RUNNING.value or ReEncryptionRange.objects.filter(job=job, done=False).exists():
                return job.state == JobState.RUNNING.value  # somebody else ended this pass meanwhile
            job.heartbeat_at = timezone.now()
            if again and job.passes < MAX_PASSES:
                job.passes += 1
                ReEncryptionRange.objects.filter(job=job).delete()
                _add_ranges(job, ranges, job.passes)
            elif again:
                job.state = JobState.FAILED.value
                job.last_error = f"After {job.passes} passes {left:,} items still arrive on the old version: an application keeps writing with it."
            else:
                job.state, job.finished_at = JobState.DONE.value, timezone.now()
                job.items_total = job.items_done + blocked
            job.save(update_fields=["passes", "state", "heartbeat_at", "finished_at", "last_error", "items_total"])
        return again and job.state == JobState.RUNNING.value


def recode_page(
    recode: Recoder, names: Sequence[str], page: Page
) -> tuple[Page, list[list[Cell]], list[tuple[str, str, str]], int]:
    """The rows of a page that change, what to write over them, the cells that cannot be read (key, column, reason), and
    how many cells move.

    A row with one unreadable cell still moves its readable ones.
    """
    aside: list[tuple[str, str, str]] = []
    news: list[list[Cell]] = []
    moved = 0
    for name, olds, bound in zip(names, page.columns, page.contexts, strict=bool(page)):
        new, unreadable = recode.recode_column(olds, bound)
        aside += [(page.keys[place], name, reason) for place, reason in unreadable]
        moved += sum(map(is_not, new, olds))
        news.append(new)
    if moved < len(page) * len(news):
        differing = [
            any(map(is_not, *cells))
            for cells in zip(zip(*news, strict=True), zip(*page.columns, strict=True), strict=True)
        ]
        page, news = page.pick(differing), [list(compress(new, differing)) for new in news]
    return page, news, aside, moved


def note_trouble(job_id: UUID, error: Exception, *, fatal: bool) -> None:
    """Keep why a job waits or stopped where people see it."""
    text = getattr(error, "detail", None) or type(error).__name__
    changes: dict[str, Any] = {"last_error": text if fatal else f"Waiting: {text}", "heartbeat_at": timezone.now()}
    if fatal:
        changes["state"] = JobState.FAILED.value
    ReEncryptionJob.objects.filter(pk=job_id, state__in=[JobState.RUNNING.value, JobState.PENDING.value]).update(
        **changes
    )


def lease() -> timedelta:
    """How long a range stays with a worker that gives no sign of life, and a job without one before it is swept."""
    return timedelta(seconds=settings.REENCRYPTION_LEASE_SECONDS)


def worker_count() -> int:
    """How many workers share a job."""
    return settings.REENCRYPTION_WORKERS
