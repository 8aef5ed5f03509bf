"""Policy, attributes and tags of keys at a provider: what was accepted of them, and what differs from that."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from django.utils import timezone

from keys.models import AcceptedMetadata, KeyProvider, KeyVersion
from keys.providers.base import Described, KeyHandle, KeyMissing, KeyUnusable, Provider, Replica
from keys.providers.metadata import Change, changes, digest
from keys.services.providers.calls import call
from keys.services.providers.replication import has_replicas
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import Conflict

SHOWN = 200  # of the places in which two documents differ; the digests still tell whether all of them agree


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider keeps with a key; with a copy in another region it keeps the same again, changed apart from it."""

    version: KeyVersion
    document: dict[str, Any]
    region: str = ""
    copy_of: str = ""  # the owner of what the key itself has


type Documents = dict[str, Told]


def look(
    alias: str, keeper: Provider, versions: Iterable[KeyVersion], copies: Mapping[int, Iterable[Replica]]
) -> Documents:
    """By owner, its newest version and what the provider keeps with it; touches no table. Raises as `describe` does."""
    found: Documents = {}
    if not isinstance(keeper, Described):
        return found
    for version in sorted(versions, key=lambda row: row.key_version, reverse=True):
        handle = KeyHandle(version.key.algorithm, version.handle)
        try:
            owner = keeper.metadata_owner(handle)
            if owner not in found:
                tell = partial(keeper.metadata, handle)
                found[owner] = Told(version, call(alias, "metadata", tell, counts=not has_replicas(keeper)))
        except (KeyMissing, KeyUnusable):
            continue  # missing, or on its way out: said as such already
        for copy in copies.get(version.pk, ()):
            if copy.state is None:
                continue
            try:
                tell = partial(keeper.metadata, KeyHandle(version.key.algorithm, copy.opaque))
                document = call(alias, "metadata", tell, counts=False)
                found[copy.opaque] = Told(version, document, copy.region, owner)
            except (KeyMissing, KeyUnusable):
                continue
    return found


def accepted_for(row: KeyProvider, documents: Documents) -> dict[str, AcceptedMetadata]:
    """What was accepted, by owner; unsaved rows for what was never seen before.

    Of a key that is what is there; of a copy that is what was accepted of its key, so that a copy which is open wider
    from its first day on is a difference from its first day on.
    """
    known = {accepted.owner: accepted for accepted in row.accepted_metadata.all()}
    for owner, told in sorted(documents.items(), key=lambda item: bool(item[1].copy_of)):
        if owner not in known:
            document = known[told.copy_of].document if told.copy_of in known else told.document
            known[owner] = AcceptedMetadata(provider=row, owner=owner, document=document, sha256=digest(document))
    return known


def keep_first_seen(row: KeyProvider, documents: Documents) -> int:
    """Write down what was never seen before, in the caller's transaction; returns how much that was."""
    fresh = [accepted for accepted in accepted_for(row, documents).values() if accepted._state.adding]
    AcceptedMetadata.objects.bulk_create(fresh)
    return len(fresh)


def facts_of(accepted: AcceptedMetadata, there: dict[str, Any]) -> dict[str, Any]:
    """What a difference keeps: both digests, the document that is there, and the places that differ; empty if none does."""
    now = digest(there)
    if now == accepted.sha256:
        return {}
    places = [asdict(change) for change in changes(accepted.document, there)[:SHOWN]]
    return {"sha256": now, "accepted_sha256": accepted.sha256, "there": there, "changes": places}


def often(days: int | None) -> str:
    """How often a provider rotates, in words."""
    return "never" if days is None else "every day" if days == 1 else f"every {days:,} days"


def rotation_facts(agreed: int | None, there: int | None) -> dict[str, Any]:
    """The same for a provider's own rotation, which is no document but one number; `agreed` is the key's policy."""
    change = Change("automatic rotation", often(agreed), often(there))
    return {"sha256": digest({"days": there}), "days": there, "agreed": agreed, "changes": [asdict(change)]}


def refuse_unseen(facts: dict[str, Any], seen: str) -> None:
    """Raise Conflict unless `seen` is the digest of what these facts tell."""
    if facts["sha256"] != seen:
        raise Conflict(
            "It has changed again since you looked.", hint="Look at what is there now, and decide about that."
        )


def accept(row: KeyProvider, owner: str, facts: dict[str, Any], seen: str, actor: Actor, reason: str) -> None:
    """Take what is there as right from now on; raises Conflict unless `seen` is the digest of just that."""
    refuse_unseen(facts, seen)
    row.accepted_metadata.update_or_create(
        owner=owner,
        defaults={
            "document": facts["there"], "sha256": seen, "accepted_at": timezone.now(), "accepted_by": actor.label[:200], "reason": reason,
        },
    )  # fmt: skip


def wanted(keeper: Provider, alias: str, handle: KeyHandle) -> dict[str, Any]:
    """What was accepted for the key under this handle; raises Conflict if nothing ever was."""
    owner = keeper.metadata_owner(handle) if isinstance(keeper, Described) else ""
    found = AcceptedMetadata.objects.filter(provider__alias=alias, owner=owner).first()
    if found is None:
        raise Conflict("Nothing was accepted for this key yet.", hint="Compare the provider first.")
    document: dict[str, Any] = found.document
    return document
