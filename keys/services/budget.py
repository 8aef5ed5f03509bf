"""The use budget of a key version: an upper bound of its uses, leased in blocks so that no call writes.

Random nonces repeat by chance after enough messages (NIST SP 800-38D, 8.3: at most 2^32 invocations a key), so each
process takes uses from the version's row a block at a time and hands them out from memory. A process that dies loses
the rest of its block: the row counts too many, never too few.
"""

import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import BigIntegerField, Case, DecimalField, F, Func, Q, QuerySet, Value, When
from django.db.models.functions import Cast
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS
from keys.models import Key, KeyVersion
from keys.states import VersionState
from keyvault_portal.errors import LimitExceeded

_CEILING = 2**62  # what the column holds; limits above it are beyond any use

_lock = threading.Lock()
_leases: dict[int, int] = {}


def _after_fork() -> None:
    # A child that kept its parent's lease would hand the same uses out a second time.
    global _lock  # noqa: PLW0603  the parent's lock may be held by a thread that does not exist here
    _lock = threading.Lock()
    _leases.clear()


os.register_at_fork(after_in_child=_after_fork)


def forget() -> None:
    """Give up this process's leases (their uses stay counted)."""
    with _lock:
        _leases.clear()


def block_size() -> int:
    """Uses leased at a time."""
    return int(getattr(settings, "KEY_USE_BLOCK", 65_536))


def use_limit(algorithm: str) -> int | None:
    """Safe number of uses of one key of this algorithm; None where uses do not wear a key out."""
    limit = ALGORITHMS[algorithm].use_limit
    return None if limit is None else min(limit, _CEILING)


def spend(version: KeyVersion, uses: int = 1) -> None:
    """Take `uses` out of the budget of `version` before protecting something; raises LimitExceeded, taking nothing.

    Inside a transaction with no lease left, just `uses` are reserved, for a block would roll back with it while this
    process went on spending it.
    """
    limit = use_limit(version.key.algorithm)
    if limit is None or uses < 1:
        return
    with _lock:
        left = _leases.get(version.pk, 0)
        if left >= uses:
            _leases[version.pk] = left - uses
            return
    # The row is asked without the lock: a thread that holds the row in its transaction may want the lock.
    if connection.in_atomic_block:
        _reserve(version, uses, uses, limit)
        return
    granted = _reserve(version, uses, max(uses, block_size()), limit)
    with _lock:
        _leases[version.pk] = _leases.get(version.pk, 0) + granted - uses


def prepare(version: KeyVersion, uses: int) -> None:
    """Lease at least `uses` before a transaction that spends them, so that it neither asks nor locks for each.

    Does nothing inside a transaction, and nothing when the budget has not that many left: `spend` will say so.
    """
    limit = use_limit(version.key.algorithm)
    with _lock:
        left = _leases.get(version.pk, 0)
    if limit is None or left >= uses or connection.in_atomic_block:
        return
    try:
        granted = _reserve(version, uses, max(uses, block_size()), limit)
    except LimitExceeded:
        return
    with _lock:
        _leases[version.pk] = _leases.get(version.pk, 0) + granted


def _reserve(version: KeyVersion, needed: int, wanted: int, limit: int) -> int:
    """Raise the row's count by `wanted`, or by what is left if that covers `needed`; returns by how much."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE encryption_keys AS v SET uses_reserved = LEAST(v.uses_reserved + %s, %s) "
            "FROM (SELECT id, uses_reserved FROM encryption_keys WHERE id = %s FOR UPDATE) AS old "
            "WHERE v.id = old.id AND old.uses_reserved + %s <= %s RETURNING v.uses_reserved - old.uses_reserved",
            [wanted, limit, version.pk, needed, limit],
        )
        row = cursor.fetchone()
    if row is None:
        raise LimitExceeded(
            f"{version} has reached its safe limit of {limit} uses.",
            hint="Rotate the key; the old version still decrypts.",
            limit=limit,
        )
    return int(row[0])


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a version's budget is gone; `share` in per cent, `exhausted_at` at the mean rate so far."""

    used: int
    limit: int | None
    share: float
    due_uses: int | None  # rotation is due from so many on
    due: bool
    due_at: datetime | None
    exhausted_at: datetime | None
    note: str

    @property
    def exhausted(self) -> bool:
        """Whether every use is reserved, so that new ones are refused."""
        return self.limit is not None and self.used >= self.limit


def is_due(algorithm: str, state: str | None, used: int | None, percent: int) -> bool:
    """Whether a version in this state, used so often, asks for a rotation; None for both: there is no version."""
    limit = use_limit(algorithm)
    if limit is None or used is None or state != VersionState.ACTIVE.value:
        return False
    return used >= limit * percent // 100


def due_versions() -> QuerySet[KeyVersion]:
    """The versions in use whose uses have reached their policy's share of the limit; as `status` says of one."""
    names: dict[int, list[str]] = defaultdict(list)
    for name in ALGORITHMS:
        if limit := use_limit(name):
            names[limit].append(name)
    number = DecimalField(max_digits=30, decimal_places=0)  # a limit times its share fits no bigint
    limits = [When(key__algorithm__in=found, then=Value(limit)) for limit, found in names.items()]
    rows = KeyVersion.objects.filter(
        Q(key__algorithm__in=[name for found in names.values() for name in found]),
        status=VersionState.ACTIVE.value,
        uses_reserved__gte=min(names) // 100,  # the index of the versions used much starts from here
    )
    rows = rows.alias(use_limit=Cast(Case(*limits, output_field=BigIntegerField()), number))
    share = F("use_limit") * F("key__policy__use_share_due")
    return rows.filter(uses_reserved__gte=Func(share, Value(100), function="DIV", output_field=number))


def of_key(key: Key) -> Budget | None:
    """The budget of the version in use of a key that was read with `current` and `policy`; None where there is none."""
    if key.current is None:
        return None
    key.current.key = key
    return status(key.current)


def status(version: KeyVersion, *, now: datetime | None = None) -> Budget:
    """Where `version` stands against its limit; rotation of the one in use is due at its policy's share of it."""
    limit, used = use_limit(version.key.algorithm), version.uses_reserved
    if limit is None:
        return Budget(used, None, 0.0, None, False, None, None, "Uses do not wear this key out.")
    now = now or timezone.now()
    percent = version.key.policy.use_share_due
    threshold = limit * percent // 100
    age = (now - (version.activated_at or version.created_at)).total_seconds()
    rate = used / age if age > 0 else 0.0
    return Budget(
        used=used,
        limit=limit,
        share=100 * used / limit,
        due_uses=threshold,
        due=is_due(version.key.algorithm, version.status, used, percent),
        due_at=_reached(now, threshold - used, rate),
        exhausted_at=_reached(now, limit - used, rate),
        note=f"Rotation is due at {percent} per cent of {limit:,} uses; processes reserve them in blocks.",
    )


def _reached(now: datetime, uses_left: int, rate: float) -> datetime | None:
    """When `uses_left` more uses are gone at `rate` a second; None when that is beyond the calendar."""
    if uses_left <= 0:
        return now
    try:
        return now + timedelta(seconds=uses_left / rate) if rate else None
    except OverflowError:
        return None
