"""Re-wrapping the keys below a rotated one: many workers, no key twice, no transaction around a provider, nothing overwritten."""

import threading
from collections import Counter

import pytest
from django.db import close_old_connections, connection

from keys.models import DataKey, Key, KeyVersion, ReEncryptionJob
from keys.services import materials, reencryption, rewrap, rotation
from keys.services.rewrap import Calls
from keyvault_portal.errors import ProviderUnavailable

pytestmark = pytest.mark.django_db(transaction=True)
DATA_KEYS = 60


@pytest.fixture
def job(organisation, monkeypatch):
    """The walk over 60 data keys and two versions below a rotated KEK, cut into small parts."""
    monkeypatch.setattr(rewrap, "PAGE", 5)
    monkeypatch.setattr(rewrap, "PAGES_A_PART", 1)
    version = materials.active_version(organisation.keys["pii"])
    for number in range(DATA_KEYS):
        materials.new_data_key(version, f"segment {number}")
    moving = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["kek"].pk, reason="Its time is over."
    )
    return moving.jobs.get(store=None)


def opened(job: ReEncryptionJob) -> int:
    """How many data keys stand on the new version and open."""
    materials.forget()
    rows = DataKey.objects.filter(wrapped_by=job.rotation.new_version)
    return len(materials.data_key_materials([row.pk for row in rows]))


def test_workers_share_the_keys_and_no_key_is_wrapped_twice(job, monkeypatch):
    seen: Counter[str] = Counter()
    inside: list[bool] = []
    real = rewrap.wrapped_again

    def spy(new, secret, context):
        seen[str(sorted(context.items()))] += 1
        inside.append(connection.in_atomic_block)
        return real(new, secret, context)

    monkeypatch.setattr(rewrap, "wrapped_again", spy)
    standing = rewrap.count(job.rotation.old_version_id)
    failed: list[BaseException] = []

    def share() -> None:
        try:
            while reencryption.work(job.pk, 60.0):
                pass
        except BaseException as error:
            failed.append(error)
        finally:
            close_old_connections()
            connection.close()

    workers = [threading.Thread(target=share) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not failed
    reencryption.work(job.pk, 60.0)  # the last to leave may have left before another's last page
    job.refresh_from_db()
    assert (job.state, job.items_done, rewrap.count(job.rotation.old_version_id)) == ("done", standing, 0)
    assert (len(seen), set(seen.values())) == (standing, {1})
    assert not any(inside), "a provider is called outside any transaction"
    assert opened(job) == DATA_KEYS


def test_what_changed_meanwhile_is_not_overwritten(job, monkeypatch):
    """Somebody else moves a key between the reading and the writing: theirs stands, and is counted once."""
    other = {}
    real = rewrap._Walk._write

    def meanwhile(walk, part, done):
        if part.table == "data_keys" and not other:
            pk = done[0][0]
            other[pk] = done[0][2][:-1] + bytes([done[0][2][-1] ^ 1])
            DataKey.objects.filter(pk=pk).update(wrapped=other[pk], wrapped_by=job.rotation.new_version)
        real(walk, part, done)

    monkeypatch.setattr(rewrap._Walk, "_write", meanwhile)
    standing = rewrap.count(job.rotation.old_version_id)
    reencryption.work(job.pk, 60.0)
    job.refresh_from_db()
    ((pk, theirs),) = other.items()
    assert bytes(DataKey.objects.get(pk=pk).wrapped) == theirs
    assert (job.state, job.items_done) == ("done", standing - 1)


def test_what_was_wrapped_before_a_provider_failed_is_kept(job, monkeypatch):
    real, taken = Calls.take, []

    def take(calls):
        if len(taken) == 8:
            raise ProviderUnavailable("It is away.")
        taken.append(1)
        real(calls)

    monkeypatch.setattr(Calls, "take", take)
    with pytest.raises(ProviderUnavailable):
        reencryption.work(job.pk, 60.0)
    job.refresh_from_db()
    assert job.items_done == 8
    monkeypatch.setattr(Calls, "take", real)
    reencryption.work(job.pk, 60.0)
    job.refresh_from_db()
    assert (job.state, opened(job)) == ("done", DATA_KEYS)
    assert Key.objects.get(pk=job.rotation.key_id).current == job.rotation.new_version
    assert not KeyVersion.objects.filter(wrapped_by=job.rotation.old_version).exists()
