"""Registering, changing and switching providers: who may, what is kept, what is sealed, and who sees it when."""

import json
import logging

import pytest
from django.db import IntegrityError, transaction

from keys.forms import ProviderForm
from keys.models import Key, KeyProvider, KeyVersion, RootSeal, SealedValue
from keys.providers import registry
from keys.services import provider_seals
from keys.services.providers import registration
from keys.services.providers.source import settings_of
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import NotFound, PermissionRefused, ProviderUnavailable, ValidationFailed, WrongState
from tests.provider_services.conftest import register, work
from tests.provider_services.stand_in import SECRET, StandIn


def refused(officer, **values):
    values = {"kind": "stand_in", "alias": "near", "title": "Near", "values": {"place": "there"}} | values
    with pytest.raises(ValidationFailed) as caught:
        registration.register_provider(actor=officer, **values)
    return caught.value.errors


def test_what_is_wrong_is_named_by_its_field(there, officer, tree):
    assert "alias" in refused(officer, alias="Not An Alias")
    assert "alias" in refused(officer, alias="local")
    assert "alias" in refused(officer, alias="new")
    assert "title" in refused(officer, title=" ")
    assert "kind" in refused(officer, kind="nonsense")
    assert "kind" in refused(officer, kind="local")
    assert "place" in refused(officer, values={})
    assert "mode" in refused(officer, values={"place": "there", "mode": "wild"})
    assert "colour" in refused(officer, values={"place": "there", "colour": "red"})
    assert not KeyProvider.objects.exists()
    register(officer)
    assert "alias" in refused(officer, alias="far")


@pytest.mark.parametrize("who", ["auditor", "operator", "service"])
def test_only_officers_register(there, who, request, tree):
    actor = request.getfixturevalue(who)
    with pytest.raises(PermissionRefused):
        register(actor)
    assert AuditEvent.objects.get(action="provider.register").outcome == "refused"


def test_secrets_are_sealed_and_never_shown(there, officer, sealing, caplog):
    with caplog.at_level(logging.DEBUG):
        row = register(officer, password=SECRET)
    assert row.settings == {"place": "there", "mode": "calm"}
    assert SECRET.encode() not in bytes(row.sealed_settings.ciphertext)
    assert settings_of(row)["password"] == SECRET
    assert registry.provider("far").password == SECRET
    told = caplog.text + repr(row) + repr(registry._source[0].configuration("far"))
    told += "".join(str(bytes(event.leaf)) for event in AuditEvent.objects.all())
    assert SECRET not in told


def test_without_a_sealing_key_a_secret_is_not_taken(there, officer, tree):
    with pytest.raises(ValidationFailed):
        register(officer, password=SECRET)
    assert not KeyProvider.objects.exists()


def test_the_key_to_the_credentials_must_not_live_behind_them(there, officer, sealing, monkeypatch):
    from keys.models import Key

    row = register(officer)
    Key.objects.filter(pk=sealing.parent_id).update(provider="far")
    with pytest.raises(ValidationFailed):
        registration.update_provider(
            actor=officer, alias=row.alias, title="Far", values={"place": "there", "password": SECRET}
        )


def test_what_opens_the_root_keeps_no_credentials_under_it(there, officer, sealing):
    register(officer)
    RootSeal.objects.create(
        kind="provider", name="Far", provider="far", wrapped=b"w", check_value=b"12345678", created_by="test"
    )
    with pytest.raises(ValidationFailed):
        registration.update_provider(
            actor=officer, alias="far", title="Far", values={"place": "there", "password": SECRET}
        )
    register(officer, alias="near", password=SECRET)
    key = Key.objects.create(
        ring=sealing.ring, name="n", title="N", kind="master", algorithm="AES-256-GCM", provider="near"
    )
    with pytest.raises(ValidationFailed) as caught:
        provider_seals.refuse_unsuitable(key)
    assert "ambient identity" in caught.value.errors["key"][0]


