"""Re-wrapping the keys below a rotated one: rows of `encryption_keys` and `data_keys`; no data is touched."""

import random
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, FloatField, Value
from django.db.models.functions import Extract, Greatest, Least
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.models import DataKey, KeyVersion, ReEncryptionJob
from keys.services import budget, materials, provider_seals, turns, two_places
from keys.services.ratelimit import ProviderCalls, RateLimiter
from keys.states import JobState, VersionState

PAGE = 500
PAGES_A_PART, MOST_PARTS = 4, 256


def count(version_id: int) -> int:
    """How many wrapped keys stand on this version, and seals of the portal's root."""
    versions = KeyVersion.objects.filter(wrapped_by_id=version_id).exclude(status=VersionState.DESTROYED.value).count()
    return versions + DataKey.objects.filter(wrapped_by_id=version_id).count() + provider_seals.standing_on(version_id)


def work(job: ReEncryptionJob, deadline: float) -> bool:
    """Re-wrap pages until the deadline; True when there is more.

    Workers share the keys by parts: whoever is in a part is alone there, so no key is brought to a provider twice. No
    transaction is open while a provider is called; what it gave is written over what was read, and over nothing else.
    """
    versions = KeyVersion.objects.select_related(*materials.CHAIN)
    old, new = (versions.get(pk=pk) for pk in job.rotation.version_ids)
    walk = _Walk(job, old, new, deadline)
    while True:
        before = walk.moved
        for part in _parts(job):
            with turns.first_at(f"rewrap {job.pk} {part.name}") as first:
                if first and not walk.through(part):
                    return walk.running()
        if count(old.pk) == 0:
            _finish(job)
            return False
        if walk.moved == before:
            provider_seals.hasten(old.pk)  # only the keyholder can wrap the root anew; other workers hold the rest
            return False


@dataclass(frozen=True, slots=True)
class _Part:
    """Keys of one table, from one id to before another: `upper` is None for the last."""

    table: str
    column: str
    ids: str
    lower: str
    upper: str | None

    @property
    def name(self) -> str:
        return f"{self.table} {self.lower}"


