"""Letting a data store go: who must agree, what is refused, and what the portal no longer counts."""

import json
from typing import Any

import pytest

from keys.models import CensusCount, DataStore, FailedItem, Rotation, SealedValue
from keys.services import rotation, store_removal
from keys.services.evidence import census_pieces
from keys.services.rotation import ending
from keys.services.rotation.ending import StillInUse
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ApprovalRequired, Conflict, NotFound, PermissionRefused, ValidationFailed
from tests.shop import Organisation, Shop, register_customers

pytestmark = pytest.mark.usefixtures("celery_eager")


@pytest.fixture
def alone(organisation: Organisation) -> Organisation:
    """The policy of the key asks nobody else."""
    policy = organisation.keys["pii"].policy
    policy.destroy_groups = []
    policy.save()
    return organisation


def test_its_items_and_its_connection_are_forgotten_and_its_data_stays(
    alone: Organisation, customers: tuple[DataStore, Any], shop: Shop
) -> None:
    store, plain = customers
    before, sealed = shop.cells(), store.dsn_id
    gone = store_removal.deregister_store(actor=alone.actor("ada"), store_id=store.pk, reason="The shop closed.")
    assert gone.deregistered_by == alone.actor("ada").label
    assert not DataStore.objects.filter(pk=store.pk).exists()
    assert not CensusCount.objects.filter(store_id=store.pk).exists()
    assert not SealedValue.objects.filter(pk=sealed).exists()
    assert shop.cells() == before
    event = AuditEvent.objects.filter(action="store.deregister", outcome="success").get()
    recorded = json.loads(bytes(event.leaf))["details"]
    assert sum(row["items"] for row in recorded["items_no_longer_counted"]) == 2 * len(plain)
    with pytest.raises(NotFound):
        store_removal.deregister_store(actor=alone.actor("ada"), store_id=store.pk, reason="again")
    assert register_customers(alone, shop).name == store.name, "the name is free again"


def test_the_evidence_says_that_nobody_counts_it(alone: Organisation, customers: tuple[DataStore, Any]) -> None:
    store, _ = customers
    store_removal.deregister_store(actor=alone.actor("ada"), store_id=store.pk, reason="Closed.")
    census = json.loads(b"".join(census_pieces()))
    row = next(row for row in census["stores"] if row["store"] == store.name)
    assert row["deregistered_at"]
    assert not [item for item in census["items"] if item["store"] == store.name]


def test_those_who_guard_the_end_of_the_key_must_agree(
    organisation: Organisation, customers: tuple[DataStore, Any]
) -> None:
    store, _ = customers
    with pytest.raises(ApprovalRequired):
        store_removal.deregister_store(actor=organisation.actor("ada"), store_id=store.pk, reason="Closed.")
    request = ApprovalRequest.objects.get(operation="store.deregister")
    assert any("2,500 items of email" in sentence for sentence in request.consequences)
    approvals.approve(actor=organisation.actor("boris"), request_id=request.pk, act_hash=request.act_hash)
    request.refresh_from_db()
    assert (request.state, request.failure_detail) == ("executed", "")
    assert not DataStore.objects.filter(pk=store.pk).exists()


def test_an_approval_is_void_when_the_key_changed_meanwhile(
    organisation: Organisation, customers: tuple[DataStore, Any]
) -> None:
    store, _ = customers
    with pytest.raises(ApprovalRequired):
        store_removal.deregister_store(actor=organisation.actor("ada"), store_id=store.pk, reason="Closed.")
    request = ApprovalRequest.objects.get(operation="store.deregister")
    DataStore.objects.filter(pk=store.pk).update(columns=["email"])
    approvals.approve(actor=organisation.actor("boris"), request_id=request.pk, act_hash=request.act_hash)
    request.refresh_from_db()
    assert request.state == "stale"
    assert DataStore.objects.filter(pk=store.pk).exists()


def test_refusals(alone: Organisation, customers: tuple[DataStore, Any]) -> None:
    store, _ = customers
    with pytest.raises(PermissionRefused):
        store_removal.deregister_store(actor=alone.actor("fay"), store_id=store.pk, reason="x")
    own = DataStore.objects.get(kind=DataStore.Kind.SEALED_VALUES)
    with pytest.raises(ValidationFailed, match="own values"):
        store_removal.deregister_store(actor=alone.actor("ada"), store_id=own.pk, reason="x")
    Rotation.objects.create(
        key=store.key,
        old_version=store.key.current,
        state="paused",
        requested_by="Ada",
        trigger="on_demand",
        reason="yearly",
    )
    with pytest.raises(Conflict, match="being rotated"):
        store_removal.deregister_store(actor=alone.actor("ada"), store_id=store.pk, reason="x")


def test_what_was_set_aside_in_it_neither_blocks_nor_hides_another_store(
    alone: Organisation, customers: tuple[DataStore, Any], shop: Shop
) -> None:
    store, _ = customers
    shop.connection.execute("CREATE TABLE more (LIKE customers INCLUDING ALL)")
    more = register_customers(alone, shop, name="more", table_name="more", title="More")
    broken = "UPDATE customers SET email = set_byte(email, length(email) - 1, get_byte(email, length(email) - 1) # 1) WHERE id = 7"
    kept = shop.cells()[8]
    shop.connection.execute(broken)
    found = rotation.request_rotation(actor=alone.actor("ada"), key_id=store.key_id, reason="yearly")
    with pytest.raises(StillInUse, match="set aside wait"):
        ending.verify(found.pk)
    store_removal.deregister_store(actor=alone.actor("ada"), store_id=store.pk, reason="x")
    item = FailedItem.objects.get(store=store)
    assert (item.resolution, item.reason) == ("given_up", "decrypt_failed")
    assert ending.verify(found.pk) == 0, "nothing is left that anybody counts"
    shop.connection.execute("INSERT INTO more VALUES (1, %s, NULL)", [kept[0]])
    with pytest.raises(StillInUse, match="1 item still stands"):
        ending.verify(found.pk)
    assert more.pk != store.pk
