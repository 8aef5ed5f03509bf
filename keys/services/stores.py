"""Registering data stores: what is typed is tried first, and what cannot be read is refused with the reason."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from keys.datastores import shared_rows
from keys.datastores.base import Page, StoreAdapter, StoreRefused
from keys.datastores.connecting import parse_dsn
from keys.datastores.formats import ContextTemplate
from keys.datastores.postgresql import PostgresTable, TableSpec
from keys.hierarchy import KeyKind
from keys.models import CensusCount, DataStore, Key
from keys.services import census, materials, sealing
from keys.services.opening import host_rule, open_store
from keys.services.recoding import Recoder, SetAside, recoder
from keys.services.versions import locked_key
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, PortalError, ValidationFailed
from keyvault_portal.numbers import counted

SAMPLE = 50
_KINDS = {
    DataStore.Format.COMPACT.value: {KeyKind.DEK.value},
    DataStore.Format.VAULT_TEXT.value: {KeyKind.DEK.value},
    DataStore.Format.ENVELOPE_JSON.value: {KeyKind.KEK.value},
}


@dataclass(frozen=True, slots=True)
class Line:
    """Items of one column on one version, in words."""

    column: str
    label: str
    items: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a try found: how many cells were opened, and where all of them stand."""

    items: int
    summary: str
    counts: list[Line]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def test_store(*, actor: Actor, ring: KeyRing, key: Key, **values: Any) -> Report:
    """Read the store as described and keep nothing; raises StoreRefused, StoreUnavailable, ValidationFailed, PermissionRefused."""
    with audit.atomic(
        actor=actor, action="store.test", target=("store", "", str(values.get("name", ""))), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.STORE_MANAGE, ring_id=ring.pk, target=f"ring {ring}")
        store = _draft(ring, key, values)
        _refuse_second(store, values["dsn"])
        report = _try(store, values["dsn"])
        act.record({"items": report.items})
    return report


def register_store(*, actor: Actor, ring: KeyRing, key: Key, **values: Any) -> DataStore:
    """Register a PostgreSQL table after reading it; its DSN is sealed under the portal's own data key.

    Raises what `test_store` does, and ValidationFailed for a name in use. Of registrations side by side whose cells
    overlap under one key, one is accepted.
    """
    with audit.atomic(
        actor=actor, action="store.register", target=("store", "", str(values.get("name", ""))), ring_id=ring.pk
    ) as act:
        authorize(actor, Permission.STORE_MANAGE, ring_id=ring.pk, target=f"ring {ring}")
        authorize(actor, Permission.KEY_VIEW, ring_id=key.ring_id, target=str(key))
        store = _draft(ring, key, values)
        compared = _refuse_second(store, values["dsn"])
        report = _try(store, values["dsn"])
        locked_key(key.pk)  # of two that were read side by side, the second meets the first here
        _refuse_second(store, values["dsn"], compared)
        store.dsn = sealing.seal_value(
            actor, purpose="data store DSN", plaintext=values["dsn"].encode(), key=sealing_key(actor)
        )
        store.created_by = actor.label
        try:
            with transaction.atomic():
                store.save(force_insert=True)
        except IntegrityError:
            raise ValidationFailed(errors={"name": ["A store of this name is registered already."]}) from None
        act.record(
            {"store": str(store.pk), "key": str(key.pk), "table": f"{store.schema_name}.{store.table_name}", "columns": store.columns,
             "format": store.format, "items_read": report.items},
            target=("store", store.pk, store.name),
        )  # fmt: skip
    census.take(store)
    _stop_clocks(store, actor)
    return store


def _stop_clocks(store: DataStore, actor: Actor) -> None:
    """Whatever waits for its destruction is in use where a new store stands on it."""
    from keys.services.deletion import halt_deletion  # which needs the key that this module names for sealing

    pending = CensusCount.objects.filter(store=store, version__status=VersionState.PENDING_DELETION.value)
    for version_id in set(pending.values_list("version_id", flat=True)):
        halt_deletion(actor, version_id)


def check_store(*, actor: Actor, store_id: UUID) -> Report:
    """Read a registered store again; keeps the complaint where there is one. Raises as `test_store` does."""
    store = DataStore.objects.select_related("key", "ring").filter(pk=store_id).first()
    if store is None:
        raise NotFound("There is no such data store.")
    with audit.atomic(
        actor=actor, action="store.check", target=("store", store.pk, store.name), ring_id=store.ring_id
    ) as act:
        authorize(actor, Permission.STORE_MANAGE, ring_id=store.ring_id, target=str(store))
        adapter = open_store(store)
        try:
            report = _read(store, adapter)
        except PortalError as error:
            DataStore.objects.filter(pk=store.pk).update(last_error=error.detail)
            raise
        finally:
            adapter.close()
        DataStore.objects.filter(pk=store.pk).update(last_error="")
        act.record({"items": report.items})
    return report


def sealing_key(actor: Actor) -> Key:
    """The data key under which the portal seals its own values; raises ValidationFailed when nobody made it yet."""
    store = (
        DataStore.objects.filter(kind=DataStore.Kind.SEALED_VALUES).select_related("key").order_by("created_at").first()
    )
    if store is None:
        raise ValidationFailed(
            "The portal has no data key for its own secrets yet.",
            hint="Choose one under Data stores, Seal the portal's own values.",
        )
    return store.key


