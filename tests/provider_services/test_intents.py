"""Making a key at a provider: written down first, done by a task, finished or taken up again whatever happens between."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from keys import provider_tasks
from keys.crypto.secret import SecretBytes
from keys.models import KeyVersion, ProviderIntent, Rotation, SealedValue
from keys.provider_tasks import provider_tick
from keys.providers.base import GeneratedKey, RemoteState
from keys.services import lifecycle, materials, rotation
from keys.services.policies import PolicyValues
from keys.services.providers import effects, intents, registration
from keys.services.providers import work as provider_work_module
from keys.states import INTENT_MOVES, IntentState
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PermissionRefused, ValidationFailed, WrongState
from tests.provider_services.conftest import closed, hurry, intent_of, register, work
from tests.provider_services.stand_in import StandIn

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


def test_a_provider_that_is_down_is_waited_for(far, there, remote_key, monkeypatch):
    monkeypatch.setattr("keys.services.providers.work.random.uniform", lambda low, high: 3600.0)
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


@pytest.mark.parametrize("hours", [2, -2])
def test_workers_whose_clocks_differ_make_one_key(there, far, remote_key, monkeypatch, hours):
    """One worker's lease has run out by the other's clock: it takes over at once, and there is one key all the same."""
    key = remote_key()
    intent = intent_of(key)
    right, finish = timezone.now, provider_work_module._finish

    def ahead():
        return right() + timedelta(hours=abs(hours))

    # Either the other worker's clock is ahead of the right one, or the first worker's is behind it.
    first, other = (right, ahead) if hours > 0 else (lambda: right() - timedelta(hours=2), right)
    ProviderIntent.objects.update(created_at=right() - timedelta(hours=3))

    def meanwhile(intent_, outcome):
        monkeypatch.setattr(provider_work_module, "_finish", finish)
        monkeypatch.setattr(timezone, "now", other)
        assert work(key).state == "done"
        monkeypatch.setattr(timezone, "now", first)
        finish(intent_, outcome)

    monkeypatch.setattr(provider_work_module, "_finish", meanwhile)
    monkeypatch.setattr(timezone, "now", first)
    work(key)
    monkeypatch.setattr(timezone, "now", right)
    intent.refresh_from_db()
    assert (intent.state, intent.attempts) == ("done", 2)
    assert [held.tag for held in there.keys.values()] == [str(intent.pk)]
    assert list(there.keys) == [key.versions.get().handle]


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


def test_a_provider_that_gives_the_material_away_makes_no_key(far, there, remote_key, monkeypatch):
    real = StandIn.generate

    def generous(self, algorithm, *, tag=""):
        made = real(self, algorithm, tag=tag)
        return GeneratedKey(made.opaque, SecretBytes(bytes(32)), made.public_key)

    monkeypatch.setattr(StandIn, "generate", generous)
    intent = work(remote_key())
    assert intent.state == "failed"
    assert "gave the key's material away" in intent.last_error
    assert intent.version.handle == ""
