"""The ways in which the root is sealed: registering them, sealing the portal on purpose, and opening it again.

The root itself is only in the keyholder's memory; here are the sealed copies and the decisions.
"""

from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone
from shamir_mnemonic.share import Share

from keys.crypto.envelope import context_aad
from keys.crypto.secret import SecretBytes
from keys.keyholder.holder import SharedSeal, check_value
from keys.models import KeyProvider, RootSeal, SealState
from keys.providers.base import KeyHandle, Wrapper
from keys.providers.registry import provider as provider_of
from keys.services import root_key
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PortalError, ValidationFailed

MAX_SHARES = 16  # SLIP-39: four bits of member index
SEAL_ALGORITHM = "AES-256-GCM"


@dataclass(frozen=True, slots=True)
class NewShares:
    """A seal just made, and its shares: shown once, to one person each, and kept nowhere."""

    seal: RootSeal
    mnemonics: list[str]

    def __repr__(self) -> str:
        return f"NewShares({self.seal.pk})"


def seal_context(seal_id: UUID) -> bytes:
    """The AAD that binds a sealed root to its row."""
    return context_aad({"purpose": "portal-root", "seal": str(seal_id)})


def register_shares(*, actor: Actor, name: str, threshold: int, count: int) -> NewShares:
    """Seal the root for `count` custodians, any `threshold` of whom can open it; the set before, if any, must be retired first.

    Raises PermissionRefused, ValidationFailed, Conflict, Sealed.
    """
    with audit.atomic(actor=actor, action="seal.register", target=("seal", "", name)) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        if not 2 <= threshold <= count <= MAX_SHARES:
            raise ValidationFailed(
                errors={"threshold": [f"From 2 to the number of shares, which is at most {MAX_SHARES}."]}
            )
        seal_id = uuid4()
        wrapped, mnemonics, check = root_key.keyholder().split(seal_context(seal_id), threshold, count)
        seal = RootSeal(
            id=seal_id, kind=RootSeal.Kind.SHARES, name=_named(name), wrapped=wrapped, check_value=check,
            identifier=Share.from_mnemonic(mnemonics[0]).identifier, threshold=threshold, shares=count, created_by=actor.label,
        )  # fmt: skip
        _store(seal)
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": "shares", "threshold": threshold, "shares": count})
    return NewShares(seal, mnemonics)


def register_provider(*, actor: Actor, name: str, provider: str) -> RootSeal:
    """Seal the root under a new key of a provider, which then opens the portal by itself at every start.

    Raises PermissionRefused, ValidationFailed for a provider that wraps nothing or keeps nothing, ProviderUnavailable.
    """
    with audit.atomic(actor=actor, action="seal.register", target=("seal", "", name)) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        if KeyProvider.objects.filter(alias=provider, sealed_settings__isnull=False).exists():
            raise ValidationFailed(
                errors={
                    "provider": [
                        "Its credentials are sealed under the root that it would open. Use an ambient identity."
                    ]
                }
            )
        keeper = provider_of(provider)
        if provider == "local" or not isinstance(keeper, Wrapper):
            raise ValidationFailed(
                errors={"provider": ["Choose a provider that keeps keys of its own and wraps with them."]}
            )
        handle = keeper.generate(SEAL_ALGORITHM).opaque
        seal_id = uuid4()
        wrapped, check = root_key.keyholder().wrap_root(seal_context(seal_id), provider, SEAL_ALGORITHM, handle)
        seal = RootSeal(
            id=seal_id, kind=RootSeal.Kind.PROVIDER, name=_named(name), provider=provider, handle=handle,
            algorithm=SEAL_ALGORITHM, wrapped=wrapped, check_value=check, created_by=actor.label,
        )  # fmt: skip
        _store(seal)
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": "provider", "provider": provider})
    return seal


