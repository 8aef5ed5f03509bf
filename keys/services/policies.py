"""What a key's policy lets happen: its values checked, its roles and algorithms enforced."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from uuid import UUID

from keys.crypto.algorithms import ALGORITHMS
from keys.hierarchy import DEFAULT_CRYPTOPERIOD_DAYS, KeyKind, kind_accepts
from keys.models import Key, KeyPolicy
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import DECIDING_ROLES, Role
from keyvault_portal.approvals.eligibility import eligible_people, unreachable
from keyvault_portal.approvals.quorum import Group
from keyvault_portal.approvals.services import identity
from keyvault_portal.errors import PermissionRefused, ValidationFailed

LEAST_GRACE_DAYS = 7


@dataclass(frozen=True, slots=True)
class PolicyValues:
    """The values of a key policy, as services take them; see `KeyPolicy` for what each means."""

    cryptoperiod_days: int | None = None
    auto_rotate: bool = False
    rotate_roles: list[str] = field(default_factory=list)
    destroy_roles: list[str] = field(default_factory=list)
    rotate_groups: list[dict[str, Any]] = field(default_factory=list)
    destroy_groups: list[dict[str, Any]] = field(default_factory=list)
    grace_days: int = 30
    minimum_grace_days: int = LEAST_GRACE_DAYS
    allowed_algorithms: list[str] = field(default_factory=list)
    use_share_due: int = 50
    publish_before_use_hours: int = 24
    token_lifetime_hours: int = 24
    initiator_may_enter: bool = False
    provider_rotates_days: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


FIELDS = tuple(item.name for item in fields(PolicyValues))


def default_values(kind: KeyKind, cryptoperiod_days: int | None = None) -> PolicyValues:
    """The policy a new key of this kind gets unless it is given another: nobody destroys a key alone."""
    officer = Role.SECURITY_OFFICER.value
    return PolicyValues(
        cryptoperiod_days=cryptoperiod_days or DEFAULT_CRYPTOPERIOD_DAYS[kind],
        rotate_roles=[officer, Role.OPERATOR.value],
        destroy_roles=[officer],
        destroy_groups=[{"role": officer, "threshold": 1}],
    )


def values_of(policy: KeyPolicy) -> PolicyValues:
    """The stored policy as values."""
    return PolicyValues(**{name: getattr(policy, name) for name in FIELDS})


def changed(old: PolicyValues, changes: Mapping[str, Any]) -> PolicyValues:
    """`old` with `changes`; raises ValidationFailed for a name that is no policy field."""
    if unknown := sorted(set(changes) - set(FIELDS)):
        raise ValidationFailed("The policy has no such field.", errors={name: ["Unknown field."] for name in unknown})
    return PolicyValues(**{**old.as_dict(), **changes})


def check(values: PolicyValues, *, kind: KeyKind) -> None:
    """Raise ValidationFailed, naming every field at fault, unless the policy can be stored and obeyed."""
    errors: dict[str, list[str]] = {}

    def fault(name: str, sentence: str) -> None:
        errors.setdefault(name, []).append(sentence)

    for name, least, most in (
        ("cryptoperiod_days", 1, 36_500),
        ("provider_rotates_days", 1, 36_500),
        ("grace_days", LEAST_GRACE_DAYS, 3650),
        ("minimum_grace_days", LEAST_GRACE_DAYS, 3650),
        ("use_share_due", 1, 95),
        ("publish_before_use_hours", 0, 8760),
        ("token_lifetime_hours", 0, 8760),
    ):
        value = getattr(values, name)
        if value is None and name in {"cryptoperiod_days", "provider_rotates_days"}:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            fault(name, f"A whole number from {least} to {most}.")
    if not errors and values.grace_days < values.minimum_grace_days:
        fault("grace_days", "Not shorter than the minimum grace period.")
    if values.auto_rotate and values.cryptoperiod_days is None:
        fault("auto_rotate", "Needs a cryptoperiod.")
    for name, fits, sentence in _LISTS:
        if not fits(getattr(values, name)):
            fault(name, sentence)
    if "allowed_algorithms" not in errors:
        for algorithm in values.allowed_algorithms:
            if algorithm not in ALGORITHMS or not kind_accepts(kind, algorithm):
                fault("allowed_algorithms", f"{algorithm} is not for keys of this kind.")
    if errors:
        raise ValidationFailed("The policy is not acceptable.", errors=errors)


def _names_roles(value: object) -> bool:
    return isinstance(value, list) and all(role in Role.values for role in value) and len(set(value)) == len(value)


def _is_groups(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(group, dict) for group in value):
        return False
    thresholds = [group.get("threshold") for group in value]
    return (
        all(
            {"role", "threshold"} <= set(group) <= {"role", "threshold", "signed"} and group["role"] in DECIDING_ROLES
            for group in value
        )
        and all(isinstance(group.get("signed", False), bool) for group in value)
        and all(isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= 50 for number in thresholds)
        and len({group["role"] for group in value}) == len(value)
    )


_GROUPS = "A list of groups, each a role that may decide and a threshold from 1 to 50, perhaps signed, no role twice."
_LISTS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("rotate_roles", _names_roles, "A list of roles."),
    ("destroy_roles", _names_roles, "A list of roles."),
    ("rotate_groups", _is_groups, _GROUPS),
    ("destroy_groups", _is_groups, _GROUPS),
    ("allowed_algorithms", lambda value: isinstance(value, list), "A list of algorithms."),
)


def weakens(old: PolicyValues, new: PolicyValues) -> list[str]:
    """The fields in which `new` guards the key less than `old`, sorted; empty when it is at least as strict."""
    weaker = {name for name in ("grace_days", "minimum_grace_days") if getattr(new, name) < getattr(old, name)}
    for name in ("rotate_groups", "destroy_groups"):
        after = {group["role"]: group["threshold"] for group in getattr(new, name)}
        unsigned = {group["role"] for group in getattr(new, name) if not group.get("signed")}
        if any(
            after.get(group["role"], 0) < group["threshold"] or (group.get("signed") and group["role"] in unsigned)
            for group in getattr(old, name)
        ):
            weaker.add(name)
    for name in ("rotate_roles", "destroy_roles", "allowed_algorithms"):
        before, after_set = set(getattr(old, name)), set(getattr(new, name))
        # Empty means no restriction: going there, or naming more than before, opens the key up.
        if before and (not after_set or after_set - before):
            weaker.add(name)
    longer_period = new.cryptoperiod_days is None or (
        old.cryptoperiod_days is not None and new.cryptoperiod_days > old.cryptoperiod_days
    )
    if old.cryptoperiod_days is not None and longer_period:
        weaker.add("cryptoperiod_days")
    if old.auto_rotate and not new.auto_rotate:
        weaker.add("auto_rotate")
    if new.initiator_may_enter and not old.initiator_may_enter:
        weaker.add("initiator_may_enter")
    if new.use_share_due > old.use_share_due:
        weaker.add("use_share_due")
    return sorted(weaker)


def role_fits(actor: Actor, key: Key, roles: list[str]) -> bool:
    """Whether the policy leaves an act that it keeps for `roles` to the actor."""
    return not roles or actor.kind == "system" or any(actor.holds_role(role, key.ring_id) for role in roles)


def require_role(actor: Actor, key: Key, roles: list[str], act: str) -> None:
    """Raise PermissionRefused unless the policy lets one of the actor's roles ask for `act`.

    An empty list leaves it to the permission alone; the portal's own schedule obeys the policy it runs for.
    """
    if not role_fits(actor, key, roles):
        raise PermissionRefused(
            f"The policy of {key} does not let {actor.label} {act} it.",
            hint="The policy names the roles that may.",
            roles=roles,
        )


def require_reachable(actor: Actor, ring_id: UUID, old: PolicyValues, new: PolicyValues) -> None:
    """Raise ValidationFailed if `new` asks for agreement that all people but the actor could not give; `old` is what held before.

    Nobody could rotate or destroy the key then, nor take the policy back: that takes both kinds of groups together.
    Groups that stay what they were are let be, for people come and go.
    """
    errors: dict[str, list[str]] = {}
    for name in ("rotate_groups", "destroy_groups"):
        groups = _groups(getattr(new, name), ring_id)
        if groups != _groups(getattr(old, name), ring_id):
            together = _groups(strictest_groups(new), ring_id)
            if lacking := _lacking(actor, groups) or _lacking(actor, together):
                errors[name] = [lacking]
    if errors:
        raise ValidationFailed("Too few people could agree.", errors=errors)


def _groups(rules: list[dict[str, Any]], ring_id: UUID) -> list[Group]:
    return sorted((Group.parse(rule, ring_id) for rule in rules), key=lambda group: group.role)


def _lacking(actor: Actor, groups: list[Group]) -> str:
    """How many people there are and how many more it would take, as a sentence; empty when there are enough."""
    missing = unreachable(groups, identity(actor))
    if not missing:
        return ""
    people = eligible_people(groups, besides=identity(actor))
    there = [
        f"{sum(index in counting for counting in people.values())} × {group.role.replace('_', ' ')}"
        for index, group in enumerate(groups)
    ]
    signers = " who can sign" if any(group.signed for group in groups) else ""
    return (
        f"Besides {actor.label} there are {' and '.join(there)}; it would take {' and '.join(missing)} more{signers}."
    )


def require_algorithm(algorithm: str, values: PolicyValues) -> None:
    """Raise ValidationFailed if the policy does not allow new versions of this algorithm."""
    if values.allowed_algorithms and algorithm not in values.allowed_algorithms:
        raise ValidationFailed(
            "The key's policy does not allow its algorithm.",
            errors={"algorithm": [f"{algorithm} is not among those allowed."]},
        )


def strictest_groups(values: PolicyValues) -> list[dict[str, Any]]:
    """Who must agree to weaken the policy: every group of either kind, each with its higher threshold, signed if either is."""
    thresholds: dict[str, int] = {}
    groups = [*values.rotate_groups, *values.destroy_groups]
    for group in groups:
        thresholds[group["role"]] = max(thresholds.get(group["role"], 0), group["threshold"])
    signed = {group["role"] for group in groups if group.get("signed")}
    return [
        {"role": role, "threshold": number} | ({"signed": True} if role in signed else {})
        for role, number in sorted(thresholds.items())
    ]
