"""Who acts: an explicit value passed to every service, with the rights resolved beforehand."""

from dataclasses import dataclass
from uuid import UUID

from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import PermissionRefused


@dataclass(frozen=True, slots=True)
class Grant:
    """These permissions on one ring, or on everything when `ring_id` is None."""

    permissions: frozenset[Permission]
    ring_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something asking for an act; holds no database objects, so it can cross threads."""

    id: UUID | None
    kind: str  # "person", "service", "token" or "system"
    label: str
    grants: tuple[Grant, ...] = ()
    roles: frozenset[tuple[str, UUID | None]] = frozenset()  # (role, ring id or None)
    token_id: UUID | None = None
    address: str | None = None
    second_factor: bool = False

    def can(self, permission: Permission, ring_id: UUID | None = None) -> bool:
        """Whether some grant gives `permission` on `ring_id` (None asks for it on everything)."""
        return any(
            permission in grant.permissions and (grant.ring_id is None or grant.ring_id == ring_id)
            for grant in self.grants
        )

    def can_somewhere(self, permission: Permission) -> bool:
        """Whether the permission is held on at least one ring: enough to open a list, never to act."""
        return any(permission in grant.permissions for grant in self.grants)

    def ring_ids(self, permission: Permission) -> frozenset[UUID] | None:
        """The rings on which `permission` is held; None means all of them."""
        rings = {grant.ring_id for grant in self.grants if permission in grant.permissions}
        return None if None in rings else frozenset(ring for ring in rings if ring)

    def holds_role(self, role: str, ring_id: UUID | None = None) -> bool:
        """Whether this actor holds `role` on everything or on exactly this ring."""
        return (role, None) in self.roles or (ring_id is not None and (role, ring_id) in self.roles)


def system_actor(label: str, *permissions: Permission) -> Actor:
    """The portal acting by itself (a schedule, a sweeper), with just the rights named."""
    return Actor(id=None, kind="system", label=label, grants=(Grant(frozenset(permissions)),))


def authorize(actor: Actor, permission: Permission, *, ring_id: UUID | None = None, target: str = "") -> None:
    """Return if `actor` holds `permission` on `ring_id`; raise PermissionRefused otherwise."""
    if not actor.can(permission, ring_id):
        raise PermissionRefused(
            f"{actor.label} lacks the right {permission.value}" + (f" on {target}" if target else "") + ".",
            hint="Ask a security officer for a role that includes it.",
            permission=permission.value,
        )
