"""How fast a walk is: its items over the time in which it worked, whatever held it before or since."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from keys.models import DataStore, ReEncryptionJob, Rotation
from keys.services import reencryption, rewrap, rotation
from keys.services.ratelimit import RateLimiter
from keyvault_portal.errors import ValidationFailed
from tests.shop import Organisation

HELD = 5.0  # seconds that every wait of the throttle is said to take


def job(**values: Any) -> ReEncryptionJob:
    return ReEncryptionJob(state="running", mode="re_encrypt", **values)


def test_speed_is_of_the_time_at_work_and_time_left_obeys_the_limit():
    week_ago = timezone.now() - timedelta(days=7)
    found = reencryption.progress(
        job(items_total=3000, items_done=1000, work_seconds=2.0, started_at=week_ago, heartbeat_at=timezone.now())
    )
    assert (found.rate, found.eta) == (500, 4)
    held = reencryption.progress(job(items_total=3000, items_done=1000, work_seconds=2.0, rate_limit=100))
    assert (held.rate, held.eta) == (100, 20)
    loose = reencryption.progress(job(items_total=3000, items_done=1000, work_seconds=2.0, rate_limit=9000))
    assert (loose.rate, loose.eta) == (500, 4)
    fresh = reencryption.progress(job(items_total=3000, started_at=week_ago, heartbeat_at=timezone.now()))
    assert (fresh.rate, fresh.eta) == (None, None)


@pytest.mark.parametrize("state", ["paused", "done", "failed", "cancelled"])
def test_what_does_not_move_has_no_speed(state):
    found = reencryption.progress(
        ReEncryptionJob(
            state=state, mode="re_encrypt", items_total=3000, items_done=1000, work_seconds=2.0, rate_limit=9
        )
    )
    assert (found.rate, found.eta, found.done) == (None, None, 1000)


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Each wait of a throttle moves the clock of the walk on by HELD seconds, and costs the test nothing."""
    waits: list[float] = []
    clock = time.monotonic

    class Clock:
        monotonic_ns = staticmethod(time.monotonic_ns)

        @staticmethod
        def monotonic() -> float:
            return clock() + HELD * len(waits)

    for module in (reencryption, rewrap):
        monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(RateLimiter, "acquire", lambda self, number: waits.append(number))
    return waits


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other clock says that nothing happened for an hour before each page, so that work alone counts."""
    later = iter(range(1, 100_000))
    real = timezone.now
    for module in (reencryption, rewrap):
        monkeypatch.setattr(module.timezone, "now", lambda: real() + timedelta(hours=next(later)))


@pytest.mark.parametrize("name", ["pii", "kek"])
def test_waits_of_a_throttle_are_no_work(
    organisation: Organisation, customers: Any, slow_clock: list[float], name: str, celery_eager: None, work: None
) -> None:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys[name].pk, reason="yearly", rate_limit=1000
    )
    done = found.jobs.get(store__isnull=name == "kek")
    assert done.items_done
    assert len(slow_clock) * HELD > done.work_seconds
    assert 0 < done.work_seconds < HELD


def test_a_pause_is_no_work_and_a_new_begin_counts_on(
    organisation: Organisation, customers: Any, shop: Any, celery_eager: None, work: None
) -> None:
    old = shop.cells()[7][0]
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    first = found.jobs.get()
    assert 0 < first.work_seconds < 3600
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [old])
    rotation.retry_failed(actor=organisation.actor("ada"), rotation_id=found.pk)
    again = found.jobs.get()
    assert again.items_done == first.items_done + 1
    assert first.work_seconds < again.work_seconds < 3600, "the hours in between are not among them"


def test_the_dry_run_goes_by_unthrottled_work(organisation: Organisation, customers: Any, celery_eager: None) -> None:
    ada, key = organisation.actor("ada"), organisation.keys["pii"]
    rotation.request_rotation(actor=ada, key_id=key.pk, reason="yearly")
    done = ReEncryptionJob.objects.get(store=customers[0])
    week_ago = timezone.now() - timedelta(days=7)
    ReEncryptionJob.objects.filter(pk=done.pk).update(
        work_seconds=done.items_done / 2500, started_at=week_ago, rate_limit=10
    )
    assert rotation.dry_run(actor=ada, key_id=key.pk).seconds == pytest.approx(2)
    DataStore.objects.filter(pk=customers[0].pk).update(rate_limit=100)
    assert rotation.dry_run(actor=ada, key_id=key.pk).seconds == pytest.approx(50)


def test_a_rate_beyond_bounds_is_refused_before_anybody_is_asked(
    organisation: Organisation, browser: Callable[[str], Client]
) -> None:
    ada, key = organisation.actor("ada"), organisation.keys["pii"]
    with pytest.raises(ValidationFailed) as caught:
        rotation.request_rotation(actor=ada, key_id=key.pk, reason="yearly", rate_limit=1_000_001)
    assert caught.value.errors.keys() == {"rate_limit"}
    asked = {"reason": "yearly", "rate_limit": 9_999_999_999}
    api = browser("ada").post(f"/api/v1/keys/{key.pk}/rotate", asked, content_type="application/json")
    assert api.status_code == 422
    assert browser("ada").post(f"/keys/{key.pk}/rotate/", asked).status_code == 422
    assert not Rotation.objects.exists()
    started = browser("ada").post(
        f"/api/v1/keys/{key.pk}/rotate", asked | {"rate_limit": 1_000_000}, content_type="application/json"
    )
    assert started.status_code == 201
    assert "estimate" not in started.json()
