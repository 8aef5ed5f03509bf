"""The keys services as the ceremony process calls them: out of the hierarchy under an escrow key, and back at another provider."""

import secrets
from uuid import UUID

from django.db import close_old_connections

from ceremonies import offline, packages
from ceremonies.packages import MasterKey
from ceremonies.process.contract import HandedOver
from keys.crypto import keycheck
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyVersion, ProviderIntent
from keys.providers.base import portal_errors
from keys.services.exports import escrow
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import Conflict, NotFound, PermissionRefused

CEREMONY_LABEL = "recovered-in-ceremony"


class PortalKeyServices:
    """With the rights that the person has now; the services authorise, record, and call the providers."""

    def export(
        self, *, version_id: int, person_id: UUID, approval_id: UUID | None, escrow_key: SecretBytes
    ) -> tuple[MasterKey, bytes]:
        """The version in use, if it is the one named; raises NotFound, Conflict, and as `escrow.wrap_for_escrow`."""
        close_old_connections()
        version = KeyVersion.objects.select_related("key").filter(pk=version_id).first()
        if version is None:
            raise NotFound("There is no such key version.")
        gone_out = escrow.wrap_for_escrow(
            actor=_actor(person_id), key_id=version.key_id, escrow_key=escrow_key, reason=_reason(approval_id)
        )
        if gone_out.key_version != version.key_version:
            raise Conflict(f"{version} is not in use any more.", hint="Plan the escrow of the version that is.")
        with SecretBytes(offline.unwrap(escrow_key.reveal(), gone_out.wrapped)) as material:
            check = offline.check_value(material.reveal(), gone_out.algorithm)
        key = version.key
        return (
            MasterKey(key.pk, version.key_version, key.name, key.algorithm, key.provider, check),
            gone_out.wrapped,
        )

    def hand_over(
        self,
        *,
        key: MasterKey,
        material: SecretBytes,
        provider: str,
        person_id: UUID,
        approval_id: UUID | None,
        ceremony_id: UUID,
    ) -> HandedOver:
        """A new master key at `provider` with the recovered material, beside the lost one in its ring.

        Found again by its label when this ceremony had it made before, however that ended for who asked. Raises NotFound for
        a key this portal never had, and as `escrow.import_wrapped`.
        """
        close_old_connections()
        made = Key.objects.filter(labels__contains={CEREMONY_LABEL: str(ceremony_id)}).first()
        if made is None:
            made = self._import(key, material, provider, _actor(person_id), ceremony_id)
        version = made.versions.earliest("key_version")
        intent = ProviderIntent.objects.filter(version=version, act=ProviderIntent.Act.IMPORT).first()
        return HandedOver(made.pk, version.pk, intent.pk if intent else None)

    def _import(self, key: MasterKey, material: SecretBytes, provider: str, actor: Actor, ceremony_id: UUID) -> Key:
        lost = Key.objects.select_related("ring").filter(pk=key.key_id).first()
        if lost is None:
            raise NotFound("This portal has no key of this package; import it as a new key.")
        with portal_errors():
            check = keycheck.check_value(key.algorithm, material).hex()
        with SecretBytes(secrets.token_bytes(32)) as passing:
            return escrow.import_wrapped(
                actor=actor, wrapped=packages.wrap_master(passing, material), escrow_key=passing, check_value=check,
                ring=lost.ring, algorithm=key.algorithm, provider=provider, name=_free_name(lost),
                title=f"{lost.title} (recovered)"[:150], kind=lost.kind, parent=lost.parent, purpose=lost.purpose,
                labels={**lost.labels, CEREMONY_LABEL: str(ceremony_id)},
            )  # fmt: skip


def _actor(person_id: UUID) -> Actor:
    person = Person.objects.filter(pk=person_id).first()
    if person is None:
        raise PermissionRefused("Nobody is known by this id.")
    return actor_for_person(person)


def _reason(approval_id: UUID | None) -> str:
    return f"Escrow ceremony, agreed to in {approval_id}" if approval_id else "Escrow ceremony"


def _free_name(lost: Key) -> str:
    taken = set(Key.objects.filter(ring=lost.ring, name__startswith=lost.name[:80]).values_list("name", flat=True))
    number = 1
    while (name := f"{lost.name[:80]}-recovered-{number}") in taken:
        number += 1
    return name
