"""Who may read and export the record: the one place where the floor looks at rights."""

from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission

__all__ = ["Actor", "Permission", "authorize", "authorize_somewhere", "system_actor"]


def authorize_somewhere(actor: Actor, permission: Permission) -> None:
    """Return if `actor` holds `permission` on at least one ring; raise PermissionRefused otherwise."""
    if not actor.can_somewhere(permission):
        authorize(actor, permission, target="the audit record")
