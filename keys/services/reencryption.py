"""The walk of one job over one store: ranges claimed by many workers, pages written back only over what was read.

A page is one transaction in the target. The cursor lives in the portal's database and is moved after it, so a worker
that dies in between leaves rows that are already on the new version; reading them again skips them.
"""

import os
import socket
import time
from dataclasses import dataclass
from functools import partial
from itertools import compress, pairwise
from operator import is_not
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from keys.datastores.base import Answer, Cell, Page, StoreAdapter, WriteRefused
from keys.datastores.page_size import page_size_of
from keys.models import FailedItem, ReEncryptionJob, ReEncryptionRange
from keys.services import census, materials, ranges, rewrap, turns, unmovable
from keys.services.opening import open_store
from keys.services.ranges import Part
from keys.services.ratelimit import RateLimiter
from keys.services.recoding import Recoder, recode_page, recoder
from keys.services.set_aside import still_there
from keys.states import JobState, RotationState
from keyvault_portal.errors import PortalError
from keyvault_portal.numbers import counted

PAGE_ROWS = 500  # of the smaller cells: what a page holds stays near the processor on its way through
RANGE_ROWS = 4_000
MAX_PASSES = 50
_SAVE_SECONDS = 0.2  # people see the job move, and a pause or another rate comes through
# Not flushed page by page: a crash of this database sets the cursor back, and rows that moved already are skipped.
_SAVE = """
WITH hurried AS (SELECT set_config('synchronous_commit', 'off', true)), mine AS (
    UPDATE keys_reencryptionrange SET cursor = %s, done = %s, lease_until = %s
    FROM hurried WHERE id = %s AND worker = %s AND NOT done RETURNING id
)
UPDATE re_encryption_jobs AS job
SET items_done = items_done + %s, items_failed = items_failed + %s,
    items_changed_meanwhile = items_changed_meanwhile + %s, provider_calls = provider_calls + %s,
    work_seconds = work_seconds + GREATEST(0, LEAST(%s, EXTRACT(EPOCH FROM %s - heartbeat_at))),
    heartbeat_at = %s, last_error = ''
FROM mine WHERE job.id = %s RETURNING job.state, job.rate_limit
"""


