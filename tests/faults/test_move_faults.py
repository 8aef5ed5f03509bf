"""Workers killed at every step of a move: the next one, here, goes on, or the move is undone, and nothing is lost."""

import signal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from keys.models import DataKey, Move, ProviderIntent
from keys.providers import registry
from keys.services import budget, census, key_views, materials, moving
from keys.services.policies import PolicyValues
from keys.services.providers import registration
from tests import warm
from tests.faults.disk_provider import PATH
from tests.moving.conftest import drive

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
PLACES = [
    "in the making", "in the dual wrap", "in the comparison", "after the comparison", "after the switch", "in the walk",
    "at the end of the walk",
]  # fmt: skip
KEYS = 12


@pytest.fixture
def world(
    organisation: Any, worker_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A KEK with keys under it, a place whose keys outlive a process, and workers that can be killed."""
    monkeypatch.setitem(registry.KINDS, "disk", registry.Kind("Disk", PATH))
    registry.forget()
    ada = organisation.actor("ada")
    registration.register_provider(
        actor=ada, kind="disk", alias="disk", title="Disk", values={"place": str(tmp_path / "keys.json")}
    )
    alone = PolicyValues(cryptoperiod_days=90, destroy_roles=["security_officer"])
    kek = organisation.key("moving", "kek", "root", policy=alone)
    organisation.key("below", "dek", "moving")

    def add() -> dict[Any, bytes]:
        materials.forget()
        key_views.forget()
        version = materials.active_version(organisation.keys["below"])
        made = dict(materials.new_data_key(version, "test") for _ in range(KEYS))
        return {row.pk: secret.reveal() for row, secret in made.items()}

    def worker(move: Move, **extra: str) -> int:
        command = ["-m", "tests.faults.move_worker", str(move.pk)]
        return warm.start(command, env=worker_environment | extra, output=2).wait(120)

    return ada, kek, add, worker


def opened(keys: dict[Any, bytes]) -> dict[Any, bytes]:
    """The full comparison's other half: every data key, opened now."""
    for cache in (materials, key_views, budget, registry):
        cache.forget()
    return {pk: secret.reveal() for pk, secret in materials.data_key_materials(list(keys)).items()}


@pytest.mark.parametrize("end", ["resumed", "undone"])
@pytest.mark.parametrize("place", PLACES)
def test_kill_9_at_every_step(world: Any, place: str, end: str):
    ada, kek, add, worker = world
    held = add()
    move = moving.request_move(actor=ada, key_id=kek.pk, target="disk", reason="r")
    dying = {"DIE_AFTER_MAKING": "1"} if place == "in the making" else {"DIE_AT": place}
    assert worker(move, **dying) == -signal.SIGKILL
    ProviderIntent.objects.filter(state="calling").update(lease_until=timezone.now())
    assert opened(held) == held
    if place != "in the making":
        held |= add()
    if end == "undone":
        moving.undo_move(actor=ada, move_id=move.pk, reason="r")
    goal = "re_wrapped" if end == "resumed" else "undone"
    registry.forget()
    move = drive(move, goal)
    left = move.old_version if end == "resumed" else move.new_version
    assert census.live_items(left) == 0
    held |= add()
    assert opened(held) == held
    assert DataKey.objects.filter(wrapped_by__key=kek).count() == len(held)
