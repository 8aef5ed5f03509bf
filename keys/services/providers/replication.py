"""Copies of keys in other regions: how the regions answer, and whether every key has the copies it should have."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction
from django.utils import timezone

from keys.models import KeyProvider, KeyReplica, KeyVersion, ProviderRegion
from keys.providers.base import KeyHandle, KeyMissing, Provider, Region, RemoteState, Replica, Replicated
from keys.services.providers.calls import call

type Copies = dict[int, list[Replica]]


def has_replicas(keeper: Provider) -> bool:
    """Whether something else of this provider serves while its first region is down."""
    return isinstance(keeper, Replicated) and len(keeper.region_names) > 1


def keep_regions(row: KeyProvider, regions: Iterable[Region]) -> None:
    """Write down how the regions answered; those that are no longer among the settings go."""
    now, names = timezone.now(), []
    with transaction.atomic():
        for region in regions:
            names.append(region.name)
            found = {
                "primary": region.primary, "error": region.error[:2000], "seen_at": now,
                "milliseconds": None if region.seconds is None else max(1, round(region.seconds * 1000)),
            }  # fmt: skip
            ProviderRegion.objects.update_or_create(provider=row, name=region.name, defaults=found)
        ProviderRegion.objects.filter(provider=row).exclude(name__in=names).delete()


def all_silent(row: KeyProvider, said: str) -> None:
    """None of them answers."""
    ProviderRegion.objects.filter(provider=row).update(milliseconds=None, error=said[:2000], seen_at=timezone.now())


def look(alias: str, keeper: Provider, versions: Iterable[KeyVersion]) -> Copies:
    """Ask for the copies of these versions; touches no table. Raises as `describe` does."""
    if not isinstance(keeper, Replicated) or not has_replicas(keeper):
        return {}
    found: Copies = {}
    for version in versions:
        handle = KeyHandle(version.key.algorithm, version.handle)
        try:
            found[version.pk] = call(alias, "replicas", lambda handle=handle: keeper.replicas(handle), counts=False)  # type: ignore[misc]
        except KeyMissing:
            continue  # said as such already
    return found


def keep(alias: str, copies: Copies) -> None:
    """Write down what `look` found; in the caller's transaction."""
    now = timezone.now()
    KeyReplica.objects.filter(version__provider=alias).delete()
    KeyReplica.objects.bulk_create(
        KeyReplica(
            version_id=version_id, region=copy.region, state=copy.state.value if copy.state else KeyReplica.MISSING, seen_at=now
        )
        for version_id, found in copies.items()
        for copy in found
    )  # fmt: skip


def amiss(copies: Iterable[Replica], wanted: set[RemoteState]) -> Iterator[tuple[str, str]]:
    """(region, what is wrong) of every copy that is not as its key should be; one on its way out may be gone already."""
    for copy in copies:
        if copy.state is None:
            if RemoteState.PENDING_DELETION not in wanted:
                yield copy.region, "there is none"
        elif copy.state not in wanted:
            yield copy.region, f"it is {copy.state.value.replace('_', ' ')}"


def regions_of(row: KeyProvider) -> list[ProviderRegion]:
    """How its regions last answered, the first one first; empty where there is only one."""
    return list(row.regions.order_by("-primary", "name"))


def copies_of(versions: Iterable[KeyVersion]) -> dict[int, list[dict[str, Any]]]:
    """For pages: by version, where its copies are and in which state."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in KeyReplica.objects.filter(version__in=list(versions)).order_by("region"):
        rows.setdefault(row.version_id, []).append({"region": row.region, "state": row.state, "seen_at": row.seen_at})
    return rows
