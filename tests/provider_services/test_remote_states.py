"""Intents that follow the portal's own states, and providers that have none."""

import pytest
from django.utils import timezone

from keys.models import KeyVersion, ProviderIntent
from keys.providers.base import KeyUnusable, RemoteState
from keys.services import key_views, lifecycle, materials, operations
from keys.services.policies import PolicyValues
from keys.services.providers import intents
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, WrongState
from tests.provider_services.conftest import closed, hurry, intent_of, register, work

ALONE = PolicyValues(cryptoperiod_days=90)


class TestStatesFollow:
    @pytest.fixture
    def key(self, far, remote_key):
        key = remote_key(
            policy=PolicyValues(
                cryptoperiod_days=90, rotate_roles=["security_officer"], destroy_roles=["security_officer"]
            )
        )
        work(key)
        return key

    def version(self, key):
        return key.versions.order_by("key_version").first()

    def remote(self, there, key):
        return there.keys[self.version(key).handle].state

    def test_suspending_and_resuming(self, key, there, officer):
        lifecycle.suspend_version(actor=officer, version_id=self.version(key).pk, reason="look into it")
        lifecycle.resume_version(actor=officer, version_id=self.version(key).pk)
        provider_work_id = intent_of(key, "enable").pk
        intents_in_order = [intent_of(key, "disable").pk, provider_work_id]
        work(key, "enable")
        assert intent_of(key, "enable").state == "queued", "the older one comes first"
        work(key, "disable")
        assert self.remote(there, key) is RemoteState.DISABLED
        work(key, "enable")
        assert self.remote(there, key) is RemoteState.ENABLED
        assert len(set(intents_in_order)) == 2

    def test_deletion_and_back(self, key, there, officer):
        version = self.version(key)
        lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
        work(key, "disable")
        lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=10)
        assert work(key, "schedule_deletion").state == "done"
        assert self.remote(there, key) is RemoteState.PENDING_DELETION
        lifecycle.cancel_deletion(actor=officer, version_id=version.pk)
        work(key, "cancel_deletion")
        work(key, "disable")
        assert self.remote(there, key) is RemoteState.DISABLED, "it was suspended before"

    def test_who_needs_it_stops_both_clocks(self, far, there, officer, remote_key, service):
        """The provider refuses a key that waits for its deletion; whoever asked is named and the key comes back."""
        key = remote_key(
            "records", "dek", policy=PolicyValues(cryptoperiod_days=90, destroy_roles=["security_officer"])
        )
        work(key)
        sealed = operations.encrypt(service, key.pk, b"text").ciphertext
        version = self.version(key)
        lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
        work(key, "disable")
        lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=10)
        work(key, "schedule_deletion")
        key_views.forget()
        with pytest.raises(KeyUnusable):
            operations.decrypt(service, key.pk, sealed)
        version.refresh_from_db()
        assert version.deletion_halted_by == "shop-backend"
        assert work(key, "cancel_deletion").state == "done"
        assert operations.decrypt(service, key.pk, sealed).plaintext == b"text"
        lifecycle.confirm_deletion(actor=officer, version_id=version.pk)
        assert work(key, "schedule_deletion").state == "done"
        assert self.remote(there, key) is RemoteState.PENDING_DELETION

    def test_the_providers_clock_never_runs_out_first(self, key, there, officer):
        version = self.version(key)
        lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
        work(key, "disable")
        lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=90)
        work(key, "schedule_deletion")
        assert self.remote(there, key) is RemoteState.DISABLED
        lifecycle.cancel_deletion(actor=officer, version_id=version.pk)
        assert work(key, "cancel_deletion").state == "done"

    def test_destroyed_only_when_the_provider_has_confirmed(self, key, there, officer):
        version = self.version(key)
        lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
        work(key, "disable")
        lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=7)
        work(key, "schedule_deletion")
        KeyVersion.objects.filter(pk=version.pk).update(deletion_due_at=timezone.now())
        there.down = True
        assert lifecycle.tick_deletions() == 1
        assert lifecycle.tick_deletions() == 0, "asked once"
        intent = work(key, "destroy")
        version.refresh_from_db()
        assert (intent.state, version.status) == ("waiting", "pending_deletion")
        with pytest.raises(Conflict):
            lifecycle.cancel_deletion(actor=officer, version_id=version.pk)
        there.down = False
        there.keys.clear()
        hurry(intent)
        closed()
        assert work(key, "destroy").state == "done"
        version.refresh_from_db()
        assert (version.status, version.handle) == ("destroyed", "")
        assert AuditEvent.objects.filter(action="key.destroy_version", outcome="success").exists()

    def test_a_key_deleted_behind_our_back_is_said_so(self, key, there, officer):
        there.keys.clear()
        lifecycle.suspend_version(actor=officer, version_id=self.version(key).pk, reason="r")
        intent = work(key, "disable")
        assert intent.state == "failed"
        assert "no such key" in intent.last_error

    def test_superseded_work_is_not_repeated(self, key, there, officer):
        there.refuses = True
        lifecycle.suspend_version(actor=officer, version_id=self.version(key).pk, reason="r")
        failed = work(key, "disable")
        there.refuses = False
        lifecycle.resume_version(actor=officer, version_id=self.version(key).pk)
        work(key, "enable")
        with pytest.raises(Conflict):
            intents.retry_intent(actor=officer, intent_id=failed.pk)


def test_destroying_what_was_never_made_takes_left_overs_along(far, there, remote_key, officer, monkeypatch):
    monkeypatch.setattr("keys.services.providers.work.TRIES", 1)
    there.lose_answer = True
    key = remote_key(policy=PolicyValues(cryptoperiod_days=90, destroy_roles=["security_officer"]))
    version = key.versions.get()
    with pytest.raises(Conflict):
        lifecycle.destroy_version(actor=officer, version_id=version.pk)
    assert work(key).state == "failed"
    lifecycle.destroy_version(actor=officer, version_id=version.pk)
    assert work(key, "destroy").state == "done"
    assert [held.state for held in there.keys.values()] == [RemoteState.PENDING_DELETION]
    version.refresh_from_db()
    assert version.status == "destroyed"


def test_a_provider_without_states_leaves_them_to_the_portal(there, tree, officer, remote_key):
    register(officer, "wrap_only")
    key = remote_key(policy=ALONE)
    assert work(key).state == "done"
    version = key.versions.get()
    lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
    assert ProviderIntent.objects.filter(version=version).count() == 1
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=version.pk)
    with pytest.raises(WrongState):
        materials.cipher(version)


def test_a_provider_that_only_wraps_seals_all_the_same(there, tree, officer, remote_key):
    register(officer, "wrap_only")
    key = remote_key()
    work(key)
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=key.versions.get().pk)
    from keyvault_portal.errors import DecryptRefused

    cipher = materials.cipher(version)
    sealed = cipher.encrypt(b"longer than a key" * 100, b"row 1")
    assert cipher.decrypt(sealed, b"row 1") == b"longer than a key" * 100
    for payload, aad in (
        (sealed, b"row 2"),
        (sealed[:-1], b"row 1"),
        (b"", b"row 1"),
        (b"\xff\xff" + sealed, b"row 1"),
    ):
        with pytest.raises(DecryptRefused):
            cipher.decrypt(payload, aad)


def test_without_tags_a_lost_answer_makes_a_second_key(there, tree, officer, remote_key):
    """Honest about it: the comparison with the inventory shows the first one as unknown."""
    register(officer, "untagged")
    there.lose_answer = True
    key = remote_key()
    hurry(work(key))
    assert work(key).state == "done"
    assert len(there.keys) == 2
