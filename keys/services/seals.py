"""The ways in which the root is sealed: registering them, sealing the portal on purpose, and opening it again.

The root itself is only in the keyholder's memory; here are the sealed copies and the decisions.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto.receiving import PUBLIC_BYTES
from keys.crypto.secret import SecretBytes
from keys.keyholder.holder import SharedSeal, check_value
from keys.models import Key, RootSeal, SealState
from keys.models.seals import OPENING
from keys.services import keyholders, notices, provider_seals, root_key, unsealing
from keys.services.provider_seals import seal_context
from keys.states import SealStanding
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PermissionRefused, PortalError, ValidationFailed

logger = logging.getLogger(__name__)
MAX_SHARES = 16  # SLIP-39: four bits of member index
REGISTER_PROVIDER, REGISTER_SHARES, RETIRE = "seal.register_provider", "seal.register_shares", "seal.retire"


@dataclass(frozen=True, slots=True)
class NewShares:
    """A seal just made, and its shares, each sealed to the key of whoever asked: no process on the way can read them."""

    seal: RootSeal
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SplitRoot:
    """A sealed copy of the root and what is known of the shares that open it; nothing here opens anything."""

    seal_id: UUID
    wrapped: bytes
    check: bytes
    threshold: int
    count: int
    identifier: int


def register_shares(
    *, actor: Actor, name: str, threshold: int, count: int, reason: str, approval_id: UUID | None = None
) -> RootSeal:
    """A seal for `count` custodians, any `threshold` of whom can open it, once other officers agree; then `make_shares`.

    The set before, if any, must be retired first. Raises PermissionRefused, ValidationFailed, Conflict, ApprovalRequired.
    """
    with audit.atomic(actor=actor, action="seal.register", target=("seal", "", name)) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        _check_shares(threshold, count)
        refuse_second_set()
        params = {"name": _named(name), "threshold": threshold, "count": count, "reason": reason}
        seal = _prepared(
            actor, REGISTER_SHARES, params, approval_id, kind=RootSeal.Kind.SHARES, threshold=threshold, shares=count
        )
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": "shares", "threshold": threshold, "shares": count, **_agreement(reason, approval_id)})
    return seal


def make_shares(*, actor: Actor, seal_id: UUID, recipient: bytes) -> NewShares:
    """Split the root for a seal that was agreed to; the shares leave the keyholder this once, sealed to `recipient`.

    `recipient` is a raw X25519 key whose private half is in the browser of whoever asked; what is sealed is bound to
    `provider_seals.seal_context`. Raises PermissionRefused (somebody else asked), NotFound, Conflict (made already),
    ValidationFailed (no key), Sealed.
    """
    if len(recipient) != PUBLIC_BYTES:
        raise ValidationFailed(errors={"key": [f"A raw X25519 key: {PUBLIC_BYTES} bytes."]})
    with audit.atomic(actor=actor, action="seal.make_shares", target=("seal", seal_id, "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        seal = RootSeal.objects.select_for_update(of=("self",)).filter(pk=seal_id, retired_at=None).first()
        if seal is None:
            raise NotFound("There is no such seal in use.")
        if seal.kind != RootSeal.Kind.SHARES:
            raise Conflict("This seal has no shares.")
        if seal.created_by_id is None or seal.created_by_id != actor.id:
            raise PermissionRefused(
                "The shares are shown to whoever asked for them, and to nobody else.",
                hint="Retire this seal and ask for one of your own.",
            )
        if seal.state != SealStanding.PREPARING.value:
            raise Conflict("These shares were made already; they are kept nowhere.", hint="Retire them and ask again.")
        assert seal.threshold is not None
        assert seal.shares is not None
        split, shares = _split(seal.pk, seal.threshold, seal.shares, recipient)
        seal.wrapped, seal.check_value, seal.identifier = split.wrapped, split.check, split.identifier
        seal.wrapped_at = timezone.now()
        provider_seals.move(seal, SealStanding.IN_USE)
        seal.save(update_fields=["state", "wrapped", "check_value", "identifier", "wrapped_at"])
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"threshold": seal.threshold, "shares": seal.shares, "set": seal.identifier})
    return NewShares(seal, tuple(share.reveal() for share in shares))


def split_root(*, actor: Actor, threshold: int, count: int) -> tuple[SplitRoot, tuple[SecretBytes, ...]]:
    """A seal of shares that is in use nowhere yet, and the words of its shares, to be handed out and verified first.

    For the ceremony process, which holds them in locked memory as the keyholder does. The seal in use stays as it is. Raises
    PermissionRefused, ValidationFailed, Sealed.
    """
    with audit.atomic(actor=actor, action="seal.split", target=("portal", "", "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        _check_shares(threshold, count)
        split, shares = _split(uuid4(), threshold, count)
        act.record({"seal": str(split.seal_id), "threshold": threshold, "shares": count})
    return split, shares


def put_in_use(*, actor: Actor, name: str, split: SplitRoot) -> RootSeal:
    """Let a seal that was split before take the place of the shares in use, in one step; asked again, the same seal.

    Raises PermissionRefused, ValidationFailed.
    """
    with audit.atomic(actor=actor, action="seal.register", target=("seal", split.seal_id, name)) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        found = RootSeal.objects.filter(pk=split.seal_id).first()
        if found is not None:
            return found
        before = (
            RootSeal.objects.select_for_update(of=("self",)).filter(kind=RootSeal.Kind.SHARES, retired_at=None).first()
        )
        if before is not None:
            _retire(before, actor)
        seal = RootSeal(
            id=split.seal_id, kind=RootSeal.Kind.SHARES, name=_named(name), wrapped=split.wrapped, wrapped_at=timezone.now(),
            check_value=split.check, identifier=split.identifier, threshold=split.threshold, shares=split.count,
            created_by=actor.label[:200],
        )  # fmt: skip
        _store(seal)
        notices.seal_registered(seal, actor.label)
        act.about(target=("seal", seal.pk, seal.name))
        act.record({
            "kind": "shares", "threshold": split.threshold, "shares": split.count, "retired": str(before.pk) if before else None,
        })  # fmt: skip
    return seal


def _check_shares(threshold: int, count: int) -> None:
    if not 2 <= threshold <= count <= MAX_SHARES:
        raise ValidationFailed(
            errors={"threshold": [f"From 2 to the number of shares, which is at most {MAX_SHARES}."]}
        )


def _split(
    seal_id: UUID, threshold: int, count: int, recipient: bytes | None = None
) -> tuple[SplitRoot, tuple[SecretBytes, ...]]:
    made = root_key.keyholder().split(seal_context(seal_id), threshold, count, recipient)
    return SplitRoot(seal_id, made.wrapped, made.check, threshold, count, made.identifier), made.shares


def register_provider(*, actor: Actor, name: str, key: Key, reason: str, approval_id: UUID | None = None) -> RootSeal:
    """Have the root sealed under a master key that lives at a provider, which then opens every machine by itself.

    Other officers agree first; then a worker does it: the keyholder asks the provider. Raises PermissionRefused,
    ValidationFailed naming what is wrong with the key, Conflict (sealed under it already; no keyholder; the root is not
    known yet), ApprovalRequired.
    """
    with audit.atomic(actor=actor, action="seal.register", target=("seal", "", name)) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        provider_seals.refuse_unsuitable(key)
        params = {"name": _named(name), "key_id": str(key.pk), "reason": reason}
        seal = _prepared(
            actor, REGISTER_PROVIDER, params, approval_id, kind=RootSeal.Kind.PROVIDER, key=key, provider=key.provider,
            algorithm=key.algorithm,
        )  # fmt: skip
        provider_seals.send(seal.pk)
        act.about(target=("seal", seal.pk, seal.name))
        act.record(
            {"kind": "provider", "provider": key.provider, "key": str(key.pk), **_agreement(reason, approval_id)}
        )
    return seal


def _prepared(
    actor: Actor, operation: str, params: dict[str, Any], approval_id: UUID | None, **columns: Any
) -> RootSeal:
    """The row of a seal that was agreed to and does not open anything yet; its officers are told."""
    if not params["reason"].strip():
        raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
    root_key.keyholder()
    check = known_check()
    if check is None:
        raise Conflict("There is no root yet.", hint="Start the keyholder once.")
    approvals.need_officers(actor, operation, params, ring_id=None, reason=params["reason"], approval_id=approval_id)
    seal = RootSeal(
        name=params["name"], state=SealStanding.PREPARING.value, check_value=check, created_by=actor.label[:200],
        created_by_id=actor.id, approval_id=approval_id, **columns,
    )  # fmt: skip
    _store(seal)
    notices.seal_registered(seal, actor.label)
    return seal


def _agreement(reason: str, approval_id: UUID | None) -> dict[str, Any]:
    return {"reason": reason, "approval": str(approval_id) if approval_id else None}


def refuse_second_set() -> None:
    """Raise Conflict while a set of shares is in use, or agreed to."""
    if RootSeal.objects.filter(kind=RootSeal.Kind.SHARES, retired_at=None).exists():
        raise Conflict("There is a seal of this kind already.", hint="Retire it first.")


def ways_in_use() -> int:
    """How many seals open the root now."""
    return RootSeal.objects.filter(state=SealStanding.IN_USE.value).count()


def request_check(*, actor: Actor, seal_id: UUID) -> RootSeal:
    """Have a worker look now whether a seal opens the root; raises PermissionRefused, NotFound, Conflict (shares)."""
    with audit.atomic(actor=actor, action="seal.check", target=("seal", seal_id, "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        seal = find(seal_id)
        if seal.kind == RootSeal.Kind.SHARES:
            raise Conflict("Only its custodians can try this seal.", hint="Hold a rehearsal with them.")
        RootSeal.objects.filter(pk=seal.pk).update(next_try_at=timezone.now())
        provider_seals.send(seal.pk)
        act.record(target=("seal", seal.pk, seal.name))
    return seal


def retire_seal(*, actor: Actor, seal_id: UUID, reason: str, approval_id: UUID | None = None) -> RootSeal:
    """Stop using one way to open the portal, for good: once other officers agreed, unless it never opened anything.

    Raises PermissionRefused, NotFound, ValidationFailed (no reason), Conflict (the last one that works), ApprovalRequired.
    """
    with audit.atomic(actor=actor, action="seal.retire", target=("seal", seal_id, "")) as act:
        authorize(actor, Permission.SETTINGS_MANAGE, target="the portal's seal")
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        seal = refuse_last(seal_id, lock=True)
        if seal.state != SealStanding.PREPARING.value:
            params = {"seal_id": str(seal_id), "reason": reason.strip()}
            approvals.need_officers(actor, RETIRE, params, ring_id=None, reason=reason, approval_id=approval_id)
        _retire(seal, actor)
        act.about(target=("seal", seal.pk, seal.name))
        act.record({"kind": seal.kind, **_agreement(reason.strip(), approval_id)})
    return seal


def refuse_last(seal_id: UUID, *, lock: bool = False) -> RootSeal:
    """A seal without which another still opens the portal; raises NotFound, Conflict."""
    found = RootSeal.objects.filter(retired_at=None)
    rows = list(found.select_for_update(of=("self",)) if lock else found)
    seal = next((row for row in rows if row.pk == seal_id), None)
    if seal is None:
        raise NotFound("There is no such seal in use.")
    if not any(row.state == SealStanding.IN_USE.value for row in rows if row is not seal):
        raise Conflict("This is the only way to open the portal.", hint="Register another seal, and wait for it.")
    return seal


def when_retired(seal: RootSeal, left: int) -> list[str]:
    """What follows from retiring it, where `left` other ways go on opening the portal, in sentences."""
    lost = f"The {seal.shares} shares that custodians hold open nothing any more."
    what = {
        RootSeal.Kind.SHARES.value: "Its shares are never made."
        if seal.state == SealStanding.PREPARING.value
        else lost,
        RootSeal.Kind.PROVIDER.value: f"The key at {seal.provider} opens the portal on no machine any more.",
    }.get(seal.kind, "The key file opens the portal on no machine any more.")
    others = "one other way opens" if left == 1 else f"{left} other ways open"
    return [what, f"From then on {others} the portal.", "Nobody can take it back; another seal can be registered."]


def _retire(seal: RootSeal, actor: Actor) -> None:
    provider_seals.move(seal, SealStanding.RETIRED)
    seal.retired_at, seal.retired_by, seal.wrapped = timezone.now(), actor.label, None
    seal.save(update_fields=["state", "retired_at", "retired_by", "wrapped"])
    notices.seal_retired(seal)


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
        unsealing.lift()
        act.record({})
    return not root_key.keyholder().refresh()


def sealed_on_purpose() -> bool:
    """Whether somebody sealed the portal and nobody opened it since."""
    return SealState.objects.filter(pk=1, sealed_at__isnull=False).exists()


def shared_seal() -> SharedSeal | None:
    """What shares open, for the keyholder."""
    seal = RootSeal.objects.filter(kind=RootSeal.Kind.SHARES, state__in=OPENING).first()
    if seal is None:
        return None
    assert seal.wrapped is not None and seal.identifier is not None and seal.threshold is not None  # noqa: PT018
    return SharedSeal(bytes(seal.wrapped), seal_context(seal.pk), seal.identifier, seal.threshold)


def known_check() -> bytes | None:
    """The check value by which the root is known, None before the first start."""
    found = RootSeal.objects.filter(retired_at=None, state__in=OPENING).values_list("check_value", flat=True).first()
    return None if found is None else bytes(found)


def unseal_by_itself(take: Callable[[SecretBytes], None]) -> str:
    """Hand `take` the root, by the first seal that needs nobody: the key file, then the providers; "" when that is done.

    Otherwise what to tell people: nothing opens it by itself, it is forbidden, or what each seal answered. At the very
    first start the key file becomes the first seal.
    """
    if sealed_on_purpose():
        return "It was sealed on purpose."
    if not RootSeal.objects.filter(retired_at=None).exists():
        root = root_key.read_file()
        _first_seal(root)
        take(root)
        return ""
    problems = []
    for seal in provider_seals.opening_seals():
        try:
            root = provider_seals.unwrap(seal)
        except PortalError as error:
            problems.append(f"{seal.name}: {error.detail}")
            continue  # the next one is there for this day
        if sealed_on_purpose():
            root.wipe()
            return "It was sealed on purpose."
        if seal.kind == RootSeal.Kind.PROVIDER:
            _record_opening(seal)
        take(root)
        return ""
    return " ".join(problems) or "Nothing opens it by itself: custodians have to give their shares here."


def _record_opening(seal: RootSeal) -> None:
    details = {"by": "provider", "seal": seal.name, "provider": seal.provider, "machine": keyholders.machine()}
    audit.record(
        actor=system_actor("keyholder"), action="portal.unseal", target=("seal", seal.pk, seal.name), details=details
    )


def find(seal_id: UUID) -> RootSeal:
    """One seal that is not retired; raises NotFound."""
    found = RootSeal.objects.filter(pk=seal_id, retired_at=None).first()
    if found is None:
        raise NotFound("There is no such seal in use.")
    return found


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
