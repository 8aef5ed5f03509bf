"""A worker killed while it makes a key at a provider: what it had made is found, and there is one key."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from keys.models import ProviderIntent
from keys.providers import registry
from keys.services import creation
from keys.services.providers import intents, registration
from tests.faults.disk_provider import PATH, DiskStandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


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
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.disk_provider", str(intent.pk)]
        environment = worker_environment | {"DJANGO_SETTINGS_MODULE": "keyvault_portal.settings"} | extra
        return subprocess.run(command, env=environment, cwd=ROOT, check=False, timeout=120).returncode

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
