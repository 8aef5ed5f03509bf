"""The end of a version: a grace period that any use interrupts, then destruction of its material for good."""

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Sum
from django.utils import timezone

from keys.models import CensusCount, DataKey, KeyVersion, ProviderIntent
from keys.services import materials, notices, policies, versions
from keys.services.acts import act_on_version, need_agreement, target_of
from keys.services.dependents import dependents_of
from keys.services.providers import intents
from keys.states import VERSION_MOVES, VersionState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, ValidationFailed, WrongState

PENDING = VersionState.PENDING_DELETION
DELAY = timedelta(days=1)
Act = ProviderIntent.Act


@dataclass(frozen=True, slots=True)
class Consequences:
    """What is lost with a version, in numbers; `census_items` is what the last census of each store counted.

    `elsewhere` is what other apps have standing on it, in sentences.
    """

    wrapped_versions: int
    child_keys: int
    wrapped_data_keys: int
    owned_data_keys: int
    census_items: int
    root_seals: int
    last_used_at: datetime | None
    last_used_by: str
    untold_items: int = 0
    elsewhere: list[str] = field(default_factory=list)

    @property
    def items(self) -> int:
        """Items in data stores that stand on the version or may."""
        return self.census_items + self.untold_items

    @property
    def harmless(self) -> bool:
        """Whether nothing known still needs the version."""
        standing = self.wrapped_versions or self.wrapped_data_keys or self.owned_data_keys or self.items
        return not (standing or self.root_seals or self.elsewhere)

    def sentences(self) -> list[str]:
        """The same for people, the numbers first."""
        used = (
            f"Last used on {self.last_used_at:%Y-%m-%d %H:%M} UTC by {self.last_used_by}."
            if self.last_used_at
            else "No caller's use is on record."
        )
        lost = [
            (
                self.wrapped_versions,
                f"{many(self.wrapped_versions, 'key version')} of {many(self.child_keys, 'key')}",
            ),
            (self.wrapped_data_keys, f"{many(self.wrapped_data_keys, 'data key')} under it"),
            (self.owned_data_keys, f"{many(self.owned_data_keys, 'data key')} of its own"),
            (self.census_items, f"{many(self.census_items, 'item')} in data stores"),
        ]
        said = [*self.elsewhere]
        said += [f"{words} become{'s' if number == 1 else ''} unreadable." for number, words in lost if number]
        if self.untold_items:
            verb = "names" if self.untold_items == 1 else "name"
            said.append(
                f"{many(self.untold_items, 'item')} in data stores {verb} no version of the key and may stand on it."
            )
        if self.root_seals:
            said.append(f"{many(self.root_seals, 'seal')} of the portal's root will not open it any more.")
        return [*(said or ["Nothing that the portal knows of stands on it any more."]), used]


