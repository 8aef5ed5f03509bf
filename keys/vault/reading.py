"""What transit tells of keys: their names, and of one its type, versions and public keys."""

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.models import Key, KeyVersion
from keys.services import key_views
from keys.states import MAY_PROCESS, VersionState
from keys.vault.names import curve_or_type, spoken
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import NotFound, PermissionRefused
from keyvault_portal.visible import on_rings

MOST_NAMES = 1000


def names(actor: Actor, ring: str, *, after: str = "", limit: int = MOST_NAMES) -> list[str]:
    """The names of at most `limit` keys of a ring behind `after`, in their order; raises NotFound where there are none to see."""
    _may_look(actor)
    keys = on_rings(Key.objects.filter(ring__name=ring, name__gt=after), actor.ring_ids(Permission.KEY_VIEW))
    found = list(keys.order_by("name").values_list("name", flat=True)[: min(limit, MOST_NAMES)])
    if not found:
        raise NotFound(f"There is no key in {ring} that you may see.")
    return found


def described(actor: Actor, ring: str, name: str) -> dict[str, Any]:
    """One key as Vault describes it; raises NotFound where there is none, or none that the actor may see."""
    _may_look(actor)
    found = key_views.view(f"{ring}/{name}")
    if not actor.can(Permission.KEY_VIEW, found.key.ring_id):
        raise NotFound("There is no such key.")
    key, algorithm = found.key, ALGORITHMS[found.key.algorithm]
    usable = [number for number, version in found.versions.items() if version.state in MAY_PROCESS]
    made = [number for number, version in found.versions.items() if version.state is not VersionState.PRE_ACTIVE]
    return {
        "name": key.name, "type": spoken(algorithm).type, "latest_version": max(made, default=0),
        "min_decryption_version": min(usable, default=0), "min_encryption_version": 0, "min_available_version": 0,
        "keys": {str(number): _version(version) for number, version in found.versions.items() if number in usable},
        "supports_encryption": algorithm.allows(Operation.ENCRYPT), "supports_decryption": algorithm.allows(Operation.DECRYPT),
        "supports_signing": algorithm.allows(Operation.SIGN), "supports_derivation": False, "derived": False,
        "exportable": key.exportable, "deletion_allowed": False, "allow_plaintext_backup": False, "imported_key": False,
        "auto_rotate_period": 0, "soft_deleted": False,
    }  # fmt: skip


def _may_look(actor: Actor) -> None:
    if not actor.can_somewhere(Permission.KEY_VIEW):
        raise PermissionRefused(f"{actor.label} lacks {Permission.KEY_VIEW.value}.")


def _version(version: KeyVersion) -> int | dict[str, Any]:
    """When a version was made, in seconds; of a key pair also its public half."""
    algorithm = ALGORITHMS[version.key.algorithm]
    if version.public_key is None or algorithm.kind not in {Kind.SIGNATURE, Kind.ASYMMETRIC_ENCRYPTION}:
        return int(version.created_at.timestamp())
    public = load_der_public_key(bytes(version.public_key))
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {"name": curve_or_type(algorithm), "public_key": pem, "creation_time": version.created_at.isoformat()}
