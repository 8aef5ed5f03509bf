"""The keys services as the ceremony process calls them: out of the hierarchy under an escrow key, and back at another provider."""

import secrets
from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.db import connections

from ceremonies import offline, packages
from ceremonies.packages import MasterKey
from ceremonies.process.contract import HandedOver, SealedRoot
from keys.crypto import keycheck
from keys.crypto.secret import SecretBytes
from keys.models import Key, KeyComponent, KeyVersion, ProviderIntent
from keys.providers.base import portal_errors
from keys.services import imports, seals
from keys.services.exports import escrow
from keys.services.providers import work
from keys.states import IntentState, VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.errors import Conflict, NotFound, PermissionRefused, ProviderUnavailable

CEREMONY_LABEL = "recovered-in-ceremony"


def _with_connections_of_its_own[**P, R](method: Callable[P, R]) -> Callable[P, R]:
    """Each call comes in a thread of its own, which must leave no connection behind."""

    @wraps(method)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(*arguments, **named)
        finally:
            connections.close_all()

    return call


class PortalKeyServices:
    """With the rights that the person has now; the services authorise, record, and call the providers."""

    @_with_connections_of_its_own
    def export(
        self, *, version_id: int, person_id: UUID, approval_id: UUID | None, escrow_key: SecretBytes
    ) -> tuple[MasterKey, bytes]:
        """The version in use, if it is the one named; raises NotFound, Conflict, and as `escrow.wrap_for_escrow`."""
        version = KeyVersion.objects.select_related("key").filter(pk=version_id).first()
        if version is None:
            raise NotFound("There is no such key version.")
        if version.state is not VersionState.ACTIVE:
            raise Conflict(f"{version} is {version.status}.", hint="Plan the escrow of the version that is in use.")
        gone_out = escrow.wrap_for_escrow(
            actor=_actor(person_id), key_id=version.key_id, escrow_key=escrow_key, reason=_reason(approval_id)
        )
        if gone_out.key_version != version.key_version:
            raise Conflict(f"{version} was replaced at this very moment.", hint="Begin the ceremony again.")
        with SecretBytes(offline.unwrap(escrow_key.reveal(), gone_out.wrapped)) as material:
            check = offline.check_value(material.reveal(), gone_out.algorithm)
        key = version.key
        return (
            MasterKey(key.pk, version.key_version, key.name, key.algorithm, key.provider, check),
            gone_out.wrapped,
        )

    @_with_connections_of_its_own
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

        The provider is called from here: sealing the material for a worker could need the very key that was lost. Found again
        by its label when this ceremony had it made before, however that ended for who asked. Raises NotFound for a key this
        portal never had, ProviderUnavailable and Conflict for what the provider said, and as `escrow.import_wrapped`.
        """
        label = {CEREMONY_LABEL: str(ceremony_id)}
        made = Key.objects.filter(labels__contains=label, provider=provider).first()
        if made is None:
            made = self._import(key, material, provider, _actor(person_id), label)
        version = made.versions.earliest("key_version")
        intent = ProviderIntent.objects.filter(version=version, act=ProviderIntent.Act.IMPORT).first()
        if intent is not None and intent.state != IntentState.DONE:
            work.perform(intent.pk, secret=material)
            intent.refresh_from_db()
            _need_done(intent)
        return HandedOver(made.pk, version.pk, intent.pk if intent else None)

    @_with_connections_of_its_own
    def enter_component(self, *, import_id: UUID, number: int, person_id: UUID, component: SecretBytes) -> None:
        """As `imports.enter_component`; one that this person has entered is not entered again."""
        if not KeyComponent.objects.filter(key_import_id=import_id, number=number, person_id=person_id).exists():
            imports.enter_component(actor=_actor(person_id), import_id=import_id, number=number, component=component)

    @_with_connections_of_its_own
    def split_root(self, *, threshold: int, count: int, person_id: UUID) -> tuple[SealedRoot, tuple[SecretBytes, ...]]:
        """By this machine's keyholder, straight into this process; raises as `seals.split_root`."""
        split, shares = seals.split_root(actor=_actor(person_id), threshold=threshold, count=count)
        sealed = SealedRoot(split.seal_id, split.wrapped, split.check, split.threshold, split.count, split.identifier)
        return sealed, shares

    def _import(self, key: MasterKey, material: SecretBytes, provider: str, actor: Actor, label: dict[str, str]) -> Key:
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
                labels={**lost.labels, **label}, by_hand=True,
            )  # fmt: skip


def _need_done(intent: ProviderIntent) -> None:
    if intent.state == IntentState.FAILED:
        raise Conflict(intent.last_error, hint="Hand it over again, or choose another provider.", intent=str(intent.pk))
    if intent.state != IntentState.DONE:
        raise ProviderUnavailable(
            intent.last_error or "The provider is at work.",
            hint="Hand it over again in a moment.",
            intent=str(intent.pk),
        )


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