def many(number: int, noun: str) -> str:
    """The number and its noun, in the plural where it needs it."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def consequences_of_destroying(version: KeyVersion) -> Consequences:
    """Count what depends on a version: seven queries, and those of the apps above."""
    wrapped = version.wraps.exclude(status=VersionState.DESTROYED.value)
    return Consequences(
        wrapped_versions=wrapped.count(),
        child_keys=wrapped.values("key_id").distinct().count(),
        wrapped_data_keys=DataKey.objects.filter(wrapped_by=version).count(),
        owned_data_keys=DataKey.objects.filter(version=version).count(),
        census_items=CensusCount.objects.filter(version=version).aggregate(total=Sum("items"))["total"] or 0,
        untold_items=CensusCount.objects.filter(version=None, store__key=version.key_id).aggregate(total=Sum("items"))[
            "total"
        ]
        or 0,
        root_seals=version.root_seals.filter(retired_at=None).count(),
        last_used_at=version.last_used_at,
        last_used_by=version.last_used_by,
        elsewhere=list(dependents_of(version).when_destroyed),
    )


def consequences(version: KeyVersion) -> list[str]:
    """What destroying a version would lose, as sentences with the numbers first."""
    return consequences_of_destroying(version).sentences()


def schedule_deletion(
    *,
    actor: Actor,
    version_id: int,
    grace_days: int | None = None,
    accept_loss: bool = False,
    reason: str = "",
    approval_id: UUID | None = None,
) -> KeyVersion:
    """Start the grace period after which a version is destroyed; without `grace_days` the policy's own.

    Refused while anything known depends on the version, unless `accept_loss` says that the loss is the purpose.
    Raises PermissionRefused, NotFound, ValidationFailed (grace), WrongState, Conflict (still needed), ApprovalRequired.
    """
    with act_on_version(actor, Permission.KEY_DESTROY, "key.schedule_deletion", version_id) as (key, version, act):
        policy = key.policy
        policies.require_role(actor, key, policy.destroy_roles, "destroy")
        days = policy.grace_days if grace_days is None else grace_days
        if not policy.minimum_grace_days <= days <= 3650:
            raise ValidationFailed(
                "The grace period is not acceptable.",
                errors={"grace_days": [f"From {policy.minimum_grace_days} to 3650 days."]},
            )
        before = version.status
        versions.move(version, PENDING, "destroy")
        lost = consequences_of_destroying(version)
        if not lost.harmless and not accept_loss:
            raise Conflict(
                f"{version} is still needed.",
                hint="Re-encrypt or re-wrap what stands on it, or accept the loss expressly.",
                consequences=lost.sentences(),
            )
        params = {"version_id": version_id, "grace_days": days, "accept_loss": accept_loss}
        need_agreement(
            actor, key, "key.destroy", params, groups=policy.destroy_groups, approval_id=approval_id, reason=reason
        )
        start_grace(version, before, days, lost.items if accept_loss else None)
        _announce(version, actor)
        counted = asdict(lost)
        counted["last_used_at"] = counted["last_used_at"].isoformat() if counted["last_used_at"] else None
        act.record(
            {
                "version": version.key_version,
                "from": before,
                "due_at": version.deletion_due_at.isoformat() if version.deletion_due_at else None,
                "accept_loss": accept_loss,
                "consequences": counted,
                "reason": reason,
                "approval": str(approval_id) if approval_id else None,
            }
        )
    return version


def start_grace(version: KeyVersion, before: str, days: int, accepted_items: int | None = None) -> None:
    """Start the clock of a version just moved to pending_deletion from `before`; the caller authorises and records.

    `accepted_items` is how many items in data stores may be lost with it; None: nothing may.
    """
    version.deletion_from = before
    version.deletion_due_at = timezone.now() + timedelta(days=days)
    version.deletion_halted_at, version.deletion_halted_by = None, ""
    version.deletion_accepted_items = accepted_items
    version.save(
        update_fields=["status", "deletion_from", "deletion_due_at", "deletion_halted_at", "deletion_halted_by",
                       "deletion_accepted_items"]
    )  # fmt: skip


def _announce(version: KeyVersion, actor: Actor) -> None:
    """Start the provider's own clock; it never runs out before ours."""
    assert version.deletion_due_at
    intents.follow(version, Act.SCHEDULE_DELETION, actor, due_at=version.deletion_due_at.isoformat())


def cancel_deletion(*, actor: Actor, version_id: int, reason: str = "") -> KeyVersion:
    """Take a version back from the grace period to what it was; raises PermissionRefused, NotFound, WrongState."""
    with act_on_version(actor, Permission.KEY_DESTROY, "key.cancel_deletion", version_id) as (_, version, act):
        if version.state is not PENDING:
            raise WrongState(f"{version} is not waiting for destruction.", state=version.status)
        intents.refuse_while_busy(version, Act.DESTROY)
        versions.move(version, VersionState(version.deletion_from), "take back")
        version.deletion_from, version.deletion_due_at = "", None
        version.deletion_halted_at, version.deletion_halted_by = None, ""
        version.save(
            update_fields=["status", "deletion_from", "deletion_due_at", "deletion_halted_at", "deletion_halted_by"]
        )
        intents.follow(version, Act.CANCEL_DELETION, actor)
        if version.state is VersionState.SUSPENDED:
            intents.follow(version, Act.DISABLE, actor)
        act.record({"version": version.key_version, "to": version.status, "reason": reason})
    return version


def confirm_deletion(*, actor: Actor, version_id: int, reason: str = "") -> KeyVersion:
    """Start the stopped clock of a version again, with its policy's whole grace period.

    Raises PermissionRefused, NotFound, WrongState unless a use stopped the clock.
    """
    with act_on_version(actor, Permission.KEY_DESTROY, "key.confirm_deletion", version_id) as (key, version, act):
        policies.require_role(actor, key, key.policy.destroy_roles, "destroy")
        if version.state is not PENDING or version.deletion_halted_at is None:
            raise WrongState(f"The clock of {version} was not stopped.", state=version.status)
        halted_by = version.deletion_halted_by
        version.deletion_halted_at, version.deletion_halted_by = None, ""
        version.deletion_due_at = timezone.now() + timedelta(days=key.policy.grace_days)
        version.save(update_fields=["deletion_due_at", "deletion_halted_at", "deletion_halted_by"])
        _announce(version, actor)
        act.record(
            {
                "version": version.key_version,
                "halted_by": halted_by,
                "due_at": version.deletion_due_at.isoformat(),
                "reason": reason,
            }
        )
    return version


