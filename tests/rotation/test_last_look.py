"""The grace period is over: nothing is destroyed on which something stands by then whose loss nobody accepted."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from keys.datastores.base import StoreUnavailable
from keys.datastores.postgresql import PostgresTable
from keys.models import DataStore, FailedItem, KeyVersion
from keys.services import census, lifecycle, rotation
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from tests.rotation.test_rotation import read_all
from tests.shop import register_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


def alone(organisation: Any) -> None:
    """Let one officer decide on the end of versions."""
    policy = organisation.keys["pii"].policy
    policy.destroy_groups = []
    policy.save()


def decommission(organisation: Any) -> KeyVersion:
    """Rotate, and let the old version wait for its destruction."""
    alone(organisation)
    ada = organisation.actor("ada")
    found = rotation.request_rotation(actor=ada, key_id=organisation.keys["pii"].pk, reason="yearly")
    rotation.request_decommission(actor=ada, rotation_id=found.pk, reason="it is over")
    return KeyVersion.objects.get(pk=found.old_version_id)


def end_grace(version: KeyVersion) -> KeyVersion:
    KeyVersion.objects.filter(pk=version.pk).update(deletion_due_at=timezone.now())
    lifecycle.tick_deletions()
    version.refresh_from_db()
    return version


def told(text: str) -> bool:
    return Notice.objects.filter(text__contains=text).exists()


def test_what_a_backup_put_back_stops_the_clock(organisation, customers, shop, active):
    store, plain = customers
    before = shop.cells()[7]
    old = decommission(organisation)
    shop.connection.execute("UPDATE customers SET email = %s, card = %s WHERE id = 7", before)
    assert end_grace(old).status == "pending_deletion"
    assert old.deletion_halted_by == "2 items in data stores"
    assert told("was stopped by 2 items in data stores")
    assert AuditEvent.objects.filter(action="key.deletion_halted", outcome="success").count() == 1
    assert read_all(store, active(organisation.keys["pii"])) == plain

    confirmed = lifecycle.confirm_deletion(actor=organisation.actor("ada"), version_id=old.pk)
    assert end_grace(confirmed).deletion_halted_by == "2 items in data stores", "to go on is not to accept the loss"
    shop.connection.execute("DELETE FROM customers WHERE id = 7")
    lifecycle.confirm_deletion(actor=organisation.actor("ada"), version_id=old.pk)
    assert end_grace(old).status == "destroyed"


def test_a_table_registered_during_the_grace_period_stops_the_clock(organisation, customers, shop):
    shop.connection.execute("CREATE TABLE late (LIKE customers INCLUDING ALL)")
    shop.connection.execute("INSERT INTO late SELECT * FROM customers WHERE id < 50")
    old = decommission(organisation)
    register_customers(organisation, shop, name="late", table_name="late")
    old.refresh_from_db()
    assert old.deletion_halted_by == "Ada", "who registered it read with the version"
    lifecycle.confirm_deletion(actor=organisation.actor("ada"), version_id=old.pk)
    assert (end_grace(old).status, old.deletion_halted_by) == ("pending_deletion", "98 items in data stores")


def test_what_was_given_up_does_not_stop_the_clock(organisation, customers, shop):
    alone(organisation)
    ada, broken = organisation.actor("ada"), bytearray(shop.cells()[42][1])
    broken[-1] ^= 1
    shop.connection.execute("UPDATE customers SET card = %s WHERE id = 42", [bytes(broken)])
    found = rotation.request_rotation(actor=ada, key_id=organisation.keys["pii"].pk, reason="yearly")
    item = FailedItem.objects.get(job__rotation=found)
    rotation.decide_failed(actor=ada, rotation_id=found.pk, item_id=item.pk, reason="damaged long ago")
    rotation.request_decommission(actor=ada, rotation_id=found.pk, reason="it is over")
    assert end_grace(KeyVersion.objects.get(pk=found.old_version_id)).status == "destroyed"


def test_a_store_that_cannot_be_counted_puts_the_end_off(organisation, customers, monkeypatch):
    old = decommission(organisation)
    with monkeypatch.context() as away:
        away.setattr(PostgresTable, "count_by_version", lambda self: _away())
        assert end_grace(old).status == "pending_deletion"
        assert old.deletion_halted_at is None
        assert old.deletion_due_at > timezone.now() + timedelta(hours=23)
        assert DataStore.objects.get(pk=customers[0].pk).last_error == "The database is away."
        assert Notice.objects.filter(text__contains="is put off by a day", detail__contains="Customers").exists()
        assert AuditEvent.objects.filter(action="key.deletion_delayed", outcome="success").exists()
    assert end_grace(old).status == "destroyed"


def _away() -> Any:
    raise StoreUnavailable("The database is away.")


def test_a_version_on_which_nothing_stood_is_looked_at_again(organisation, customers, shop, active):
    alone(organisation)
    key, store = organisation.keys["pii"], customers[0]
    old = active(key)
    rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")
    old.data_keys.all().delete()
    census.take(store)
    lifecycle.schedule_deletion(actor=organisation.actor("ada"), version_id=old.pk)
    shop.connection.execute("UPDATE customers SET email = 'no envelope' WHERE id = 7")
    assert (end_grace(old).status, old.deletion_halted_by) == ("pending_deletion", "1 item in data stores")


@pytest.mark.parametrize(("more", "state"), [(0, "destroyed"), (1, "pending_deletion")])
def test_no_more_is_lost_than_was_accepted(organisation, customers, shop, active, more, state):
    alone(organisation)
    key, store = organisation.keys["pii"], customers[0]
    old, before = active(key), shop.cells()
    rotation.request_rotation(actor=organisation.actor("ada"), key_id=key.pk, reason="yearly")
    shop.connection.execute("UPDATE customers SET email = %s WHERE id = 7", [before[7][0]])
    census.take(store)
    lifecycle.schedule_deletion(actor=organisation.actor("ada"), version_id=old.pk, accept_loss=True)
    for number in range(8, 8 + more):
        shop.connection.execute("UPDATE customers SET email = %s WHERE id = %s", [before[number][0], number])
    assert end_grace(old).status == state
    assert old.deletion_accepted_items == 1
