"""One worker's turn on a move, killed where DIE_AT says."""

import os
import signal
import sys
from uuid import UUID

from keys.providers import registry
from tests.faults.disk_provider import PATH


def _die(*args: object, **kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(move_id: str) -> None:
    """Make, step and walk as far as it goes."""
    import django

    django.setup()
    from keys.models import Move, ProviderIntent
    from keys.services import moving, reencryption, rewrap, rotation
    from keys.services.moving import steps, switching
    from keys.services.providers import work

    registry.KINDS["disk"] = registry.Kind("Disk", PATH)
    for where, module, name in (
        ("in the dual wrap", steps, "_wrapped_below"), ("in the comparison", steps, "_read_back"), ("after the comparison", switching, "switch"),
        ("after the switch", switching, "follow"), ("in the walk", rewrap._Walk, "_write"), ("at the end of the walk", rotation, "settle"),
    ):  # fmt: skip
        if os.environ.get("DIE_AT") == where:
            setattr(module, name, _die)
    for intent in ProviderIntent.objects.exclude(state__in=["done", "failed"]):
        work.perform(intent.pk)
    moving.advance(UUID(move_id))
    move = Move.objects.select_related("rotation").get(pk=move_id)
    if move.rotation is not None and move.rotation.state == "re_encrypting":
        for job in move.rotation.jobs.exclude(state="done"):
            while reencryption.work(job.pk, 5.0):
                pass
        rotation.settle(move.rotation.pk)
    moving.follow(UUID(move_id))


if __name__ == "__main__":
    main(sys.argv[1])
