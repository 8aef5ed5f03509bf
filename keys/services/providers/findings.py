"""What people decide about a difference: take the key in, leave it with a reason, or have the provider put right."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS
from keys.hierarchy import KeyKind
from keys.models import Key, KeyPolicy, KeyProvider, KeyVersion, ProviderFinding, ProviderIntent
from keys.providers import registry
from keys.providers.base import Capability, Discovery, KeyHandle, RemoteState
from keys.services import creation, deletion, key_views, policies, versions
from keys.services.providers import intents, metadata
from keys.services.providers.calls import call
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, ValidationFailed, WrongState

Act, Kind, State = ProviderIntent.Act, ProviderFinding.Kind, ProviderFinding.State


def findings_of(row: KeyProvider) -> QuerySet[ProviderFinding]:
    """The differences of a provider that are not resolved, open ones first."""
    return (
        row.findings.exclude(state=State.RESOLVED).select_related("version__key", "provider").order_by("-state", "id")
    )


def find_finding(actor: Actor, alias: str, finding_id: int) -> ProviderFinding:
    """One difference, for those who may see providers; raises NotFound."""
    rows = ProviderFinding.objects.select_related("provider", "version__key")
    found = rows.filter(pk=finding_id, provider__alias=alias).first()
    if found is None or not actor.can_somewhere(Permission.PROVIDER_VIEW):
        raise NotFound("There is no such difference.")
    return found


@contextmanager
def _act(actor: Actor, action: str, alias: str, finding_id: int) -> Iterator[tuple[ProviderFinding, audit.atomic]]:
    with audit.atomic(actor=actor, action=action, target=("provider", "", alias)) as act:
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        rows = ProviderFinding.objects.select_for_update(of=("self",)).select_related("provider", "version__key")
        finding = rows.filter(pk=finding_id, provider__alias=alias).first()
        if finding is None:
            raise NotFound("There is no such difference.")
        act.about(target=("provider", finding.provider_id, alias))
        if finding.state == State.RESOLVED:
            raise WrongState("This difference is gone already.", state=finding.state)
        yield finding, act


def ignore_finding(*, actor: Actor, alias: str, finding_id: int, reason: str) -> ProviderFinding:
    """Leave a difference as it is, with a reason; raises PermissionRefused, NotFound, ValidationFailed, WrongState."""
    with _act(actor, "provider.ignore", alias, finding_id) as (finding, act):
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        _decide(finding, State.IGNORED, actor, reason.strip())
        act.record({"kind": finding.kind, "key": finding.opaque, "reason": reason.strip()})
    return finding


def accept_finding(*, actor: Actor, alias: str, finding_id: int, seen: str, reason: str) -> ProviderFinding:
    """Take what is there as right: policy, attributes and tags, or the provider's own rotation, which goes into the key's policy.

    `seen` is the digest (`facts["sha256"]`) of what was looked at. Raises PermissionRefused (a policy takes the right to edit the
    key, too), NotFound, ValidationFailed, WrongState, Conflict (changed again, or another kind of difference).
    """
    with _act(actor, "provider.accept", alias, finding_id) as (finding, act):
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        if not can_accept(finding):
            raise Conflict("Only a change of policy, attributes, tags or rotation can be accepted.")
        told = {"key": finding.opaque, "accepted": finding.facts["changes"], "sha256": seen, "reason": reason.strip()}
        if finding.kind == Kind.ROTATION_DRIFT:
            told["policy_version"] = _into_policy(finding, seen, actor)
        else:
            metadata.accept(finding.provider, finding.opaque, finding.facts, seen, actor, reason.strip())
            told["instead_of"] = finding.facts["accepted_sha256"]
        _decide(finding, State.RESOLVED, actor, reason.strip())
        act.record(told)
    return finding


def can_accept(finding: ProviderFinding) -> bool:
    """Whether what is there can be taken as right; facts of an older comparison know no digest, and the next one will."""
    return finding.kind in {Kind.METADATA_DRIFT, Kind.ROTATION_DRIFT} and "sha256" in finding.facts


def _into_policy(finding: ProviderFinding, seen: str, actor: Actor) -> int:
    """Let the key's policy say what its provider does; returns the new number of the policy."""
    assert finding.version is not None
    metadata.refuse_unseen(finding.facts, seen)
    key = versions.locked_key(finding.version.key_id)
    authorize(actor, Permission.KEY_EDIT, ring_id=key.ring_id, target=f"key {key.name}")
    policy = KeyPolicy.objects.select_for_update().get(key=key)
    policy.provider_rotates_days, policy.version = finding.facts["days"], policy.version + 1
    policy.save()
    key_views.forget_now_and_on_commit()
    return policy.version


