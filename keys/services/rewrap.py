"""Re-wrapping the keys below a rotated one: rows of `encryption_keys` and `data_keys`; no data is touched."""

import time
from collections.abc import Sequence

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.models import DataKey, KeyVersion, ReEncryptionJob
from keys.services import budget, materials, provider_seals, two_places
from keys.services.ratelimit import ProviderCalls, RateLimiter
from keys.states import JobState, VersionState

PAGE = 500


def count(version_id: int) -> int:
    """How many wrapped keys stand on this version, and seals of the portal's root."""
    versions = KeyVersion.objects.filter(wrapped_by_id=version_id).exclude(status=VersionState.DESTROYED.value).count()
    return versions + DataKey.objects.filter(wrapped_by_id=version_id).count() + provider_seals.standing_on(version_id)


def work(job: ReEncryptionJob, deadline: float) -> bool:
    """Re-wrap pages until the deadline; True when there is more. Each page is one transaction of our own database."""
    versions = KeyVersion.objects.select_related(*materials.CHAIN)
    old, new = (versions.get(pk=pk) for pk in job.rotation.version_ids)
    calls = Calls(old, new)
    while time.monotonic() < deadline:
        state = ReEncryptionJob.objects.only("state", "rate_limit").get(pk=job.pk)
        if state.state != JobState.RUNNING.value:
            return False
        size = min(PAGE, max(1, state.rate_limit // 4)) if state.rate_limit else PAGE
        if state.rate_limit:
            RateLimiter(f"job:{job.pk}", state.rate_limit).acquire(size)
        budget.prepare(new, size)
        before = calls.made
        moved = _versions_page(old, new, size, calls) or _data_keys_page(old, new, size, calls)
        if moved:
            ReEncryptionJob.objects.filter(pk=job.pk).update(
                items_done=F("items_done") + moved,
                provider_calls=F("provider_calls") + calls.made - before,
                heartbeat_at=timezone.now(),
                last_error="",
            )
        elif count(old.pk) == 0:
            _finish(job)
            return False
        else:
            provider_seals.hasten(old.pk)  # only the keyholder can wrap the root anew
            return False  # it, or other workers, hold the rest
    return True


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


def _versions_page(old: KeyVersion, new: KeyVersion, size: int, calls: Calls) -> int:
    with transaction.atomic():
        rows: Sequence[KeyVersion] = list(
            KeyVersion.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(wrapped_by=old).exclude(status=VersionState.DESTROYED.value).select_related("key").order_by("pk")[:size]
        )  # fmt: skip
        for row in rows:
            calls.take()
            context = materials.version_context(row)
            assert row.wrapped_material is not None
            with materials.unwrap_under(old, bytes(row.wrapped_material), context=context) as secret:
                row.wrapped_material, row.wrapped_by = wrapped_again(new, secret, context), new
            row.save(update_fields=["wrapped_material", "wrapped_by"])
    return len(rows)


def _data_keys_page(old: KeyVersion, new: KeyVersion, size: int, calls: Calls) -> int:
    with transaction.atomic():
        rows = list(
            DataKey.objects.select_for_update(skip_locked=True)
            .filter(wrapped_by=old)
            .order_by("pk")
            .values_list("pk", "wrapped")[:size]
        )
        moved: list[bytes] = []
        for pk, wrapped in rows:
            calls.take()
            context = materials.data_key_context(pk)
            with materials.unwrap_under(old, bytes(wrapped), context=context) as secret:
                moved.append(wrapped_again(new, secret, context))
        if rows:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE data_keys d SET wrapped = u.wrapped, wrapped_by_id = %s FROM unnest(%s::uuid[], %s::bytea[]) AS u(id, wrapped) "
                    "WHERE d.id = u.id",
                    [new.pk, [pk for pk, _ in rows], moved],
                )
    return len(rows)
