"""What the role of a data store may not see or write is said before anything is trusted to its count."""

import pytest

from keys.datastores.base import StoreGone, StoreRefused
from keys.models import CensusCount
from keys.services import census, stores
from tests.shop import register_customers, seal_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]


def hide_rows(shop, policy="USING (id <= 60)"):
    """Row-level security to which the owner is subject, too."""
    shop.connection.execute("ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    if policy:
        shop.connection.execute(f"CREATE POLICY parted ON customers {policy}")


def test_a_table_with_hidden_rows_is_not_registered(organisation, shop, active):
    seal_customers(shop, active(organisation.keys["pii"]), range(1, 101))
    hide_rows(shop)
    with pytest.raises(StoreRefused, match=r"public\.customers has row-level security") as refused:
        register_customers(organisation, shop)
    assert "BYPASSRLS" in refused.value.hint


@pytest.mark.parametrize("policy", ["", "USING (id <= 60)"])
def test_rows_hidden_later_are_not_counted_as_none(organisation, customers, shop, policy):
    store, _ = customers
    before = list(CensusCount.objects.filter(store=store).values_list("column", "items"))
    hide_rows(shop, policy)

    with pytest.raises(StoreGone, match="row-level security") as refused:
        census.count_store(store)
    assert "BYPASSRLS" in refused.value.hint
    with pytest.raises(StoreRefused, match="row-level security"):
        stores.check_store(actor=organisation.actor("ada"), store_id=store.pk)
    census.take(store)
    store.refresh_from_db()
    assert "row-level security" in store.last_error
    assert list(CensusCount.objects.filter(store=store).values_list("column", "items")) == before


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ("UPDATE ON customers", "GRANT UPDATE (email, card) ON public.customers"),
        ("UPDATE ON customers; GRANT UPDATE (email) ON customers TO current_user", "GRANT UPDATE (card) ON"),
        ("SELECT ON customers; GRANT SELECT (id, email, card) ON customers TO current_user", "GRANT SELECT ON"),
        ("USAGE ON SCHEMA kept", "GRANT USAGE ON SCHEMA kept"),
    ],
)
def test_a_table_that_the_role_may_not_read_and_write_is_not_registered(organisation, shop, taken, wanted):
    """An owner may take rights from itself."""
    schema = "kept" if "kept" in wanted else "public"
    if schema == "kept":
        shop.connection.execute("CREATE SCHEMA kept; ALTER TABLE customers SET SCHEMA kept")
    first, *more = taken.split("; ")
    for statement in (f"REVOKE {first} FROM current_user", *more):
        shop.connection.execute(statement)
    with pytest.raises(StoreRefused, match=f"lacks a right on {schema}.customers") as refused:
        register_customers(organisation, shop, schema_name=schema)
    assert wanted in refused.value.hint


def test_a_database_that_can_only_be_read_is_not_registered(organisation, customers, shop):
    store, _ = customers
    name = shop.connection.info.dbname
    shop.connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(StoreRefused, match=r"public\.customers can only be read"):
        stores.check_store(actor=organisation.actor("ada"), store_id=store.pk)
    assert sum(census.count_store(store).values()) == 5000, "what can be read can be counted"
