"""A worker killed while it makes a key at a provider: what it had made is found, and there is one key."""

import signal
from typing import Any

import pytest
from django.utils import timezone

from keys.models import ProviderIntent
from keys.providers import registry
from keys.services import creation
from keys.services.providers import intents, registration
from tests import warm
from tests.faults.disk_provider import PATH, DiskStandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_kill_9_between_the_effect_and_what_is_written_of_it(
    organisation: Any, worker_environment, tmp_path, monkeypatch
):
    monkeypatch.setitem(registry.KINDS, "disk", registry.Kind("Disk", PATH))
    registry.forget()
    ada = organisation.actor("ada")
    registration.register_provider(
        actor=ada, kind="disk", alias="disk", title="Disk", values={"place": str(tmp_path / "keys.json")}
    )
    key = creation.create_key(
        actor=ada, ring=organisation.ring, name="far", title="Far", kind="kek", algorithm="AES-256-GCM",
        parent=organisation.keys["root"], provider="disk",
    )  # fmt: skip
    intent = ProviderIntent.objects.get(version__key=key)

    def worker(**extra: str) -> int:
        command = ["-m", "tests.faults.disk_provider", str(intent.pk)]
        return warm.start(command, env=worker_environment | extra, output=2).wait(120)

    assert worker(DIE_AFTER_MAKING="1") == -signal.SIGKILL
    intent.refresh_from_db()
    assert intent.state == "calling"
    assert intents.stale() == []
    ProviderIntent.objects.update(lease_until=timezone.now())
    assert intents.stale() == [intent.pk]
    assert worker() == 0
    intent.refresh_from_db()
    key.refresh_from_db()
    assert (intent.state, intent.attempts) == ("done", 2)
    there = DiskStandIn("disk", str(tmp_path / "keys.json")).there.keys
    assert list(there) == [key.current.handle]
    assert there[key.current.handle].tag == str(intent.pk)