def halt_deletion(actor: Actor, version_id: int, found: str = "") -> None:
    """Stop the clock of a version, naming who just used it or what was found on it; once until somebody decides."""
    by = found or actor.label
    with audit.atomic(actor=actor, action="key.deletion_halted") as act:
        version = _ticking(version_id)
        if version is None:
            return
        version.deletion_halted_at, version.deletion_halted_by = timezone.now(), by[:200]
        version.save(update_fields=["deletion_halted_at", "deletion_halted_by"])
        intents.follow(version, Act.CANCEL_DELETION, actor)  # or the provider's clock would run on
        notices.deletion_halted(version)
        act.record(
            {"version": version.key_version, "used_by": by},
            target=target_of(version.key),
            ring_id=version.key.ring_id,
        )


def delay_deletion(actor: Actor, version_id: int, why: str) -> None:
    """Put the end of a version off by a day, because it cannot be seen now whether anything stands on it; tells so."""
    with audit.atomic(actor=actor, action="key.deletion_delayed") as act:
        version = _ticking(version_id)
        if version is None:
            return
        version.deletion_due_at = due = timezone.now() + DELAY
        version.save(update_fields=["deletion_due_at"])
        intents.follow(
            version, Act.CANCEL_DELETION, actor
        )  # its provider's clock would not wait; asked again at the end
        notices.deletion_delayed(version, why)
        act.record(
            {"version": version.key_version, "due_at": due.isoformat(), "why": why},
            target=target_of(version.key),
            ring_id=version.key.ring_id,
        )


def _ticking(version_id: int) -> KeyVersion | None:
    """The version, locked, if it waits for its destruction and nothing stopped its clock."""
    return (
        KeyVersion.objects.select_for_update(of=("self",))
        .select_related("key__ring")
        .filter(pk=version_id, status=PENDING.value, deletion_halted_at=None)
        .first()
    )


def destroy_version(*, actor: Actor, version_id: int) -> KeyVersion:
    """Erase a version's material for good, once its grace period is over; a pre-active one may go at once.

    One that lives at a provider is asked of it, and keeps its state until the provider has confirmed. Raises
    PermissionRefused, NotFound, WrongState (not due, clock stopped, not on its way), Conflict (asked already).
    """
    with act_on_version(actor, Permission.KEY_DESTROY, "key.destroy_version", version_id) as (key, version, act):
        policies.require_role(actor, key, key.policy.destroy_roles, "destroy")
        now = timezone.now()
        if version.state is PENDING:
            if version.deletion_halted_at is not None:
                raise WrongState(
                    f"The deletion of {version} was stopped by {version.deletion_halted_by}: its clock is stopped.",
                    hint="Cancel the deletion, or confirm it to start the clock again.",
                    state=version.status,
                )
            if version.deletion_due_at is None or version.deletion_due_at > now:
                raise WrongState(f"The grace period of {version} is not over.", state=version.status)
        if not may_move(VERSION_MOVES, version.state, VersionState.DESTROYED):
            versions.move(version, VersionState.DESTROYED, "destroy")
        intents.refuse_while_busy(version, *intents.MAKING, Act.DESTROY)
        if version.handle and intents.follow(version, Act.DESTROY, actor) is not None:
            act.record({"version": version.key_version, "from": version.status, "asked_of": version.provider})
            return version
        if intents.is_remote(version) and not version.handle:
            intents.write(version, Act.DESTROY, actor)  # a failed making may have left something there
        erase(version, act)
    return version


def erase(version: KeyVersion, act: audit.atomic) -> None:
    """The end of a version, once its provider has confirmed it; the caller authorises."""
    before = version.status
    versions.move(version, VersionState.DESTROYED, "destroy")
    version.wrapped_material, version.handle, version.destroyed_at = None, "", timezone.now()
    version.save(update_fields=["status", "wrapped_material", "handle", "destroyed_at"])
    materials.forget()
    act.record({"version": version.key_version, "from": before}, action="key.destroy_version")
