"""What the tests of providers' seals do again and again."""

import time
from collections.abc import Callable
from typing import Any

from keys.models import RootSeal
from keys.seal_tasks import seal_work
from keys.services import seals
from tests.providers.grounds import Ground

PATIENCE = 60.0


def sealed_under(organisation: Any, ground: Ground, name: str = "Far") -> RootSeal:
    """The root sealed there, in use."""
    ground.register(organisation)
    key = ground.master(organisation)
    seal = seals.register_provider(actor=organisation.actor("ada"), name=name, key=key)
    seal_work(str(seal.pk))
    seal.refresh_from_db()
    assert seal.state == "in_use", seal.last_error
    return seal


def eventually(ask: Callable[[], object]) -> None:
    """Return when `ask` says yes."""
    deadline = time.monotonic() + PATIENCE
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.1)