def retire_seal(*, actor: Actor, seal_id: UUID) -> None:
    """Stop using one way to open the portal; never the last one. Raises PermissionRefused, NotFound, Conflict."""
    with audit.atomic(actor=actor, action="seal.retire", target=("seal", seal_id, "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        open_ = {seal.pk: seal for seal in RootSeal.objects.select_for_update().filter(retired_at=None)}
        seal = open_.get(seal_id)
        if seal is None:
            raise NotFound("There is no such seal in use.")
        if len(open_) == 1:
            raise Conflict("This is the only way to open the portal.", hint="Register another seal first.")
        seal.retired_at, seal.retired_by = timezone.now(), actor.label
        seal.save(update_fields=["retired_at", "retired_by"])
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": seal.kind})


def seal_now(*, actor: Actor, reason: str) -> None:
    """Seal the portal at once, everywhere; it stays so until it is opened on purpose. Raises PermissionRefused, ValidationFailed."""
    with audit.atomic(actor=actor, action="portal.seal", target=("portal", "", "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        holder = root_key.keyholder()
        SealState.objects.update_or_create(
            pk=1, defaults={"sealed_at": timezone.now(), "sealed_by": actor.label, "reason": reason.strip()}
        )
        act.record({"reason": reason.strip()})
        transaction.on_commit(holder.seal)


def open_again(*, actor: Actor) -> bool:
    """Let the keyholders unseal by themselves again where a file or a provider seals the root; True if this one has.

    Raises PermissionRefused. Where only shares open it, custodians give them on the page of the sealed portal.
    """
    with audit.atomic(actor=actor, action="portal.open", target=("portal", "", "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        SealState.objects.filter(pk=1).update(sealed_at=None, sealed_by="", reason="")
        act.record({})
    return not root_key.keyholder().refresh()


def note_unsealed_by_shares(numbers: list[int]) -> None:
    """Record that custodians opened the portal; whoever sealed it on purpose is overruled by the quorum."""
    with audit.atomic(actor=system_actor("keyholder"), action="portal.unseal", target=("portal", "", "")) as act:
        SealState.objects.filter(pk=1).update(sealed_at=None, sealed_by="", reason="")
        act.record({"by": "shares", "shares": numbers})


def sealed_on_purpose() -> bool:
    """Whether somebody sealed the portal and nobody opened it since."""
    return SealState.objects.filter(pk=1, sealed_at__isnull=False).exists()


def shared_seal() -> SharedSeal | None:
    """What shares open, for the keyholder."""
    seal = RootSeal.objects.filter(kind=RootSeal.Kind.SHARES, retired_at=None).first()
    if seal is None:
        return None
    assert seal.wrapped is not None
    assert seal.identifier is not None
    assert seal.threshold is not None
    return SharedSeal(bytes(seal.wrapped), seal_context(seal.pk), seal.identifier, seal.threshold)


def known_check() -> bytes | None:
    """The check value by which the root is known, None before the first start."""
    found = RootSeal.objects.filter(retired_at=None).values_list("check_value", flat=True).first()
    return bytes(found) if found is not None else None


def unseal_by_itself() -> SecretBytes | None:
    """The root, by the first seal that needs nobody: the key file, then the providers; None when there is none or it is forbidden.

    At the very first start the key file becomes the first seal.
    """
    if sealed_on_purpose():
        return None
    seals = list(RootSeal.objects.filter(retired_at=None).order_by("created_at"))
    if not seals:
        root = root_key.read_file()
        _first_seal(root)
        return root
    for seal in sorted(seals, key=lambda seal: seal.kind != RootSeal.Kind.FILE.value):
        try:
            if seal.kind == RootSeal.Kind.FILE.value:
                return root_key.read_file()
            if seal.kind == RootSeal.Kind.PROVIDER.value:
                return _unwrap(seal)
        except PortalError:
            continue  # the next one is there for this day
    return None


def wrap_with(alias: str, algorithm: str, handle: str, context: bytes, root: SecretBytes) -> bytes:
    """The root under a provider's key; raises what the provider raises."""
    keeper = provider_of(alias)
    assert isinstance(keeper, Wrapper)
    return keeper.wrap(KeyHandle(algorithm, handle), root, context)


def _unwrap(seal: RootSeal) -> SecretBytes:
    keeper = provider_of(seal.provider)
    assert isinstance(keeper, Wrapper)
    return keeper.unwrap(KeyHandle(seal.algorithm, seal.handle), bytes(seal.wrapped or b""), seal_context(seal.pk))


def _first_seal(root: SecretBytes) -> None:
    actor = system_actor("keyholder")
    with audit.atomic(actor=actor, action="seal.register", target=("seal", "", "Key file")) as act:
        seal = RootSeal(kind=RootSeal.Kind.FILE, name="Key file", check_value=check_value(root), created_by=actor.label)
        _store(seal)
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": "file"})


def _store(seal: RootSeal) -> None:
    try:
        with transaction.atomic():
            seal.save(force_insert=True)
    except IntegrityError:
        raise Conflict("There is a seal of this kind already.", hint="Retire it first.") from None


def _named(name: str) -> str:
    if not 1 <= len(name.strip()) <= 150:
        raise ValidationFailed(errors={"name": ["From 1 to 150 characters."]})
    return name.strip()
