"""What the keys app adds to an evidence pack: which data stands on which key version, as last counted."""

import json
from collections.abc import Iterator
from typing import Any

from django.db.models import Count
from django.utils import timezone

from keys.models import CensusCount, DataKey, DataStore, KeyVersion, RootSeal
from keys.states import VersionState


def census_pieces() -> Iterator[bytes]:
    """`census.json` in pieces: items by store, column and version, and wrapped keys by the version that wraps them.

    An item whose `version` is null could not be read. Times are RFC 3339; a store that was never counted, or could not
    be counted when last tried, says so. Nothing here opens anything: places are named, credentials are not.
    """
    yield b'{"version": 1, "written_at": %b,\n "stores": [' % _json(timezone.now().isoformat())
    yield from _lines(
        _store(row) for row in DataStore.ever.select_related("key").order_by("name", "created_at").iterator(500)
    )
    yield b'],\n "items": ['
    counts = CensusCount.objects.select_related("version", "store").order_by("store__name", "column", "pk")
    yield from _lines(_items(row) for row in counts.iterator(500))
    yield b'],\n "wrapped_keys": ['
    yield from _lines(_wrapped())
    yield b"]}\n"


def _store(store: DataStore) -> dict[str, Any]:
    place = f"{store.schema_name}.{store.table_name}" if store.table_name else store.get_kind_display()
    return {
        "store": store.name, "key_id": str(store.key_id), "place": place, "columns": store.columns, "format": store.format,
        "counted_at": store.census_at and store.census_at.isoformat(), "problem": store.last_error or None,
        "deregistered_at": store.deregistered_at and store.deregistered_at.isoformat(),
    }  # fmt: skip


def _items(count: CensusCount) -> dict[str, Any]:
    return {
        "store": count.store.name, "column": count.column, "items": count.items, "counted_at": count.counted_at.isoformat(),
        "version": _version(count.version) if count.version else None,
    }  # fmt: skip


def _wrapped() -> Iterator[dict[str, Any]]:
    """Versions that wrap something: how many key versions, segment data keys and seals of the portal's root."""
    living = KeyVersion.objects.filter(wrapped_by__isnull=False).exclude(status=VersionState.DESTROYED.value)
    versions = dict(living.values_list("wrapped_by_id").annotate(Count("pk")).order_by())
    data_keys = dict(DataKey.objects.values_list("wrapped_by_id").annotate(Count("pk")).order_by())
    sealing = RootSeal.objects.filter(version__isnull=False, retired_at=None)
    seals = dict(sealing.values_list("version_id").annotate(Count("pk")).order_by())
    wrappers = KeyVersion.objects.filter(pk__in=versions.keys() | data_keys.keys() | seals.keys())
    for wrapper in wrappers.order_by("key_id", "key_version"):
        yield _version(wrapper) | {
            "key_versions": versions.get(wrapper.pk, 0), "data_keys": data_keys.get(wrapper.pk, 0),
            "root_seals": seals.get(wrapper.pk, 0),
        }  # fmt: skip


def _version(version: KeyVersion) -> dict[str, Any]:
    return {
        "key_id": str(version.key_id), "key_version": version.key_version, "kms_key_arn": version.kms_key_arn, "provider": version.provider,
        "status": version.status,
    }  # fmt: skip


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        yield (b",\n  " if number else b"\n  ") + _json(row)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