def _decide(finding: ProviderFinding, state: str, actor: Actor, reason: str) -> None:
    finding.state, finding.reason = state, reason
    finding.decided_at, finding.decided_by = timezone.now(), actor.label[:200]
    finding.save(update_fields=["state", "reason", "decided_at", "decided_by"])


def can_mend(finding: ProviderFinding) -> bool:
    """Whether the portal can put it right itself."""
    return bool(_remedy(finding)[0])


def mend_finding(*, actor: Actor, alias: str, finding_id: int) -> ProviderFinding:
    """Bring the provider to the state the inventory has; the next comparison says whether it worked.

    Raises PermissionRefused, NotFound, WrongState, Conflict where the portal cannot put it right.
    """
    with _act(actor, "provider.mend", alias, finding_id) as (finding, act):
        acts, why_not = _remedy(finding)
        version = finding.version
        if not acts or version is None:
            raise Conflict("The portal cannot put this right by itself.", hint=why_not)
        key = versions.locked_key(version.key_id)
        version = versions.version_in(key, version.pk)
        if Act.DESTROY in acts:
            deletion.erase(version, act)
        else:
            for wanted in acts:
                intents.follow(version, wanted, actor, **_params(finding, version))
        _decide(finding, State.RESOLVED, actor, "")
        act.record({"kind": finding.kind, "key": finding.opaque, "acts": [str(wanted) for wanted in acts]})
    return finding


def _params(finding: ProviderFinding, version: KeyVersion) -> dict[str, Any]:
    """What the work has to know of the difference."""
    match finding.kind:
        case Kind.METADATA_DRIFT if finding.facts.get("region"):
            return {"copy": finding.opaque}
        case Kind.ROTATION_DRIFT:
            return {"days": version.key.policy.provider_rotates_days}
    due = version.deletion_due_at.isoformat() if version.deletion_due_at else None
    return {"due_at": due, "everywhere": finding.kind == Kind.REPLICA_DRIFT}


# What sets a setting back, and what the provider must be able to do for it.
_SET_BACK: dict[str, tuple[str, Capability]] = {
    Kind.METADATA_DRIFT: (Act.RESTORE_METADATA, Capability.METADATA_RESTORE),
    Kind.TAGS_DRIFT: (Act.RESTORE_METADATA, Capability.METADATA_RESTORE),
    Kind.ROTATION_DRIFT: (Act.SET_ROTATION, Capability.SELF_ROTATION),
}


def _remedy(finding: ProviderFinding) -> tuple[list[str], str]:
    """The acts that put it right, or why there are none."""
    version, alias = finding.version, finding.provider.alias
    if version is None:
        return [], "Take the key into the inventory, or ignore it with a reason."
    if finding.kind in _SET_BACK:
        act, needed = _SET_BACK[finding.kind]
        can = intents.declares(alias, needed)
        return ([act] if can else []), "This kind of provider takes nothing back: change it there, or accept it."
    if finding.kind == Kind.MISSING_KEY:
        return ([Act.DESTROY] if _given_up(version) else []), "What is lost cannot be made again: replace the key."
    if finding.kind == Kind.REPLICA_DRIFT:
        return _for_copies(version), ""
    return _to_its_state(version, RemoteState(finding.facts.get("there", "")))