def test_a_change_builds_a_new_instance_and_keeps_the_secret(there, officer, sealing, monkeypatch):
    monkeypatch.setattr(registry, "monotonic", lambda: 1000.0)
    register(officer, password=SECRET)
    first = registry.provider("far")
    registration.update_provider(
        actor=officer, alias="far", title="Far away", values={"place": "there", "mode": "strict"}, calls_per_second=7
    )
    assert registry.provider("far") is first, "within the age that was promised"
    expire()
    second = registry.provider("far")
    assert second is not first
    assert (second.mode, second.password) == ("strict", SECRET)
    old = KeyProvider.objects.get().sealed_settings_id
    registration.update_provider(
        actor=officer, alias="far", title="Far away", values={"place": "there", "password": "another"}
    )
    expire()
    assert registry.provider("far").password == "another"
    assert not SealedValue.objects.filter(pk=old).exists(), "the old credentials are gone"


def expire():
    for known in registry._known.values():
        known.fresh_until = 0.0


def test_an_instance_is_kept_while_nothing_changes(there, officer, tree):
    register(officer)
    StandIn.built.clear()
    first = registry.provider("far")
    expire()
    assert registry.provider("far") is first
    assert StandIn.built == ["far"]
    assert registry.MAX_AGE <= 5, "a change is seen everywhere within five seconds"


def test_disabled_nothing_is_sent(there, officer, auditor, tree):
    register(officer)
    with pytest.raises(PermissionRefused):
        registration.disable_provider(actor=auditor, alias="far", reason="r")
    with pytest.raises(ValidationFailed):
        registration.disable_provider(actor=officer, alias="far", reason=" ")
    registry.provider("far")
    registration.disable_provider(actor=officer, alias="far", reason="maintenance")
    expire()
    with pytest.raises(registry.ProviderDisabled) as caught:
        registry.provider("far")
    assert caught.value.status == 409
    assert "far" not in registry.aliases()
    with pytest.raises(WrongState):
        registration.disable_provider(actor=officer, alias="far", reason="again")
    registration.enable_provider(actor=officer, alias="far", reason="over")
    expire()
    assert registry.provider("far").alias == "far"


def test_keys_with_an_earlier_version_there_need_it_too(there, officer, tree, remote_key):
    """A key that moved away counts until nothing of it lives there any more."""
    register(officer)
    key, waiting = remote_key("moved-away"), remote_key("waiting")
    assert work(key).state == "done"
    Key.objects.filter(pk=key.pk).update(provider="local")
    assert set(registration.keys_at("far")) == {key, waiting}
    registration.disable_provider(actor=officer, alias="far", reason="maintenance")
    event = AuditEvent.objects.filter(action="provider.disable").latest("seq")
    assert json.loads(bytes(event.leaf))["details"]["keys"] == 2
    KeyVersion.objects.filter(key=key).update(status="destroyed", handle="", wrapped_material=None)
    assert set(registration.keys_at("far")) == {waiting}


def test_what_does_not_exist(officer, tree):
    with pytest.raises(NotFound):
        registration.enable_provider(actor=officer, alias="nobody", reason="r")
    with pytest.raises(NotFound):
        registration.find(officer, "nobody")
    with pytest.raises(ProviderUnavailable):
        registry.provider("nobody")


def test_a_kind_whose_library_is_missing_says_so(monkeypatch):
    monkeypatch.setitem(registry.KINDS, "exotic", registry.Kind("Exotic", "keys.providers.exotic.Exotic", "exotic-kms"))
    with pytest.raises(registry.KindUnavailable) as caught:
        registry.provider_class("exotic")
    assert "exotic-kms" in caught.value.detail
    assert ("exotic", "Exotic", caught.value.detail) in registration.kinds()
    assert ("stand_in", "Stand-in", "") in registration.kinds()


@pytest.mark.parametrize("broken", [{"alias": "local"}, {"state": "asleep"}])
def test_the_database_keeps_the_rules_too(there, officer, tree, broken):
    register(officer)
    with pytest.raises(IntegrityError), transaction.atomic():
        KeyProvider.objects.update(**broken)


@pytest.mark.parametrize("kind", sorted(set(registry.KINDS) - {"local"}))
def test_every_kind_has_a_form(kind):
    """Its library is here, and none of its settings takes the name of a field that every provider has."""
    declared = registry.provider_class(kind).settings
    form = ProviderForm(declared=declared)
    assert len(form.fields) == len(declared) + 3
    assert not {setting.name for setting in declared} & {"alias", "title", "kind", "calls_per_second", "values"}
    for setting in declared:
        assert (form.fields[setting.name].widget.input_type == "password") == setting.secret or setting.choices
