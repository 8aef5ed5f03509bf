"""What a provider really has against what the inventory says: every difference is a row, found again it is the same row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from keys.models import KeyProvider, KeyVersion, ProviderFinding, ProviderIntent, RootSeal
from keys.models.providers import OPEN_INTENTS
from keys.providers import registry
from keys.providers.base import (
    TAG,
    Capability,
    Discovery,
    KeyHandle,
    KeyMissing,
    Provider,
    RemoteKey,
    RemoteState,
    SelfRotating,
)
from keys.services import notices
from keys.services.providers import metadata, replication
from keys.services.providers.calls import call
from keys.services.providers.intents import MAKING
from keys.services.providers.metadata import often
from keys.services.providers.registration import find
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import WrongState
from keyvault_portal.jobs import enqueue_on_commit

Kind, State = ProviderFinding.Kind, ProviderFinding.State
COMPARE_EVERY = timedelta(hours=1)
_GOING = {RemoteState.PENDING_DELETION, RemoteState.DESTROYED}
_WORDS = {
    RemoteState.ENABLED: "usable", RemoteState.DISABLED: "disabled", RemoteState.PENDING_IMPORT: "waiting for its material",
    RemoteState.PENDING_DELETION: "waiting for its deletion", RemoteState.DESTROYED: "destroyed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    kind: str
    opaque: str
    detail: str
    version_id: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def request_comparison(*, actor: Actor, alias: str) -> KeyProvider:
    """Have a provider compared with the inventory by a worker; raises PermissionRefused, NotFound, WrongState (disabled)."""
    from keys.provider_tasks import provider_compare

    with audit.atomic(actor=actor, action="provider.compare", target=("provider", "", alias)) as act:
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        row = find(actor, alias)
        if row.state != KeyProvider.State.ENABLED:
            raise WrongState(f"{row} is disabled.", state=row.state)
        enqueue_on_commit(provider_compare, row.pk)
        act.record(target=("provider", row.pk, alias))
    return row


def due_comparisons() -> list[int]:
    """The providers whose comparison is due."""
    rows = KeyProvider.objects.filter(state=KeyProvider.State.ENABLED)
    due = rows.filter(Q(compared_at=None) | Q(compared_at__lt=timezone.now() - COMPARE_EVERY))
    return list(due.values_list("pk", flat=True)[:100])


def compare(provider_id: int) -> int:
    """Look at everything once and keep the differences; returns how many are open. Safe to run twice.

    Raises ProviderUnavailable and its kinds; nothing is changed then.
    """
    row = KeyProvider.objects.filter(pk=provider_id, state=KeyProvider.State.ENABLED).first()
    if row is None:
        return 0
    keeper = registry.provider(row.alias)
    found: list[Difference] = []
    copies: replication.Copies = {}
    documents: metadata.Documents = {}
    if isinstance(keeper, Discovery):
        started = timezone.now()
        remotes = call(
            row.alias, "list_keys", lambda: list(keeper.list_keys()), deadline=settings.PROVIDER_LEASE_SECONDS,
            counts=not replication.has_replicas(keeper),
        )  # fmt: skip
        found = list(_differences(row, keeper, remotes, started))
        living = _settled_versions(row, started)
        copies = replication.look(row.alias, keeper, living)
        found += _copies_that_differ(living, copies)
        documents = metadata.look(row.alias, keeper, living, copies)
        found += _metadata_that_differs(row, documents)
    return _keep(row, found, copies, documents)


def _settled_versions(row: KeyProvider, started: Any) -> list[KeyVersion]:
    """Versions that are made and at which nobody is at work."""
    versions = KeyVersion.objects.filter(provider=row.alias, created_at__lte=started).exclude(handle="")
    busy = ProviderIntent.objects.filter(version__provider=row.alias, state__in=OPEN_INTENTS)
    return list(versions.exclude(pk__in=busy.values("version")).select_related("key"))


def _copies_that_differ(versions: list[KeyVersion], copies: replication.Copies) -> Iterable[Difference]:
    for version in versions:
        wrong = list(replication.amiss(copies.get(version.pk, []), wanted_states(version)))
        if wrong:
            told = "; ".join(f"in {region} {what}" for region, what in wrong)
            yield Difference(
                Kind.REPLICA_DRIFT, version.handle, f"The copies of {version} are not as they should be: {told}.", version.pk,
                {"regions": [region for region, _ in wrong]},
            )  # fmt: skip


def _metadata_that_differs(row: KeyProvider, documents: metadata.Documents) -> Iterable[Difference]:
    accepted = metadata.accepted_for(row, documents)
    for owner, told in documents.items():
        facts = metadata.facts_of(accepted[owner], told.document)
        if facts:
            places = [change["place"] for change in facts["changes"]]
            words = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
            what = f"the copy of {told.version} in {told.region}" if told.region else str(told.version)
            yield Difference(
                Kind.METADATA_DRIFT, owner,
                f"What the provider keeps with {what} is not what was accepted on {accepted[owner].accepted_at:%Y-%m-%d}: {words}.",
                told.version.pk, facts | {"region": told.region},
            )  # fmt: skip


def _differences(row: KeyProvider, keeper: Provider, remotes: list[RemoteKey], started: Any) -> Iterable[Difference]:
    theirs = {remote.opaque: remote for remote in remotes}
    versions = KeyVersion.objects.filter(provider=row.alias).select_related("key__policy").order_by("-key_version")
    ours = {version.handle: version for version in versions.exclude(handle="")}
    intents = ProviderIntent.objects.filter(version__provider=row.alias)
    busy = set(intents.filter(state__in=OPEN_INTENTS).values_list("version_id", flat=True))
    tags = dict(intents.filter(act__in=MAKING).values_list("version_id", "pk"))
    scheduled: set[str] = set()  # what was looked at already: older versions often share the setting of the newest
    in_the_making = {str(pk) for version_id, pk in tags.items() if version_id in busy}
    for opaque, version in ours.items():
        if version.pk in busy or version.created_at > started:
            continue
        remote = theirs.get(opaque)
        if remote is None:
            remote = _look_again(row.alias, keeper, version)
        if remote is None or remote.state is RemoteState.DESTROYED:
            yield Difference(
                Kind.MISSING_KEY, opaque, f"{version} ({version.status.replace('_', ' ')}) is not at the provider any more.",
                version.pk, {"name": remote.name if remote else ""},
            )  # fmt: skip
        else:
            yield from _drifts(keeper, version, remote, tags.get(version.pk))
            if isinstance(keeper, SelfRotating):
                owner = keeper.rotates_with(KeyHandle(version.key.algorithm, opaque))
                if owner not in scheduled:
                    scheduled.add(owner)
                    yield from _rotation_that_differs(version, remote)
    known = ours.keys() | set(RootSeal.objects.filter(provider=row.alias).values_list("handle", flat=True))
    for opaque, remote in theirs.items():
        if opaque not in known and remote.state not in _GOING and remote.tags.get(TAG) not in in_the_making:
            yield _unknown(remote, ours=remote.tags.get(TAG) in {str(pk) for pk in tags.values()})


def _look_again(alias: str, keeper: Provider, version: KeyVersion) -> RemoteKey | None:
    """What is missing in a list may be too new for it: only the provider's word about this very key counts."""
    assert isinstance(keeper, Discovery)
    handle = KeyHandle(version.key.algorithm, version.handle)
    try:
        return call(alias, "describe", lambda: keeper.describe(handle))
    except KeyMissing:
        return None


