"""How a change of a policy reads to those who have to agree to it."""

from typing import Any

from keys.services.policies import PolicyValues, weakens
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.templatetags.portal import quorum

_LABELS = {
    "allowed_algorithms": "Allowed algorithms",
    "auto_rotate": "Rotates by itself when the cryptoperiod ends",
    "cryptoperiod_days": "Cryptoperiod",
    "destroy_groups": "Must agree to a destruction",
    "destroy_roles": "May ask for destruction",
    "grace_days": "Grace period before destruction",
    "initiator_may_enter": "Whoever opens an import by components may enter one of them",
    "minimum_grace_days": "Shortest grace period allowed",
    "rotate_groups": "Must agree to a rotation",
    "rotate_roles": "May ask for a rotation",
    "use_share_due": "Rotation is due at this share of the safe number of uses",
}


def weakening(old: PolicyValues, new: PolicyValues) -> list[str]:
    """A sentence for each field in which `new` guards the key less than `old`."""
    return [
        f"{_LABELS[name]}: {_say(name, getattr(new, name))} instead of {_say(name, getattr(old, name))}."
        for name in weakens(old, new)
    ]


def _say(name: str, value: Any) -> str:
    if name.endswith("_groups"):
        return quorum(value)
    if name.endswith("_roles"):
        return " or ".join(Role(role).label.lower() for role in value) or "any role with the permission"
    if name == "allowed_algorithms":
        return ", ".join(value) or "whatever the kind of key allows"
    if name.endswith("_days"):
        return f"{value} days" if value is not None else "without an end"
    if name == "use_share_due":
        return f"{value} per cent"
    return "yes" if value else "no"