def _parts(job: ReEncryptionJob) -> list[_Part]:
    """The data keys cut by their ids, which are random, into parts of a few pages; the key versions are one part.

    By what the job had to move when it began: all workers must cut alike, whenever they come, or their parts overlap.
    """
    number = min(MOST_PARTS, max(1, job.items_total // PAGE // PAGES_A_PART))
    edges = [str(UUID(int=(place << 128) // number)) for place in range(number)]
    cut = [_Part("data_keys", "wrapped", "uuid", *between) for between in zip(edges, [*edges[1:], None], strict=True)]
    random.shuffle(cut)  # so that workers that start together do not meet in each part
    return [_Part("encryption_keys", "wrapped_material", "bigint", "0", None), *cut]


class _Walk:
    """One worker's share of a job."""

    def __init__(self, job: ReEncryptionJob, old: KeyVersion, new: KeyVersion, deadline: float) -> None:
        self._job, self._old, self._new, self._deadline = job, old, new, deadline
        self._calls, self._told = Calls(old, new), 0
        self._began = time.monotonic()  # the page in hand, after the throttle
        self.moved = 0

    def running(self) -> bool:
        """Whether the job is to go on, read anew."""
        return ReEncryptionJob.objects.filter(pk=self._job.pk, state=JobState.RUNNING.value).exists()

    def through(self, part: _Part) -> bool:
        """Go through a part, page by page; False when time or the job's state stopped it before its end."""
        after = ""
        while True:
            job = ReEncryptionJob.objects.only("state", "rate_limit").get(pk=self._job.pk)
            if job.state != JobState.RUNNING.value or time.monotonic() >= self._deadline:
                return False
            rows = self._read(part, after, min(PAGE, max(1, job.rate_limit // 4)) if job.rate_limit else PAGE)
            if not rows:
                return True
            if job.rate_limit:
                RateLimiter(f"job:{self._job.pk}", job.rate_limit).acquire(len(rows))
            self._began = time.monotonic()
            budget.prepare(self._new, len(rows))
            done: list[tuple[Any, bytes, bytes]] = []
            try:
                for pk, wrapped in rows:
                    if done and time.monotonic() >= self._deadline:
                        break
                    self._calls.take()
                    done.append((pk, wrapped, self._again(part, pk, wrapped)))
            finally:  # what a provider gave before it failed is not asked of it again
                self._write(part, done)
            after = str(done[-1][0])

    def _again(self, part: _Part, pk: Any, wrapped: bytes) -> bytes:
        if part.table == "data_keys":
            context = materials.data_key_context(pk)
        else:
            context = materials.version_context(KeyVersion.objects.only("key_id", "key_version").get(pk=pk))
        with materials.unwrap_under(self._old, wrapped, context=context) as secret:
            return wrapped_again(self._new, secret, context)

    def _read(self, part: _Part, after: str, size: int) -> list[tuple[Any, bytes]]:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT id, {part.column} FROM {part.table} WHERE wrapped_by_id = %s AND {part.column} IS NOT NULL "  # noqa: S608
                f"AND id >= %s::{part.ids} AND (%s::{part.ids} IS NULL OR id < %s::{part.ids}) AND (%s = '' OR id > NULLIF(%s, '')::{part.ids}) "
                "ORDER BY id LIMIT %s",
                [self._old.pk, part.lower, part.upper, part.upper, after, after, size],
            )
            return [(pk, bytes(wrapped)) for pk, wrapped in cursor.fetchall()]

    def _write(self, part: _Part, done: list[tuple[Any, bytes, bytes]]) -> None:
        """Set each key under the new version if it is still what was read, and count."""
        if not done:
            return
        ids, before, after = ([row[place] for row in done] for place in range(3))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {part.table} AS k SET {part.column} = u.after, wrapped_by_id = %s "  # noqa: S608
                f"FROM unnest(%s::{part.ids}[], %s::bytea[], %s::bytea[]) AS u(id, before, after) "
                f"WHERE k.id = u.id AND k.wrapped_by_id = %s AND k.{part.column} = u.before",
                [self._new.pk, ids, before, after, self._old.pk],
            )
            moved, now = cursor.rowcount, timezone.now()
            # Beside other workers, no more than since any of them wrote.
            since = Extract(Value(now) - F("heartbeat_at"), "epoch", output_field=FloatField())
            busy = Greatest(0.0, Least(since, time.monotonic() - self._began))
            ReEncryptionJob.objects.filter(pk=self._job.pk).update(
                items_done=F("items_done") + moved, provider_calls=F("provider_calls") + self._calls.made - self._told,
                work_seconds=F("work_seconds") + busy, heartbeat_at=now, last_error="",
            )  # fmt: skip
        self.moved, self._told = self.moved + moved, self._calls.made


class Calls:
    """The calls that wrapping one key again takes of the providers of both versions, each in its turn."""

    def __init__(self, old: KeyVersion, new: KeyVersion) -> None:
        self._old, self._new = ProviderCalls(old.provider), ProviderCalls(new.provider)
        self._copies = int(two_places.copies(new) is not None)

    @property
    def made(self) -> int:
        return self._old.made + self._new.made

    def take(self) -> None:
        """Wait until one key may be opened at the old place and wrapped at the new one, or at both."""
        self._old.take(1 + self._copies)
        self._new.take(1)


def wrapped_again(new: KeyVersion, secret: SecretBytes, context: dict[str, str]) -> bytes:
    """`secret` under `new`, at both places while its key moves; raises as `materials.wrap_under`, ProviderUnavailable."""
    wrapped = materials.wrap_under(new, secret, context=context)
    two_places.require_both(new, wrapped)
    return wrapped


def _finish(job: ReEncryptionJob) -> None:
    now = timezone.now()
    ReEncryptionJob.objects.filter(pk=job.pk, state=JobState.RUNNING.value).update(
        state=JobState.DONE.value, finished_at=now, heartbeat_at=now, items_total=F("items_done")
    )
