"""Bare signatures of the portal itself: checked and noted once for each view of a key, and never beyond one."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keys.models import KeyVersion
from keys.services import cache, key_views, lifecycle, materials, operations, seal_watch
from keys.services.operations import signatures
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, PermissionRefused, PortalError, ProviderUnavailable, WrongState

SYSTEM = system_actor("certification authority", Permission.KEY_SIGN)


@pytest.fixture
def sign(tree):
    key = tree.make("signer", "transport", "ECDSA-P256-SHA256", tree.kek)

    def sign(actor=SYSTEM, number=1, key_id=key.pk):
        return operations.sign_bare(actor, key_id, b"message", number)

    sign.key = key
    return sign


def _version(sign):
    return KeyVersion.objects.get(key=sign.key)


def test_it_is_the_signature_itself(sign):
    public = load_der_public_key(bytes(_version(sign).public_key))
    for _ in range(2):
        public.verify(sign(), b"message", ec.ECDSA(hashes.SHA256()))


def test_everything_is_checked_again_with_the_next_view(sign, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(cache, "monotonic", lambda: now[0])
    sign()
    KeyVersion.objects.filter(key=sign.key).update(status="suspended")  # in another process: this one is not told
    now[0] += key_views.MAX_AGE - 0.1
    assert sign()
    now[0] += 0.2
    with pytest.raises(WrongState):
        sign()
    assert key_views.MAX_AGE == 2.0


def test_an_act_of_this_process_stops_it_at_once(sign, tree):
    sign()
    lifecycle.suspend_version(actor=tree.officer, version_id=_version(sign).pk, reason="Lost.")
    with pytest.raises(WrongState):
        sign()


def test_a_suspended_key_above_stops_it_with_the_next_view(sign, tree):
    sign()
    KeyVersion.objects.filter(key=tree.kek).update(status="suspended")
    key_views.forget()
    with pytest.raises(WrongState):
        sign()


def test_nobody_signs_on_anothers_right(sign, auditor):
    sign()
    for stranger in (auditor, system_actor("certification authority")):
        with pytest.raises((PermissionRefused, NotFound)):
            sign(stranger)
    with pytest.raises(NotFound):
        sign(number=2)


def test_a_seal_drops_what_signs(sign, monkeypatch):
    sign()
    [kept] = key_views.view(sign.key.pk).signers.values()
    assert kept[0] is SYSTEM
    seal_watch._drop()
    assert not key_views._views
    assert not materials._bindings
    sign()

    def sealed():
        raise PortalError

    monkeypatch.setattr(seal_watch, "require_open", sealed)
    with pytest.raises(PortalError):
        sign()


def test_the_use_is_noted_and_stops_the_clock_of_a_deletion(sign, tree):
    sign()
    assert _version(sign).last_used_by == SYSTEM.label
    KeyVersion.objects.filter(key=tree.kek).update(status="pending_deletion", deletion_from="decrypt_only")
    key_views.forget()
    sign()
    assert KeyVersion.objects.get(key=tree.kek).deletion_halted_by == SYSTEM.label


def test_a_provider_is_asked_anew_each_time_and_its_refusal_is_a_use(sign, monkeypatch):
    monkeypatch.setattr(signatures, "LOCAL", "elsewhere")  # so this key counts as a provider's
    noted = []
    monkeypatch.setattr(signatures, "used", lambda version, actor: noted.append(version.pk))

    class Away:
        def sign(self, message):
            raise ProviderUnavailable("The HSM is away.")

    sign()
    assert not key_views.view(sign.key.pk).signers
    monkeypatch.setattr(materials, "signer", lambda version: Away())
    with pytest.raises(ProviderUnavailable):
        sign()
    assert len(noted) == 2
