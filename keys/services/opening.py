"""From a registered store to an adapter that can be read: the DSN is opened only here, right before connecting."""

from django.conf import settings

from keys.datastores.base import StoreAdapter
from keys.datastores.connecting import HostRule
from keys.datastores.formats import ContextTemplate
from keys.datastores.postgresql import PostgresTable, TableSpec
from keys.models import DataStore
from keys.services import sealing
from keys.services.sealed_store import SealedValues


def host_rule() -> HostRule:
    """Which hosts a data store may be on."""
    return HostRule(tuple(settings.STORE_ALLOWED_HOSTS))


def spec_of(store: DataStore) -> TableSpec:
    """How the store's cells are found and read."""
    return TableSpec(
        schema=store.schema_name, table=store.table_name, primary_key=store.primary_key, columns=tuple(store.columns), format=store.format,
        context=ContextTemplate(store.context_template),
    )  # fmt: skip


def open_store(store: DataStore) -> StoreAdapter:
    """An adapter for this worker; the caller closes it."""
    if store.kind == DataStore.Kind.SEALED_VALUES:
        return SealedValues()
    assert store.dsn is not None
    with sealing.open_value(store.dsn) as dsn:
        return PostgresTable(dsn.reveal().decode(), spec_of(store), host_rule())
