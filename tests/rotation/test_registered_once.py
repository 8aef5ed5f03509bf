"""No cell is counted twice: what a store of the same key has already is not registered again, however it is called."""

from threading import Barrier, Thread

import pytest
from django.db import connection

from keys.models import DataStore
from keys.services import stores
from keyvault_portal.errors import ValidationFailed
from tests.shop import TEMPLATE, opened_shop, register_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


def by_another_name(dsn):
    assert "@127.0.0.1:" in dsn
    return dsn.replace("@127.0.0.1:", "@localhost:")


def try_customers(organisation, shop, **changes):
    values = {
        "name": "customers", "title": "Customers", "dsn": shop.dsn, "schema_name": "public", "table_name": "customers", "primary_key": "id",
        "columns": ["email", "card"], "format": "compact", "context_template": TEMPLATE,
    } | changes  # fmt: skip
    return stores.test_store(
        actor=organisation.actor("ada"), ring=organisation.ring, key=organisation.keys["pii"], **values
    )


def test_cells_are_registered_only_once_under_a_key(organisation, customers, shop):
    store, _ = customers
    for changes in (
        {},
        {"columns": ["card"]},
        {"dsn": shop.dsn + "?application_name=other"},
        {"dsn": by_another_name(shop.dsn)},
    ):
        for attempt in (register_customers, try_customers):
            with pytest.raises(ValidationFailed, match="This table is registered already as customers"):
                attempt(organisation, shop, name="again", **changes)
    assert DataStore.objects.filter(table_name="customers").get() == store


def test_another_table_or_other_columns_may_be_registered_beside(organisation, shop):
    shop.connection.execute("CREATE TABLE others (LIKE customers INCLUDING ALL)")
    register_customers(organisation, shop, columns=["email"])
    register_customers(organisation, shop, name="cards", columns=["card"])
    register_customers(organisation, shop, name="others", table_name="others")
    assert DataStore.objects.filter(kind=DataStore.Kind.POSTGRESQL_TABLE).count() == 3


def test_a_partition_is_not_registered_beside_its_table(organisation, shop):
    shop.connection.execute(
        "DROP TABLE customers; CREATE TABLE customers (id bigint PRIMARY KEY, email bytea, card bytea) PARTITION BY RANGE (id);"
        "CREATE TABLE early PARTITION OF customers FOR VALUES FROM (1) TO (100);"
        "CREATE TABLE late PARTITION OF customers FOR VALUES FROM (100) TO (200)"
    )
    register_customers(organisation, shop, name="early", table_name="early")
    register_customers(organisation, shop, name="late", table_name="late")
    with pytest.raises(ValidationFailed, match="Rows of this table are registered already as"):
        register_customers(organisation, shop)
    DataStore.objects.filter(name="early").delete()
    DataStore.objects.filter(name="late").delete()
    register_customers(organisation, shop)
    with pytest.raises(ValidationFailed, match="Rows of this table are registered already as customers"):
        register_customers(organisation, shop, name="late", table_name="late")


def test_the_same_table_of_another_database_is_another_one(organisation, customers):
    with opened_shop() as branch:
        register_customers(organisation, branch, name="branch", dsn=by_another_name(branch.dsn))
    assert DataStore.objects.filter(table_name="customers").count() == 2


def test_a_store_whose_database_is_gone_bars_no_other(organisation, shop):
    with opened_shop() as closed:
        register_customers(organisation, closed, name="closed")
    register_customers(organisation, shop, dsn=by_another_name(shop.dsn))
    assert DataStore.objects.filter(table_name="customers").count() == 2


@pytest.mark.parametrize("named", [str, by_another_name], ids=["alike", "differently"])
def test_of_two_registrations_side_by_side_one_is_accepted(organisation, shop, monkeypatch, named):
    both_have_read, read = Barrier(2, timeout=60), stores._read
    said = []

    def read_with_the_other(store, adapter):
        report = read(store, adapter)
        both_have_read.wait()
        return report

    def register(name, dsn):
        try:
            said.append(str(register_customers(organisation, shop, name=name, dsn=dsn).name))
        except ValidationFailed as refused:
            said.append(refused.detail)
        finally:
            connection.close()

    monkeypatch.setattr(stores, "_read", read_with_the_other)
    threads = [Thread(target=register, args=each) for each in (("first", shop.dsn), ("second", named(shop.dsn)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = DataStore.objects.get(table_name="customers")
    assert sorted(said) == sorted([store.name, f"This table is registered already as {store.name}, with the same key."])