class _Read(NamedTuple):
    """A page as it was read; `last` when its range has none after it."""

    part: Part
    page: Page
    last: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What pages and the API show of one job; `rate` in items a second, `eta` in seconds, both while it moves.

    `done` is never too high: what a worker that died had moved and not written down is in `gone`, once the job is done.
    """

    id: str
    label: str
    done: int
    total: int
    failed: int
    gone: int
    rate: float | None
    eta: float | None
    state: str
    rate_limit: int | None
    last_error: str
    unit: str


def speed(job: ReEncryptionJob) -> float | None:
    """Items a second while it worked and nothing held it; None before anything was moved."""
    return job.items_done / job.work_seconds if job.work_seconds > 0 and job.items_done else None


def progress(job: ReEncryptionJob) -> Progress:
    """How far a job is and, while it moves, how fast: at its speed so far or at its limit, where that is slower."""
    moving = job.state in {JobState.RUNNING.value, JobState.PENDING.value}
    rate = speed(job) if moving else None
    if rate and job.rate_limit:
        rate = min(rate, job.rate_limit)
    left = max(job.items_total - job.items_done - job.items_failed, 0)
    label = f"{job.get_mode_display()}: {job.store}" if job.store_id else job.get_mode_display()
    return Progress(
        id=f"job-{job.pk}", label=label, done=job.items_done, total=max(job.items_total, job.items_done), failed=job.items_failed,
        gone=job.items_gone, rate=rate, eta=left / rate if rate else None, state=job.state, rate_limit=job.rate_limit,
        last_error=job.last_error, unit="keys" if job.mode == ReEncryptionJob.Mode.REWRAP_KEYS else "items",
    )  # fmt: skip


def prepare(job: ReEncryptionJob) -> None:
    """See how much has to move and cut the store into ranges; the job runs from here on. Raises StoreUnavailable and kin.

    What names no version has to be walked, too: only so is it set aside.
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
            # A census from before an earlier walk of this job would count what that has moved.
            total = 0 if job.started_at else census.lately_to_walk(job.store, job.rotation.old_version_id)
            total = total or sum(census.standing(job.store, job.rotation.old_version, adapter=adapter))
            ranges = _cut(adapter, max(1, min(256, total // RANGE_ROWS))) if total else []
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
    except Exception:
        ranges.give_back(job, walker.name)  # so that the next try meets the same trouble, or none, instead of a lease
        raise
    finally:
        walker.close()


@dataclass(slots=True)
class _Step:
    """A page worked out: what it needs written, and what came of it."""

    read: _Read
    page: Page  # without the rows that stay
    new: list[list[Cell]]
    cells: int  # that move
    written: Answer[set[str]] = set
    moved: int = 0
    meanwhile: int = 0

    def count(self, refused: int = 0) -> None:
        """Wait until the page is written, and see how much of it was; the store refused so many of its rows."""
        written = self.written()
        left = len(self.page) - len(written)
        self.meanwhile = left - refused
        self.moved = self.cells
        if left:
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
        self.size = page_size_of(self.store.pk)
        self.recoder: Recoder = recoder(self.store, self.old, self.new)
        self.state, self.rate = str(job.state), job.rate_limit  # as last seen
        self.saved_at, self.calls_reported = time.monotonic(), 0
        self.waited = 0.0  # for the throttle, since then
        self.moved = self.aside = self.meanwhile = 0  # since then

    def close(self) -> None:
        self.recoder.close()
        self.adapter.close()

    def walk(self, deadline: float) -> bool:
        """True when there is more to do now."""
        if self.job.passes <= unmovable.PATIENT_PASSES:
            try:
                return self._walk_ahead(deadline)
            except WriteRefused:
                self._give_back()  # that page was not written, nor begun what was asked after it: it is read again
        return self._walk_apart(deadline)

    def _walk_ahead(self, deadline: float) -> bool:
        """`walk`; raises WriteRefused when a page holds a row that the store refuses.

        While a page is worked out here, the store writes the one before and reads the one after: the next of the range,
        or the first of another.
        """
        ahead = self._ask_after(None)
        if ahead is None:
            return self._end_of_pass()
        found: _Read | None = ahead()
        ahead, before = self._ask_after(found), None
        while found is not None and self.state == JobState.RUNNING.value and time.monotonic() < deadline:
            step = self._work_out(found)
            found = ahead() if ahead else None
            if before is not None:
                self._count(before)
            if self.rate and step.cells:
                self._hold_back(self.rate, step.cells)
            step.written = self.adapter.ask_write(step.page, step.new)
            ahead = self._ask_after(found) if found else None
            if before is not None and not self._save(before):
                step.count()
                return self._give_back()
            before = step
        if before is not None:
            self._count(before)
            self._save(before, now=True)
        return self._end_of_pass() if found is None else self._give_back()

    def _walk_apart(self, deadline: float) -> bool:
        """`walk` by small pages one after the other, which finds the rows that the store refuses and sets them aside."""
        ahead = self._ask_after(None, unmovable.PAGE_ROWS)
        while ahead is not None and self.state == JobState.RUNNING.value:
            step = self._work_out(ahead())
            if self.rate and step.cells:
                self._hold_back(self.rate, step.cells)
            written, refused = unmovable.write(self.job, self.adapter, step.page, step.new)
            step.written = partial(set, written)
            cells = unmovable.refused_cells(self.adapter.columns, step.page, step.new, refused)
            self.aside += unmovable.note(self.job, cells)
            self._count(step, len(refused))
            if not self._save(step, now=True) or time.monotonic() >= deadline:
                return self._give_back()
            ahead = self._ask_after(step.read, unmovable.PAGE_ROWS)
        return self._end_of_pass() if ahead is None else self._give_back()

    def _hold_back(self, rate: int, cells: int) -> None:
        """Wait until so many cells may move."""
        began = time.monotonic()
        RateLimiter(f"job:{self.job.pk}", rate).acquire(cells)
        self.waited += time.monotonic() - began

    def _ask_after(self, read: _Read | None, most: int = PAGE_ROWS) -> Answer[_Read] | None:
        """The page after this one, in its range or else in the next that is free; None when none is."""
        part = read.part if read and not read.last else self._claim()
        if part is None:
            return None
        after = read.page.keys[-1] if read and not read.last else part.cursor
        size = self.size.at_most(min(most, max(1, self.rate // 4)) if self.rate else most)
        answer = self.adapter.ask_page(after, part.upper, size)

        def answered() -> _Read:
            page = answer()
            self.size.learn(page)
            return _Read(part, page, (len(page) < size and not page.cut) or page.keys[-1] == part.upper)

        return answered

    def _claim(self) -> Part | None:
        """A free range that is this worker's from now on."""
        found = ranges.claim(self.job, self.name)
        if found is None:
            return None
        part, self.state, self.rate = found
        return part

    def _give_back(self) -> bool:
        """Leave the ranges that are still this worker's to others; True when the job goes on."""
        ranges.give_back(self.job, self.name)
        return ReEncryptionJob.objects.filter(pk=self.job.pk, state=JobState.RUNNING.value).exists()

    def _work_out(self, read: _Read) -> _Step:
        self.recoder.prepare(read.page)
        self.recoder.reserve(read.page)
        changing, new, unreadable, cells = recode_page(self.recoder, self.adapter.columns, read.page)
        self.aside += unmovable.note(self.job, unreadable)
        return _Step(read, changing, new, cells)

    def _count(self, step: _Step, refused: int = 0) -> None:
        """Wait until a step is written, and count it."""
        step.count(refused)
        self.moved, self.meanwhile = self.moved + step.moved, self.meanwhile + step.meanwhile

    def _save(self, step: _Step, *, now: bool = False) -> bool:
        """Now and then, and with the last page of a range, write the cursor of a counted step and the counters down together.

        False when somebody else holds the range by now. One statement, which also brings the job's state and rate limit
        as they are: a page has few milliseconds. What is not written down yet is read again after a crash, and skipped.
        """
        (part, page, last), clock = step.read, time.monotonic()
        if not (last or now or self.rate or clock >= self.saved_at + _SAVE_SECONDS):
            return True
        calls, at = self.recoder.provider_calls - self.calls_reported, timezone.now()
        cursor, until = page.keys[-1] if page else part.cursor, None if last else at + ranges.lease()
        busy = clock - self.saved_at - self.waited  # beside other workers, no more than since any of them saved
        with connection.cursor() as db:
            db.execute(
                _SAVE,
                [cursor, last, until, part.pk, self.name,
                 self.moved, self.aside, self.meanwhile, calls, busy, at, at, self.job.pk],
            )  # fmt: skip
            row: tuple[str, int | None] | None = db.fetchone()
        if row is None:
            return False
        self.state, self.rate = row
        self.calls_reported, self.saved_at = self.calls_reported + calls, clock
        self.moved = self.aside = self.meanwhile = 0
        self.waited = 0.0
        return True

    def _end_of_pass(self) -> bool:
        """No range is free: others still walk theirs, or the pass is over and the census says whether another is due."""
        if ReEncryptionRange.objects.filter(job=self.job, done=False).exists():
            return False
        self.adapter.settle()  # what the census sees now is not to be undone by a crash of the target
        left = sum(census.standing(self.store, self.old, adapter=self.adapter))
        aside = (
            FailedItem.objects.filter(job=self.job).exclude(resolution=FailedItem.Resolution.RECOVERED).order_by("pk")
        )
        blocked = sum(still_there(aside.iterator(), self.store, self.old, self.new, self.adapter))
        again = left > blocked
        ranges = _cut(self.adapter, max(1, min(64, left // (RANGE_ROWS // 4)))) if again else []
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
                late = counted(left, "item still arrives", "items still arrive")
                job.last_error = (
                    f"After {job.passes} passes {late} on the old version: an application keeps writing with it."
                )
            else:
                job.state, job.finished_at = JobState.DONE.value, timezone.now()
                job.items_total = max(job.items_total, job.items_done + blocked)
            job.save(update_fields=["passes", "state", "heartbeat_at", "finished_at", "last_error", "items_total"])
        return again and job.state == JobState.RUNNING.value


def note_trouble(job_id: UUID, error: PortalError, *, fatal: bool) -> None:
    """Keep why a job waits or stopped where people see it."""
    text = f"{error.detail} {error.hint}".strip()
    changes: dict[str, Any] = {"last_error": text if fatal else f"Waiting: {text}", "heartbeat_at": timezone.now()}
    if fatal:
        changes["state"] = JobState.FAILED.value
    ReEncryptionJob.objects.filter(pk=job_id, state__in=[JobState.RUNNING.value, JobState.PENDING.value]).update(
        **changes
    )


def worker_count() -> int:
    """How many workers share a job."""
    return settings.REENCRYPTION_WORKERS