def wanted_states(version: KeyVersion) -> set[RemoteState]:
    """The states at the provider that agree with the version's own."""
    match version.state:
        case VersionState.SUSPENDED:
            return {RemoteState.DISABLED}
        case VersionState.PENDING_DELETION if version.deletion_halted_at is None:
            return {RemoteState.PENDING_DELETION, RemoteState.DISABLED}
    return {RemoteState.ENABLED}


def _drifts(keeper: Provider, version: KeyVersion, remote: RemoteKey, tag: UUID | None) -> Iterable[Difference]:
    if Capability.LIFECYCLE in keeper.capabilities and remote.state not in wanted_states(version):
        yield Difference(
            Kind.STATE_DRIFT, remote.opaque,
            f"{version} is {version.status.replace('_', ' ')} here and {_WORDS[remote.state]} at the provider.",
            version.pk, {"there": remote.state.value},
        )  # fmt: skip
    marked = (
        tag is not None and Capability.TAGS in keeper.capabilities and remote.state not in _GOING
    )  # of those none is read
    if marked and remote.tags.get(TAG) != str(tag):
        yield Difference(
            Kind.TAGS_DRIFT, remote.opaque,
            f"The mark that this portal put on {version} was changed or taken off. Put the tag {TAG}={tag} back at the "
            "provider, or ignore this with a reason.",
            version.pk, {"wanted": str(tag), "there": remote.tags.get(TAG, "")},
        )  # fmt: skip