def register_sealed_values(*, actor: Actor, key: Key) -> DataStore:
    """Let `key` (a data key) seal the portal's own values; they become a store with a census and rotations of its own.

    For those who manage all stores: values of every ring are sealed under it.
    """
    with audit.atomic(
        actor=actor, action="store.register", target=("store", "", "sealed-values"), ring_id=key.ring_id
    ) as act:
        authorize(actor, Permission.STORE_MANAGE, target="everything")
        if key.kind != KeyKind.DEK.value:
            raise ValidationFailed(errors={"key": ["The portal's own values are sealed under a data key."]})
        if DataStore.objects.filter(kind=DataStore.Kind.SEALED_VALUES).exists():
            raise ValidationFailed("The portal's own values have a key already; rotate that one.")
        store = DataStore.objects.create(
            ring_id=key.ring_id, key=key, name="sealed-values", title="The portal's own secrets", kind=DataStore.Kind.SEALED_VALUES,
            format=DataStore.Format.COMPACT, columns=["ciphertext"], created_by=actor.label,
        )  # fmt: skip
        act.record({"store": str(store.pk), "key": str(key.pk)}, target=("store", store.pk, store.name))
    return store


def _draft(ring: KeyRing, key: Key, values: dict[str, Any]) -> DataStore:
    if key.kind not in _KINDS[values["format"]]:
        wanted = " or ".join(sorted(_KINDS[values["format"]]))
        raise ValidationFailed(
            errors={"key": [f"This format is governed by a key of kind {wanted}, this one is {key.kind}."]}
        )
    if len(set(values["columns"])) != len(values["columns"]) or not values["columns"]:
        raise ValidationFailed(errors={"columns": ["Name each column once."]})
    template = values.get("context_template") or {}
    if not all(isinstance(name, str) and isinstance(value, str) for name, value in template.items()):
        raise ValidationFailed(errors={"context_template": ["Text to text, please."]})
    return DataStore(
        ring=ring, key=key, name=values["name"], title=values["title"], kind=DataStore.Kind.POSTGRESQL_TABLE, format=values["format"],
        schema_name=values["schema_name"], table_name=values["table_name"], primary_key=values["primary_key"], columns=list(values["columns"]),
        context_pairs=[list(pair) for pair in template.items()], rate_limit=values.get("rate_limit"),
    )  # fmt: skip


def _refuse_second(store: DataStore, dsn: str, compared: Collection[UUID] = ()) -> set[UUID]:
    """Raise ValidationFailed where cells of the store belong to another one of its key: they would be counted twice.

    Returns the stores that it was compared with; those `compared` before are left out.
    """
    others = DataStore.objects.filter(key=store.key, kind=store.kind).exclude(pk__in=compared).select_related("dsn")
    near = [other for other in others if not set(other.columns).isdisjoint(store.columns)]
    rule = host_rule()
    kin = shared_rows.kin(dsn, store.schema_name, store.table_name, rule) if near else set()
    for other in near:
        if (other.schema_name, other.table_name) not in kin or other.dsn is None:
            continue
        with sealing.open_value(other.dsn) as opened:
            same = shared_rows.one_database(dsn, opened.reveal().decode(), rule)
        if same and other.table_name == store.table_name and other.schema_name == store.schema_name:
            raise ValidationFailed(f"This table is registered already as {other.name}, with the same key.")
        if same:
            raise ValidationFailed(f"Rows of this table are registered already as {other.name}, with the same key.")
    return {other.pk for other in near}


def _try(store: DataStore, dsn: str) -> Report:
    parse_dsn(dsn)
    spec = TableSpec(
        store.schema_name,
        store.table_name,
        store.primary_key,
        tuple(store.columns),
        store.format,
        ContextTemplate(store.context_template),
    )
    adapter = PostgresTable(dsn, spec, host_rule())
    try:
        return _read(store, adapter)
    finally:
        adapter.close()


def _read(store: DataStore, adapter: StoreAdapter) -> Report:
    """Check the description, open a sample, count everything; raises StoreRefused with the first problem."""
    adapter.check()
    current = materials.active_version(store.key)
    reader = recoder(store, current, current)
    read = 0
    try:
        for rows in adapter.sample(SAMPLE):
            reader.prepare(rows)
            read += _opened(reader, adapter.columns, rows)
    finally:
        reader.close()
    counts = census.count_store(store, adapter=adapter)
    names = {version.pk: str(version) for version in store.key.versions.all()}
    lines = [
        Line(column, names.get(version_id, "unreadable") if version_id else "unreadable", items)
        for (column, version_id), items in counts.items()
    ]
    total = Counter({line.column: line.items for line in lines})
    return Report(
        read,
        f"{counted(sum(total.values()), 'item', 'items')}; {read:,} sampled, all readable.",
        sorted(lines, key=lambda line: (line.column, line.label)),
    )


def _opened(reader: Recoder, columns: Sequence[str], rows: Page) -> int:
    """How many cells there are, all of which open; raises StoreRefused for the first that does not."""
    read = 0
    for row in rows:
        for column, cell, context in zip(columns, row.cells, row.contexts, strict=True):
            if cell is None:
                continue
            try:
                reader.open(cell, context)
            except SetAside as problem:
                raise StoreRefused(
                    f"{column} of row {row.pk} cannot be read: {problem.reason.replace('_', ' ')}.",
                    hint="Check the key, the format and the encryption context.",
                ) from None
            read += 1
    return read
