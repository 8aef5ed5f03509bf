"""The whole way of a key through the portal at every real place: made, used, stopped, compared, ended."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.models import KeyProvider, KeyVersion, ProviderFinding, ProviderIntent
from keys.providers import registry
from keys.providers.base import Capability, KeyHandle, RemoteState
from keys.services import key_views, lifecycle, operations
from keys.services.policies import PolicyValues
from keys.services.providers import comparison, health
from keyvault_portal.errors import WrongState
from tests.provider_services.conftest import hurry, intent_of, work
from tests.providers.conftest import place
from tests.providers.place import Place

__all__ = ["place"]
ALONE = PolicyValues(cryptoperiod_days=90, destroy_roles=["security_officer"])


@pytest.fixture
def far(place: Place, tree, monkeypatch) -> Iterator[KeyProvider]:
    """This place under the alias `far`; what builds instances from settings is tested elsewhere."""
    if place.kind == "local":
        pytest.skip("the portal itself is no place elsewhere")
    kind = {"aws_kms_ministack": "aws_kms", "azure_mhsm": "azure_kv"}.get(place.kind, place.kind)
    build = registry.build
    monkeypatch.setattr(
        registry,
        "build",
        lambda kind, alias, values: build(kind, alias, values) if alias == "local" else place.provider,
    )
    alias, place.provider.alias = place.provider.alias, "far"
    registry.forget()
    yield KeyProvider.objects.create(alias="far", kind=kind, title="Far", created_by="test")
    place.provider.alias = alias


@pytest.fixture
def algorithm(place: Place) -> str:
    if "AES-256-GCM" in place.provider.algorithms:
        return "AES-256-GCM"
    return next(name for name in sorted(place.provider.algorithms) if ALGORITHMS[name].kind is Kind.SIGNATURE)


def use(service, key, algorithm):
    key_views.forget()
    if ALGORITHMS[algorithm].kind is Kind.SIGNATURE:
        assert operations.verify(service, key.pk, b"m", operations.sign(service, key.pk, b"m").signature).valid
    else:
        sealed = operations.encrypt(service, key.pk, b"text", {"row": "1"}).ciphertext
        assert operations.decrypt(service, key.pk, sealed, {"row": "1"}).plaintext == b"text"


def finish(key, act="create"):
    """Let workers do it, as often as the provider is not ready yet."""
    for _ in range(3):
        intent = work(key, act)
        if intent.state != "waiting":
            break
        hurry(intent)
    assert intent.state == "done", intent.last_error
    return intent


def there(place, version):
    return place.provider.describe(KeyHandle(version.key.algorithm, version.handle)).state


def test_the_life_of_a_key(far, place, algorithm, remote_key, officer, service):
    key = remote_key("records", "dek", algorithm, policy=ALONE)
    assert key.current is None
    finish(key)
    version = key.versions.get()
    assert version.status == "active"
    use(service, key, algorithm)
    if Capability.DISCOVERY in place.provider.capabilities:
        assert health.test_provider(actor=officer, alias="far").milliseconds >= 0
        comparison.compare(far.pk)
        assert not ProviderFinding.objects.filter(version=version).exists()
    stopped = Capability.LIFECYCLE in place.provider.capabilities
    lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
    if stopped:
        finish(key, "disable")
        assert there(place, version) is RemoteState.DISABLED
    with pytest.raises(WrongState):
        use(service, key, algorithm)
    lifecycle.resume_version(actor=officer, version_id=version.pk)
    if stopped:
        finish(key, "enable")
    use(service, key, algorithm)
    lifecycle.suspend_version(actor=officer, version_id=version.pk, reason="r")
    lifecycle.schedule_deletion(actor=officer, version_id=version.pk, grace_days=7)
    if stopped:
        finish(key, "disable")
        finish(key, "schedule_deletion")
    KeyVersion.objects.filter(pk=version.pk).update(deletion_due_at=timezone.now() - timedelta(seconds=1))
    assert lifecycle.tick_deletions() == 1
    if stopped or Capability.DESTROYER in place.provider.capabilities:
        finish(key, "destroy")
    version.refresh_from_db()
    assert (version.status, version.handle) == ("destroyed", "")


def test_a_key_whose_answer_was_lost_is_found_again(far, place, algorithm, remote_key, service):
    if Capability.TAGS not in place.provider.capabilities:
        pytest.skip(f"{place.kind} keeps no marks on its keys")
    key = remote_key("records", "dek", algorithm)
    intent = intent_of(key)
    lost = place.provider.generate(algorithm, tag=str(intent.pk))
    ProviderIntent.objects.update(attempts=1)
    finish(key)
    version = key.versions.get()
    described = place.provider.describe(KeyHandle(algorithm, lost.opaque))
    assert version.handle == lost.opaque or described.state is not RemoteState.ENABLED, "one key, not two"
    use(service, key, algorithm)
    if ALGORITHMS[algorithm].symmetric:
        assert version.handle == lost.opaque
