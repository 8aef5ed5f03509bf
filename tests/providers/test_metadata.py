"""What only one provider has of policies and tags: rights that are missing, ways that go in one direction, marks of the portal's own."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.keyvault.keys import KeyClient

from keys.providers.base import TAG, KeyHandle, KeyUnusable, OperationUnsupported, RemoteState
from keys.providers.metadata import UNREADABLE, changes
from tests.providers import bao
from tests.providers.place_azure_kv import change_metadata as change_in_vault
from tests.providers.place_gcp_kms import change_metadata as change_in_cloud
from tests.providers.vaults import EC, new

MARK = "7d1a0f2e-0000-4000-8000-000000000001"


# Cloud KMS


def test_a_policy_that_we_may_not_read_hides_no_label_and_is_not_written(gcp, aes, fake):
    fake.policies_hidden = True
    accepted = gcp.metadata(aes)
    assert accepted["access"] == UNREADABLE
    assert accepted["labels"] == {"managed-by": "keyvault-portal"}
    change_in_cloud(fake, aes.opaque)
    fake.policies_hidden = False
    gcp.restore_metadata(aes, accepted, tag=MARK)
    key = next(iter(fake.keys.values()))
    assert key.body["labels"] == {"managed-by": "keyvault-portal", TAG: MARK}
    assert len(key.bindings) == 2, "what was never accepted is not put back"


def test_versions_of_one_key_share_its_metadata(gcp, aes):
    later = KeyHandle(aes.algorithm, gcp.rotate(aes).opaque)
    assert gcp.metadata_owner(aes) == gcp.metadata_owner(later) != aes.opaque


def test_a_condition_of_a_binding_is_seen_and_put_back(gcp, aes, fake):
    key = next(iter(fake.keys.values()))
    bound = {"role": "r", "members": ["user:a@example.org"], "condition": {"title": "office", "expression": "true"}}
    key.bindings = [bound]
    accepted = gcp.metadata(aes)
    key.bindings = [{**bound, "condition": {"title": "office", "expression": "false"}}]
    assert [change.place for change in changes(accepted, gcp.metadata(aes))] == ["access / r / condition / expression"]
    gcp.restore_metadata(aes, accepted)
    assert key.bindings == [bound]


# Azure


def test_a_version_that_waits_for_its_deletion_has_the_same_metadata(vault):
    fake, azure = vault
    old = new(azure, EC)
    azure.rotate(old)
    accepted = azure.metadata(old)
    azure.schedule_deletion(old, 7)
    assert azure.metadata(old) == accepted
    change_in_vault(fake, old.opaque)
    azure.schedule_deletion(old, 7)
    azure.restore_metadata(old, accepted, tag=MARK)
    described = azure.describe(old)
    assert described.state is RemoteState.PENDING_DELETION, "the portal's own note of the end is kept"
    assert described.tags[TAG] == MARK


def test_a_date_is_put_back_and_none_is_taken_away(vault):
    _, azure = vault
    key = new(azure, EC)
    plain = azure.metadata(key)
    first, second = (datetime.now(UTC).replace(microsecond=0) + timedelta(days=days) for days in (30, 900))
    name, version = key.opaque.split("/")[-2:]

    def expires(moment: datetime) -> None:
        azure._connection.call(lambda client: KeyClient.update_key_properties(client, name, version, expires_on=moment))

    expires(first)
    accepted = azure.metadata(key)
    assert accepted["attributes"]["expires_on"] == first.isoformat()
    expires(second)
    azure.restore_metadata(key, accepted)
    assert azure.metadata(key) == accepted
    with pytest.raises(OperationUnsupported):
        azure.restore_metadata(key, plain)


def test_what_a_vault_never_undoes_is_said(vault):
    _, azure = vault
    key = new(azure, EC)
    for name, value in (("exportable", True), ("release_policy", "0" * 64)):
        accepted = azure.metadata(key)
        accepted["attributes"][name] = value
        with pytest.raises(OperationUnsupported):
            azure.restore_metadata(key, accepted)


# OpenBao


@pytest.fixture
def transit(places):
    return places["vault_transit"]


def configure(transit, key, **config):
    address = transit.provider._connection.address
    bao.call(address, "post", f"transit/keys/{key.opaque.rpartition(':v')[0]}/config", config)


def test_a_transit_key_that_has_become_exportable_cannot_be_put_back(transit):
    key = KeyHandle("AES-256-GCM", transit.provider.generate("AES-256-GCM").opaque)
    accepted = transit.provider.metadata(key)
    configure(transit, key, exportable=True)
    assert [change.place for change in changes(accepted, transit.provider.metadata(key))] == ["config / exportable"]
    with pytest.raises(OperationUnsupported):
        transit.provider.restore_metadata(key, accepted)


def test_the_floor_of_versions_is_their_state_and_a_floor_for_encryption_alone_is_not(transit):
    provider = transit.provider
    first = KeyHandle("AES-256-GCM", provider.generate("AES-256-GCM").opaque)
    second = KeyHandle("AES-256-GCM", provider.rotate(first).opaque)
    accepted = provider.metadata(second)
    provider.disable(first)
    assert provider.metadata(second) == accepted
    provider.enable(first)
    configure(transit, second, min_encryption_version=2)
    assert [change.place for change in changes(accepted, provider.metadata(second))] == [
        "config / min_encryption_version"
    ]
    provider.restore_metadata(second, accepted)
    assert provider.metadata(second) == accepted
    assert provider.metadata_owner(first) == provider.metadata_owner(second)


# PKCS#11


@pytest.mark.needs_softhsm
def test_a_disabled_key_has_no_use_left_and_gets_none_back_with_its_metadata(places):
    place = places["pkcs11"]
    key = KeyHandle("AES-256-GCM", place.provider.generate("AES-256-GCM").opaque)
    place.change_metadata(key.opaque)
    with_one_more = place.provider.metadata(key)
    place.provider.disable(key)
    assert place.provider.describe(key).state is RemoteState.DISABLED
    place.provider.restore_metadata(key, with_one_more)
    assert place.provider.describe(key).state is RemoteState.DISABLED


@pytest.mark.needs_softhsm
def test_what_a_token_keeps_for_ever_is_said_and_a_foreign_use_is_taken_away(places):
    place = places["pkcs11"]
    key = KeyHandle("AES-256-GCM", place.provider.generate("AES-256-GCM").opaque)
    accepted = place.provider.metadata(key)
    assert accepted["attributes"]["uses"] == ["DECRYPT", "ENCRYPT"]
    assert accepted["attributes"]["CKA_EXTRACTABLE"] is False
    place.change_metadata(key.opaque)
    assert "WRAP" in place.provider.metadata(key)["attributes"]["uses"]
    place.provider.restore_metadata(key, accepted)
    assert place.provider.metadata(key) == accepted
    with pytest.raises((OperationUnsupported, KeyUnusable)):
        place.provider.restore_metadata(key, {"attributes": accepted["attributes"] | {"CKA_EXTRACTABLE": True}})
