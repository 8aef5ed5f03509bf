"""When and by whom a version was last used: remembered at most once a minute for each version and process."""

import threading
from time import monotonic

from django.utils import timezone

from keys.models import KeyVersion
from keys.services.deletion import halt_deletion
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor

FLUSH_SECONDS = 60.0

_flushed: dict[int, float] = {}
_lock = threading.Lock()


def forget() -> None:
    """Let the next use of every version be written down."""
    with _lock:
        _flushed.clear()


def used(version: KeyVersion, actor: Actor) -> None:
    """Note a use, or one that only the provider refused; stops the clock of every version in the chain that waits for its destruction."""
    link: KeyVersion | None = version
    while link is not None:
        if link.state is VersionState.PENDING_DELETION and link.deletion_halted_at is None:
            halt_deletion(actor, link.pk)
            link.deletion_halted_at = timezone.now()  # the cached row: no second attempt within its life
        link = link.wrapped_by
    if _is_due(version.pk):
        KeyVersion.objects.filter(pk=version.pk).update(last_used_at=timezone.now(), last_used_by=actor.label[:200])


def _is_due(version_id: int) -> bool:
    now = monotonic()
    with _lock:
        last = _flushed.get(version_id)
        if last is not None and now - last < FLUSH_SECONDS:
            return False
        _flushed[version_id] = now
        return True