def _rotation_that_differs(version: KeyVersion, remote: RemoteKey) -> Iterable[Difference]:
    """The key's policy says how often; what protects nothing new, or was brought from elsewhere, need not be rotated there."""
    agreed, there = version.key.policy.provider_rotates_days, remote.rotation_days
    usual = version.state is VersionState.ACTIVE and remote.state is RemoteState.ENABLED and not remote.imported
    if there != agreed and (there or usual):
        yield Difference(
            Kind.ROTATION_DRIFT, remote.opaque,
            f"The provider rotates {version} by itself {often(there)}; the key's policy says {often(agreed)}.",
            version.pk, metadata.rotation_facts(agreed, there),
        )  # fmt: skip


def _unknown(remote: RemoteKey, *, ours: bool) -> Difference:
    made = f", made on {remote.created_at:%Y-%m-%d}" if remote.created_at else ""
    what = remote.algorithm or "of a kind the portal does not use"
    whose = "This portal made it and lost it." if ours else "Another portal made it." if TAG in remote.tags else ""
    return Difference(
        Kind.UNKNOWN_KEY, remote.opaque, f"{remote.name or remote.opaque}: {what}, {_WORDS[remote.state]}{made}. {whose}".strip(),
        facts={"name": remote.name, "algorithm": remote.algorithm, "there": remote.state.value},
    )  # fmt: skip


def _keep(row: KeyProvider, found: list[Difference], copies: replication.Copies, documents: metadata.Documents) -> int:
    """Write the differences down: new ones open, known ones kept as they are, those that are gone resolved."""
    now = timezone.now()
    with audit.atomic(
        actor=system_actor("comparison"), action="provider.differences", target=("provider", row.pk, row.alias)
    ) as act:
        KeyProvider.objects.select_for_update().get(pk=row.pk)
        replication.keep(row.alias, copies)
        first_seen = metadata.keep_first_seen(row, documents)
        known = {(old.kind, old.opaque): old for old in ProviderFinding.objects.filter(provider=row)}
        appeared = []
        for new in found:
            old = known.pop((new.kind, new.opaque), None)
            if old is None:
                appeared.append(new)
                ProviderFinding.objects.create(
                    provider=row, kind=new.kind, opaque=new.opaque, version_id=new.version_id, detail=new.detail,
                    facts=new.facts, first_seen_at=now, last_seen_at=now,
                )  # fmt: skip
                continue
            # Ignored was one change of policy or tags, not whatever may come after it.
            if old.state == State.RESOLVED or old.facts.get("sha256") != new.facts.get("sha256"):
                appeared.append(new)
                old.state, old.reason, old.decided_at, old.decided_by = State.OPEN, "", None, ""
            old.version_id, old.detail, old.facts, old.last_seen_at = new.version_id, new.detail, new.facts, now
            old.save()
        gone = [old.pk for old in known.values() if old.state != State.RESOLVED]
        ProviderFinding.objects.filter(pk__in=gone).update(state=State.RESOLVED)
        KeyProvider.objects.filter(pk=row.pk).update(compared_at=now)
        if appeared:
            notices.differences_found(row, [new.detail for new in appeared], {new.version_id for new in appeared})
        if appeared or gone or first_seen:
            told = [f"{new.kind} {new.opaque}"[:200] for new in appeared[:50]]
            act.record({"appeared": told, "gone": len(gone), "metadata_first_seen": first_seen})
    return ProviderFinding.objects.filter(provider=row, state=State.OPEN).count()
