"""Making a key at a provider: written down first, done by a task, finished or taken up again whatever happens between."""

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys import provider_tasks
from keys.crypto.secret import SecretBytes
from keys.models import KeyVersion, ProviderIntent, Rotation, SealedValue
from keys.provider_tasks import provider_tick
from keys.providers.base import KeyUnusable, RemoteState
from keys.services import key_views, lifecycle, materials, operations, rotation
from keys.services.policies import PolicyValues
from keys.services.providers import effects, intents, registration
from keys.services.providers import work as provider_work_module
from keys.states import INTENT_MOVES, IntentState
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from tests.provider_services.conftest import closed, hurry, intent_of, register, work

ALONE = PolicyValues(cryptoperiod_days=90)


def test_a_key_is_written_down_and_then_made(far, there, remote_key):
    key = remote_key()
    version = key.versions.get()
    assert key.current is None
    assert version.status == "pre_active"
    assert there.calls == []
    done = work(key)
    assert done.state == "done"
    key.refresh_from_db()
    version.refresh_from_db()
    assert version.status == "active"
    assert key.current == version
    assert [version.handle] == list(there.keys)
    assert version.kms_key_arn == version.handle
    assert there.keys[version.handle].tag == str(done.pk)
    event = AuditEvent.objects.filter(action="provider.create").get()
    assert event.outcome == "success"


def test_it_wraps_what_stands_below_it(far, there, remote_key, tree):
    key = remote_key()
    work(key)
    below = tree.make("below", "dek", "AES-256-GCM", key)
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=below.current_id)
    sealed = materials.cipher(version).encrypt(b"text", b"aad")
    materials.forget()
    assert materials.cipher(version).decrypt(sealed, b"aad") == b"text"
    assert "decrypt" in there.calls


def test_nothing_can_be_done_with_a_key_that_is_not_made(far, remote_key, tree, officer):
    key = remote_key()
    with pytest.raises(WrongState):
        tree.make("below", "dek", "AES-256-GCM", key)
    with pytest.raises(WrongState):
        lifecycle.activate_version(actor=officer, version_id=key.versions.get().pk)


def test_a_provider_that_is_down_is_waited_for(far, there, remote_key):
    there.down = True
    key = remote_key()
    waiting = work(key)
    assert waiting.state == "waiting"
    assert waiting.next_try_at > timezone.now()
    assert "does not answer" in waiting.last_error
    assert work(key).attempts == 1, "not before its time"
    there.down = False
    hurry(waiting)
    assert work(key).state == "done"
    assert len(there.keys) == 1


@pytest.mark.parametrize("fault", ["throttled", "down"])
def test_it_gives_up_in_the_end_and_can_be_asked_again(far, there, remote_key, officer, auditor, monkeypatch, fault):
    monkeypatch.setattr("keys.services.providers.work.TRIES", 3)
    setattr(there, fault, True)
    key = remote_key()
    for _ in range(3):
        intent = work(key)
        hurry(intent)
        closed()
    assert intent.state == "failed"
    assert AuditEvent.objects.filter(action="provider.create", outcome="failed").count() == 1
    setattr(there, fault, False)
    with pytest.raises(PermissionRefused):
        intents.retry_intent(actor=auditor, intent_id=intent.pk)
    intents.retry_intent(actor=officer, intent_id=intent.pk)
    assert work(key).state == "done"
    with pytest.raises(WrongState):
        intents.retry_intent(actor=officer, intent_id=intent.pk)


def test_refused_credentials_are_not_tried_again_by_itself(far, there, remote_key):
    there.refuses = True
    intent = work(remote_key())
    assert intent.state == "failed"
    assert "does not know us" in intent.last_error


def test_an_answer_that_was_lost_leaves_no_orphan(far, there, remote_key):
    there.lose_answer = True
    key = remote_key()
    intent = work(key)
    assert (intent.state, len(there.keys)) == ("waiting", 1)
    hurry(intent)
    assert work(key).state == "done"
    assert list(there.keys) == [key.versions.get().handle], "the key of the first try, not a second one"