def _to_its_state(version: KeyVersion, there: RemoteState) -> tuple[list[str], str]:
    if there not in {RemoteState.ENABLED, RemoteState.DISABLED, RemoteState.PENDING_DELETION}:
        return [], "The provider offers no way back from this state."
    first: list[str] = [Act.CANCEL_DELETION] if there is RemoteState.PENDING_DELETION else []
    if version.state is VersionState.SUSPENDED:
        return [*first, Act.DISABLE], ""
    return ([Act.SCHEDULE_DELETION] if _waits(version) else first or [Act.ENABLE]), ""


def _for_copies(version: KeyVersion) -> list[str]:
    if _waits(version):
        return [Act.SCHEDULE_DELETION]
    return [Act.DISABLE if version.state is VersionState.SUSPENDED else Act.ENABLE]


def _waits(version: KeyVersion) -> bool:
    """Whether its deletion goes on."""
    return version.state is VersionState.PENDING_DELETION and version.deletion_halted_at is None


def _given_up(version: KeyVersion) -> bool:
    """Whether the inventory only waits for the end of it, so that its end can be written down."""
    over = version.deletion_due_at is not None and version.deletion_due_at <= timezone.now()
    return over and _waits(version)


def adopt_key(
    *,
    actor: Actor,
    alias: str,
    finding_id: int,
    ring: KeyRing,
    name: str,
    title: str,
    kind: str,
    parent: Key | None = None,
    purpose: str = "",
) -> Key:
    """Take a key that the provider has into the inventory, as the first version of a new key, in use at once.

    Raises PermissionRefused (needs both rights: to manage providers and to create keys in the ring), NotFound,
    ValidationFailed, WrongState, Conflict (not a key that can be governed here), ProviderUnavailable.
    """
    finding = find_finding(actor, alias, finding_id)
    authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
    algorithm = str(finding.facts.get("algorithm") or "")
    public_key, made_at = _look_at(alias, finding, algorithm)
    with _act(actor, "provider.adopt", alias, finding_id) as (finding, act):
        authorize(actor, Permission.KEY_CREATE, ring_id=ring.pk, target=f"ring {ring.name}")
        if KeyVersion.objects.filter(handle=finding.opaque).exists():
            raise Conflict("The inventory has this key already.")
        key = creation.new_key(
            actor, ring=ring, name=name, title=title, kind=kind, algorithm=algorithm, parent=parent, provider=alias,
            purpose=purpose, labels={}, values=policies.default_values(KeyKind(kind)) if kind in set(KeyKind) else None,
        )  # fmt: skip
        version = versions.adopted(key, finding.opaque, public_key, made_at)
        versions.make_active(version, KeyPolicy.objects.get(key=key), now=timezone.now())
        _decide(finding, State.RESOLVED, actor, "")
        act.record(
            {"key": finding.opaque, "adopted_as": f"{ring.name}/{name}", "kind": kind, "algorithm": algorithm},
            target=("key", key.pk, f"{ring.name}/{name}"), ring_id=ring.pk,
        )  # fmt: skip
    return key


def _look_at(alias: str, finding: ProviderFinding, algorithm: str) -> tuple[bytes | None, datetime]:
    """The public half and the age of the key to be adopted; raises Conflict if it cannot be governed here."""
    keeper = registry.provider(alias)
    if finding.kind != Kind.UNKNOWN_KEY or algorithm not in ALGORITHMS or not isinstance(keeper, Discovery):
        raise Conflict("Only a key of an algorithm that the portal knows can be taken into the inventory.")
    remote = call(alias, "describe", lambda: keeper.describe(KeyHandle(algorithm, finding.opaque)))
    if remote.state is not RemoteState.ENABLED:
        raise Conflict("The key is not usable at its provider.", hint="Enable it there first.")
    if not ALGORITHMS[algorithm].symmetric and remote.public_key is None:
        raise Conflict("The provider does not say the public half of this key, so it cannot be governed here.")
    return remote.public_key, remote.created_at or timezone.now()
