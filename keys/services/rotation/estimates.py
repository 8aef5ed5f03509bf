"""The dry run: how many items, how many provider calls, how long."""

import math
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from keys.hierarchy import KeyKind
from keys.models import DataKey, DataStore, Key, ReEncryptionJob
from keys.services import census, reencryption, rewrap
from keys.services.ratelimit import provider_budget
from keys.services.segments import SEGMENT_RECORDS
from keys.states import JobState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, WrongState

ITEMS_A_SECOND = 10_000  # a worker's cautious rate before any job of the store was measured


@dataclass(frozen=True, slots=True)
class Part:
    """One store, or the wrapped keys below."""

    label: str
    items: int
    provider_calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The whole: parts run one beside the other, so time is that of the longest."""

    items: int
    provider_calls: int
    seconds: float
    parts: list[Part]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def dry_run(*, actor: Actor, key_id: UUID) -> Estimate:
    """What a rotation of this key would take, counted now; changes nothing but the kept census.

    Raises PermissionRefused, NotFound, WrongState (no version in use), StoreUnavailable.
    """
    key = Key.objects.select_related("current", "ring").filter(pk=key_id).first()
    if key is None:
        raise NotFound("There is no such key.")
    authorize(actor, Permission.KEY_ROTATE, ring_id=key.ring_id, target=str(key))
    return estimate(key)


def estimate(key: Key) -> Estimate:
    """As `dry_run`, for a caller who has authorised; raises WrongState, StoreUnavailable."""
    if key.current is None:
        raise WrongState(f"{key} has no version to rotate from.")
    parts = []
    if key.kind in {KeyKind.MASTER.value, KeyKind.KEK.value}:
        wrapped = rewrap.count(key.current.pk)
        parts.append(_part("Wrapped keys", wrapped, 2 * wrapped, ITEMS_A_SECOND, key.provider))
    for store in DataStore.objects.filter(key=key).order_by("name"):
        items = census.items_on(store, key.current)
        calls = 2 * items if key.kind == KeyKind.KEK.value else _segment_calls(key, items)
        parts.append(_part(store.title, items, calls, _rate(store), key.provider))
    return Estimate(
        sum(part.items for part in parts),
        sum(part.provider_calls for part in parts),
        max((part.seconds for part in parts), default=0.0),
        parts,
    )


def _segment_calls(key: Key, items: int) -> int:
    assert key.current
    old = DataKey.objects.filter(version=key.current).count()
    return min(old, items) + math.ceil(items / SEGMENT_RECORDS)


def _rate(store: DataStore) -> float:
    """Items a second of the last finished job on this store, unthrottled, or a cautious guess; never above the store's limit."""
    last = (
        ReEncryptionJob.objects.filter(store=store, state=JobState.DONE.value, items_done__gt=0)
        .order_by("-finished_at")
        .first()
    )
    measured = reencryption.speed(last) if last else None
    rate = measured or ITEMS_A_SECOND * reencryption.worker_count()
    return min(rate, store.rate_limit) if store.rate_limit else rate


def _part(label: str, items: int, calls: int, rate: float, provider: str) -> Part:
    budget = provider_budget(provider)
    return Part(label, items, calls, max(items / rate, calls / budget if budget else 0.0))
