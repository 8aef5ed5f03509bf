"""Policy, attributes and tags of keys at a provider: what was accepted of them, and what differs from that."""

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

from django.utils import timezone

from keys.models import AcceptedMetadata, KeyProvider, KeyVersion
from keys.providers.base import Described, KeyHandle, KeyMissing, KeyUnusable, Provider
from keys.providers.metadata import changes, digest
from keys.services.providers.calls import call
from keys.services.providers.replication import has_replicas
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import Conflict

type Documents = dict[str, tuple[KeyVersion, dict[str, Any]]]
SHOWN = 200  # of the places in which two documents differ; the digests still tell whether all of them agree


def look(alias: str, keeper: Provider, versions: Iterable[KeyVersion]) -> Documents:
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
                found[owner] = version, call(alias, "metadata", tell, counts=not has_replicas(keeper))
        except (KeyMissing, KeyUnusable):
            continue  # missing, or on its way out: said as such already
    return found


def accepted_for(row: KeyProvider) -> dict[str, AcceptedMetadata]:
    """What was accepted, by owner."""
    return {accepted.owner: accepted for accepted in row.accepted_metadata.all()}


def keep_first_seen(row: KeyProvider, documents: Documents) -> int:
    """Accept what was never seen before as it is, in the caller's transaction; returns how many those were."""
    known = set(row.accepted_metadata.values_list("owner", flat=True))
    fresh = [
        AcceptedMetadata(provider=row, owner=owner, document=document, sha256=digest(document))
        for owner, (_, document) in documents.items()
        if owner not in known
    ]
    AcceptedMetadata.objects.bulk_create(fresh)
    return len(fresh)


def facts_of(accepted: AcceptedMetadata, there: dict[str, Any]) -> dict[str, Any]:
    """What a difference keeps: both digests, the document that is there, and the places that differ; empty if none does."""
    now = digest(there)
    if now == accepted.sha256:
        return {}
    places = [asdict(change) for change in changes(accepted.document, there)[:SHOWN]]
    return {"sha256": now, "accepted_sha256": accepted.sha256, "there": there, "changes": places}


def accept(row: KeyProvider, owner: str, facts: dict[str, Any], seen: str, actor: Actor, reason: str) -> None:
    """Take what is there as right from now on; raises Conflict unless `seen` is the digest of just that."""
    if facts["sha256"] != seen:
        raise Conflict(
            "It has changed again since you looked.", hint="Look at what is there now, and decide about that."
        )
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
