"""Which machines hold the root: each keyholder says so every few seconds, and the pages show who has gone silent.

A keyholder answers its own machine only, and the root never travels between machines: shares are given on each of them,
while a key file or a provider's key opens every one by itself.
"""

import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from keys.models import KeyholderSight

SAY_EVERY = 5.0  # seconds
SILENT_AFTER, FORGOTTEN_AFTER = timedelta(seconds=30), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """One keyholder as the pages show it: `state` is "sealed", "unsealed" or "silent"."""

    machine: str
    state: str
    since: datetime
    seen_at: datetime
    detail: str
    here: bool


def machine() -> str:
    """What this machine is called."""
    return socket.gethostname()[:255]


def say(path: Path, *, sealed: bool, detail: str = "") -> None:
    """Write down how this machine's keyholder is."""
    now = timezone.now()
    rows = KeyholderSight.objects.filter(machine=machine(), socket=str(path))
    changed = rows.exclude(sealed=sealed).update(sealed=sealed, since=now, seen_at=now, detail=detail)
    if not changed and not rows.update(seen_at=now, detail=detail):
        KeyholderSight.objects.update_or_create(
            machine=machine(), socket=str(path), defaults={"sealed": sealed, "since": now, "seen_at": now, "detail": detail}
        )  # fmt: skip


def leave(path: Path) -> None:
    """Forget this machine's keyholder: it was stopped, and is not merely silent."""
    KeyholderSight.objects.filter(machine=machine(), socket=str(path)).delete()


def seen() -> list[Seen]:
    """Every keyholder heard of within a day, this machine's first."""
    now = timezone.now()
    rows = KeyholderSight.objects.filter(seen_at__gt=now - FORGOTTEN_AFTER).order_by("machine", F("socket"))
    found = [
        Seen(
            row.machine,
            "silent" if row.seen_at < now - SILENT_AFTER else "sealed" if row.sealed else "unsealed",
            row.since, row.seen_at, row.detail,
            row.machine == machine() and row.socket == str(settings.KEYHOLDER_SOCKET),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda one: not one.here)
