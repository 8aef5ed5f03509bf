"""The breaker, the deadline, the figures, and the test that people ask for."""

import threading
from datetime import date

import pytest

from keys.models import KeyVersion
from keys.provider_tasks import provider_check
from keys.providers import quotas
from keys.providers.base import CredentialsRefused, KeyUnusable, ProviderFault, ProviderThrottled
from keys.services import key_views, materials, operations, ratelimit
from keys.services.providers import breaker, calls, figures, health, registration
from keys.services.ratelimit import provider_budget, shared_memory
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PermissionRefused, ProviderUnavailable, WrongState
from tests.provider_services.conftest import hurry, register, work

Circuit = breaker.Circuit


def fails(error):
    def work_():
        raise error

    with pytest.raises(type(error)):
        calls.call("far", "test", work_)


def test_it_opens_after_so_many_in_a_row_and_closes_with_an_answer(monkeypatch):
    monkeypatch.setattr(breaker, "OPEN_MS", 60_000)
    for _ in range(breaker.FAILURES - 1):
        fails(ProviderUnavailable())
    assert calls.call("far", "test", lambda: 1) == 1
    for _ in range(breaker.FAILURES):
        assert breaker.look("far") is Circuit.CLOSED
        fails(ProviderUnavailable())
    assert breaker.look("far") is Circuit.OPEN
    called = []
    with pytest.raises(ProviderUnavailable) as caught:
        calls.call("far", "test", lambda: called.append(1))
    assert called == []
    assert 0 < caught.value.extra["retry_after"] <= 60
    assert calls.call("far", "test", lambda: 2, probe=True) == 2
    assert breaker.look("far") is Circuit.CLOSED


def test_half_open_lets_one_call_try(monkeypatch):
    monkeypatch.setattr(breaker, "OPEN_MS", 0)
    for _ in range(breaker.FAILURES):
        fails(ProviderUnavailable())
    assert breaker.look("far") is Circuit.HALF_OPEN
    seen = []

    def probe():
        with pytest.raises(ProviderUnavailable):
            calls.call("far", "test", lambda: seen.append("second"))
        seen.append("first")

    calls.call("far", "test", probe)
    assert seen == ["first"]
    assert breaker.look("far") is Circuit.CLOSED


@pytest.mark.parametrize("error", [KeyUnusable(), ProviderThrottled(), CredentialsRefused()])
def test_an_answer_that_is_a_refusal_opens_nothing(error):
    for _ in range(breaker.FAILURES * 2):
        fails(error)
    assert breaker.look("far") is Circuit.CLOSED


def test_what_no_provider_should_raise_is_named_by_its_kind_only():
    def bad():
        raise ValueError("hunter2")

    with pytest.raises(ProviderFault) as caught:
        calls.call("far", "test", bad)
    assert "hunter2" not in f"{caught.value.detail}{caught.value.__context__ and caught.value.__cause__}"
    assert "ValueError" in caught.value.detail


def test_without_valkey_calls_go_on(monkeypatch):
    from redis import Redis

    nowhere = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    for module in (breaker, figures, ratelimit):
        monkeypatch.setattr(module, "shared_memory", lambda: nowhere)
    fails(ProviderUnavailable())
    assert calls.call("far", "test", lambda: 1) == 1
    assert breaker.look("far") is Circuit.CLOSED
    assert figures.of("far").calls == 0
    assert figures.complaints("far") == []


def test_figures():
    for seconds in [0.003] * 90 + [0.4] * 8 + [3.0] * 2:
        figures.note("far", "encrypt", seconds, None)
    figures.note("far", "encrypt", 99.0, ProviderUnavailable("nobody there"))
    found = figures.of("far")
    assert (found.calls, found.errors, found.p50, found.p95, found.p99) == (101, 1, 5, 500, 5000)
    (complaint,) = figures.complaints("far")
    assert (complaint.operation, complaint.code, complaint.detail) == (
        "encrypt",
        "provider_unavailable",
        "nobody there",
    )
    for _ in range(100):
        figures.note("far", "encrypt", 0.1, ProviderUnavailable())
    assert len(figures.complaints("far")) == figures.ERRORS_KEPT


def test_budgets_come_from_one_table(there, officer, tree, settings):
    assert provider_budget("local") is None
    register(officer)
    assert provider_budget("far") == 100
    registration.update_provider(actor=officer, alias="far", title="Far", values={"place": "there"}, calls_per_second=7)
    assert provider_budget("far") == 7
    settings.PROVIDER_BUDGETS = {"far": 3}
    assert provider_budget("far") == 3


def test_the_test_button(far, there, officer, auditor):
    report = health.test_provider(actor=officer, alias="far")
    assert report.milliseconds >= 0
    assert "portal at" in report.summary
    far.refresh_from_db()
    assert far.shown_state == "reachable"
    there.refuses = True
    with pytest.raises(CredentialsRefused):
        health.test_provider(actor=officer, alias="far")
    far.refresh_from_db()
    assert far.shown_state == "unreachable"
    assert AuditEvent.objects.filter(action="provider.test", outcome="failed").exists()
    with pytest.raises(PermissionRefused):
        health.test_provider(actor=auditor, alias="far")


def test_officers_are_told_once_when_it_fails_and_once_when_it_is_over(far, there):
    olga = Person.objects.create_person(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=olga, role="security_officer", created_by="test")
    there.down = True
    for _ in range(3):
        provider_check(far.pk)
    there.down = False
    for _ in range(2):
        provider_check(far.pk)
    assert sorted(Notice.objects.values_list("text", flat=True)) == [
        "The key provider The far one answers again", "The key provider The far one fails",
    ]  # fmt: skip