def test_a_worker_that_dies_after_the_effect_is_followed_by_one_that_finds_the_key(far, there, remote_key):
    def die():
        raise SystemExit  # as kill -9: nothing of ours runs after it

    there.after_making = die
    key = remote_key()
    with pytest.raises(SystemExit):
        work(key)
    intent = intent_of(key)
    assert intent.state == "calling"
    there.after_making = None
    work(key)
    assert intent_of(key).attempts == 1, "the lease still holds"
    hurry(intent)
    provider_tick_sends(intent)
    assert work(key).state == "done"
    assert list(there.keys) == [key.versions.get().handle]


def provider_tick_sends(intent):
    assert intent.pk in intents.stale()


def test_an_asymmetric_key_found_again_without_its_public_half_is_given_back(far, there, remote_key):
    there.lose_answer = True
    key = remote_key("signing", "transport", "Ed25519")
    hurry(work(key))
    assert work(key).state == "done"
    version = key.versions.get()
    states = {opaque: held.state for opaque, held in there.keys.items()}
    assert states.pop(version.handle) is RemoteState.ENABLED
    assert list(states.values()) == [RemoteState.PENDING_DELETION]
    assert version.public_key is not None


def test_a_wrong_key_is_found_out_before_it_is_used(far, there, remote_key):
    work(remote_key("first"))
    there.confused = True
    key = remote_key("second")
    intent = work(key)
    assert intent.state == "failed"
    assert "another key" in intent.last_error
    assert key.versions.get().status == "pre_active"


@pytest.mark.parametrize("kind", ["stand_in", "untagged"])
def test_a_worker_that_was_overtaken_changes_nothing(there, tree, officer, remote_key, monkeypatch, kind):
    """One so slow that its lease ran out: whoever took over has made the key, and the slow one's own is given back."""
    register(officer, kind)
    key = remote_key()
    intent = intent_of(key)
    perform = effects.perform

    def slowly(order):
        monkeypatch.setattr(effects, "perform", perform)
        outcome = perform(order)
        slow_ones.append(outcome)
        return outcome

    slow_ones = []
    finish = provider_work_module._finish

    def late(intent_, outcome):
        if outcome in slow_ones:
            ProviderIntent.objects.filter(pk=intent.pk).update(lease_until=timezone.now())
            assert work(key).state == "done"
        finish(intent_, outcome)

    monkeypatch.setattr(effects, "perform", slowly)
    monkeypatch.setattr(provider_work_module, "_finish", late)
    work(key)
    intent.refresh_from_db()
    assert (intent.state, intent.attempts) == ("done", 2)
    alive = [opaque for opaque, held in there.keys.items() if held.state is RemoteState.ENABLED]
    assert alive == [key.versions.get().handle]
    assert len(there.keys) == (1 if kind == "stand_in" else 2)


def test_imported_material_is_sealed_until_it_has_arrived(far, there, tree, sealing):
    secret = SecretBytes(bytes(range(32)))
    key = tree.make("brought", "kek", "AES-256-GCM", tree.master, provider="far", material=secret)
    intent = intent_of(key, "import")
    assert bytes(range(32)) not in bytes(intent.sealed_material.ciphertext)
    sealed = intent.sealed_material_id
    assert work(key, "import").state == "done"
    assert not SealedValue.objects.filter(pk=sealed).exists()
    held = there.keys[key.versions.get().handle]
    assert held.imported
    assert held.material.reveal() == bytes(range(32))


