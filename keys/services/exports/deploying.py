"""The private half of a transport key for a place on this machine that serves with it: in the clear, so never anywhere else."""

from django.utils import timezone

from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import KeyVersion
from keys.providers.base import OperationUnsupported
from keys.services import materials
from keys.services.acts import act_on_version
from keys.services.exports import giving
from keys.services.providers.intents import is_remote
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict


def release_for_deployment(*, actor: Actor, version_id: int, place: str) -> SecretBytes:
    """The PKCS#8 (DER) of an exportable transport key that the portal keeps itself; on record as exported from now on.

    That a place gets the key was agreed to when it was set up. The caller writes it there and wipes it. Raises
    PermissionRefused, NotFound, Conflict (not exportable, no transport key), OperationUnsupported (its provider keeps it), WrongState.
    """
    with act_on_version(actor, Permission.KEY_EXPORT, "key.deploy", version_id) as (key, version, act):
        giving.require_may_leave(version)
        if key.kind != KeyKind.TRANSPORT.value:
            raise Conflict(f"{key} is no transport key.")
        if is_remote(version):
            raise OperationUnsupported(f"{version} stays at {version.provider}: what serves with it has to ask there.")
        loaded = KeyVersion.objects.select_related(*materials.CHAIN).get(pk=version.pk)
        material = SecretBytes(materials.material(loaded).reveal())
        changed = KeyVersion.objects.filter(pk=version.pk)
        changed.update(never_extractable=False)
        changed.filter(exported_at=None).update(exported_at=timezone.now())
        act.record({"version": version.key_version, "place": place})
    return material