class TestDataPlane:
    """Callers who wait: encrypting under a data key that lives at the provider."""

    @pytest.fixture
    def key(self, far, remote_key):
        key = remote_key("records", "dek")
        work(key)
        return key

    def encrypt(self, service, key):
        return operations.encrypt(service, key.pk, b"text", {"row": "1"}).ciphertext

    def test_there_and_back(self, key, service, there):
        sealed = self.encrypt(service, key)
        assert operations.decrypt(service, key.pk, sealed, {"row": "1"}).plaintext == b"text"
        assert there.calls[-1] == "decrypt"
        assert figures.of("far").calls > 0

    def test_down_is_said_and_after_a_while_at_once(self, key, service, there, monkeypatch):
        monkeypatch.setattr(breaker, "OPEN_MS", 60_000)
        there.down = True
        for _ in range(breaker.FAILURES):
            with pytest.raises(ProviderUnavailable):
                self.encrypt(service, key)
        asked = len(there.calls)
        with pytest.raises(ProviderUnavailable):
            self.encrypt(service, key)
        assert len(there.calls) == asked

    @pytest.fixture
    def silent(self, key, there):
        """From now on, until the test is over, nobody gets an answer."""
        there.held_up = threading.Event()
        yield
        there.held_up.set()

    @pytest.mark.usefixtures("silent")
    def test_slow_is_given_up_at_the_deadline(self, key, service, settings):
        settings.PROVIDER_DEADLINE_SECONDS = 0.1
        with pytest.raises(ProviderUnavailable) as caught:
            self.encrypt(service, key)
        assert "in time" in caught.value.detail

    @pytest.mark.usefixtures("silent")
    def test_too_many_who_wait_are_told_so(self, key, service, settings, monkeypatch):
        monkeypatch.setattr(calls, "THREADS", 1)
        calls._pools.clear()
        settings.PROVIDER_DEADLINE_SECONDS = 0.05
        for words in ("in time", "Too many"):
            with pytest.raises(ProviderUnavailable) as caught:
                self.encrypt(service, key)
            assert words in caught.value.detail
        calls._pools.clear()

    def test_disabling_reaches_bound_ciphers(self, key, service, there, officer):
        self.encrypt(service, key)
        registration.disable_provider(actor=officer, alias="far", reason="r")
        from keys.providers import registry

        for known in registry._known.values():
            known.fresh_until = 0.0
        with pytest.raises(registry.ProviderDisabled):
            self.encrypt(service, key)

    def test_a_key_disabled_over_there_is_refused_as_a_conflict(self, key, service, there):
        from keys.providers.base import RemoteState

        there.keys[key.versions.get().handle].state = RemoteState.DISABLED
        with pytest.raises(KeyUnusable) as caught:
            self.encrypt(service, key)
        assert caught.value.status == 409

    def test_the_portal_refuses_what_it_suspended_without_asking(self, key, service, there, officer):
        from keys.services import lifecycle

        lifecycle.suspend_version(actor=officer, version_id=key.versions.get().pk, reason="r")
        key_views.forget()
        asked = len(there.calls)
        with pytest.raises(WrongState):
            self.encrypt(service, key)
        assert len(there.calls) == asked

    def test_signing(self, far, remote_key, service):
        key = remote_key("signs", "dek", "Ed25519")
        work(key)
        signed = operations.sign(service, key.pk, b"message")
        assert operations.verify(service, key.pk, b"message", signed.signature).valid


def test_the_breaker_is_shared(far):
    for _ in range(breaker.FAILURES):
        breaker.failed("far")
    assert int(shared_memory().hget("kvp:breaker:far", "failures")) == breaker.FAILURES


def test_nothing_is_kept_of_a_binding_of_another_instance(far, remote_key, officer):
    key = remote_key()
    work(key)
    version = KeyVersion.objects.select_related(*materials.CHAIN).get(key=key)
    first = materials.cipher(version)
    assert materials.cipher(version) is first
    registration.update_provider(actor=officer, alias="far", title="Far", values={"place": "there"})
    from keys.providers import registry

    registry.forget()
    assert materials.cipher(version) is not first


def test_what_the_clouds_publish_and_what_is_taken_of_it(there, officer, tree):
    """One table: the seed's 100 calls a second for AWS, never more than what a provider publishes, each with page and date."""
    assert quotas.BUDGETS["aws_kms"] == 100
    for kind, quota in quotas.QUOTAS.items():
        assert quotas.BUDGETS[kind] <= quota.symmetric
        assert quotas.CHANGES[kind] <= quota.management
        assert quota.source
        date.fromisoformat(quota.read_on)
    assert quotas.quota_of("aws_kms", "us-east-1").symmetric > quotas.quota_of("aws_kms", "eu-north-1").symmetric
    assert quotas.quota_of("pkcs11") is None


def test_waits_before_another_try_grow_and_differ(far, there, remote_key, monkeypatch):
    """Back-off with jitter: workers that failed together do not come back together."""
    asked = []
    monkeypatch.setattr(
        "keys.services.providers.work.random.uniform", lambda low, high: asked.append((low, high)) or low
    )
    there.down = True
    key = remote_key()
    for _ in range(4):
        intent = work(key)
        hurry(intent)
        breaker.answered("far")
    assert [low for low, _ in asked] == [0.5] * 4
    assert [high for _, high in asked] == [2.0, 4.0, 8.0, 16.0]