def test_a_rotation_waits_for_the_new_version(far, there, remote_key, tree, officer):
    key = remote_key(policy=ALONE)
    key.policy.rotate_roles = ["security_officer"]
    key.policy.save()
    work(key)
    tree.make("below", "dek", "AES-256-GCM", key)
    there.down = True
    started = rotation.request_rotation(actor=officer, key_id=key.pk, reason="yearly")
    assert started.state == "introducing"
    intent = work(key)
    rotation.tick_introductions()
    started.refresh_from_db()
    assert (started.state, intent.state) == ("introducing", "waiting")
    key.refresh_from_db()
    assert key.current.key_version == 1, "the old version serves until the new one is there"
    there.down = False
    hurry(intent)
    closed()
    assert work(key).state == "done"
    started.refresh_from_db()
    key.refresh_from_db()
    assert started.state == "re_encrypting"
    assert key.current.key_version == 2
    from keys.tasks import reencrypt

    for job in started.jobs.all():
        reencrypt(str(job.pk))
    started.refresh_from_db()
    assert started.state == "re_encrypted"


def test_a_cancelled_rotation_activates_nothing(far, there, remote_key, officer):
    key = remote_key(policy=PolicyValues(cryptoperiod_days=90, rotate_roles=["security_officer"]))
    work(key)
    there.down = True
    started = rotation.request_rotation(actor=officer, key_id=key.pk, reason="yearly")
    intent = work(key)
    rotation.cancel(actor=officer, rotation_id=started.pk, reason="not now")
    there.down = False
    hurry(intent)
    closed()
    assert work(key).state == "done"
    assert list(key.versions.order_by("key_version").values_list("status", flat=True)) == ["active", "pre_active"]
    assert Rotation.objects.get().state == "cancelled"


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


def test_a_disabled_provider_is_waited_for_without_end(far, there, remote_key, officer):
    key = remote_key()
    registration.disable_provider(actor=officer, alias="far", reason="maintenance")
    from keys.providers import registry

    registry.forget()
    intent = work(key)
    assert intent.state == "waiting"
    assert there.calls == []


def test_only_what_the_provider_offers_can_be_made(far, remote_key):
    with pytest.raises(ValidationFailed) as caught:
        remote_key("hpke", "transport", "RSA-3072-PSS-SHA256")
    assert "algorithm" in caught.value.errors
    with pytest.raises(ValidationFailed) as caught:
        remote_key("nowhere", provider="nobody")
    assert "provider" in caught.value.errors


def test_the_tick_sends_what_was_lost(far, there, remote_key, celery_eager):
    key = remote_key()
    ProviderIntent.objects.update(created_at=timezone.now() - intents.LOST_AFTER * 2)
    provider_tick()
    assert intent_of(key).state == "done"


def test_the_tick_sends_nothing_twice(far, there, remote_key, monkeypatch):
    remote_key()
    ProviderIntent.objects.update(created_at=timezone.now() - intents.LOST_AFTER * 2)
    sent = []
    for task in ("provider_work", "provider_check", "provider_compare"):
        monkeypatch.setattr(getattr(provider_tasks, task), "delay", lambda *ids, task=task: sent.append(task))
    for _ in range(3):
        provider_tick()
    assert sorted(sent) == ["provider_check", "provider_compare", "provider_work"]


@pytest.mark.parametrize("old", list(IntentState))
@pytest.mark.parametrize("new", list(IntentState))
def test_only_the_moves_of_the_table(far, remote_key, old, new):
    intent = ProviderIntent(state=old.value)
    if new in INTENT_MOVES[old]:
        intents.move(intent, new, "x")
    else:
        with pytest.raises(WrongState):
            intents.move(intent, new, "x")


@pytest.mark.parametrize(
    "broken",
    [
        {"state": "calling"},
        {"state": "done"},
        {"state": "waiting"},
        {"state": "nonsense"},
        {"act": "nonsense"},
        {"finished_at": timezone.now()},
        {"lease": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_the_database_keeps_the_rules_too(far, remote_key, broken):
    intent = intent_of(remote_key())
    with pytest.raises(IntegrityError), transaction.atomic():
        ProviderIntent.objects.filter(pk=intent.pk).update(**broken)


def test_a_version_is_made_once(far, remote_key, officer):
    with pytest.raises(IntegrityError), transaction.atomic():
        intents.write(remote_key().versions.get(), "create", officer)
