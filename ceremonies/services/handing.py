"""Handing shares out: each sealed once to a key of its one reader, then typed back, sealed again, and put in a bag."""

import hashlib
from uuid import UUID

from django.db import transaction

from ceremonies.models import Ceremony, CustodyEntry, Share, ShareGeneration, SignOff
from ceremonies.planning import RoomRole
from ceremonies.process.client import RecipientKind, SealedShare
from ceremonies.room_errors import AlreadyDone, NotYours
from ceremonies.script import Action, Kind
from ceremonies.services.frame import Scene, in_room, locked, need_role
from ceremonies.services.gathering import unpacked
from ceremonies.services.room import go_on
from ceremonies.services.work import RUNNING, ceremony_process, need_action, session_over
from ceremonies.states import SHARE_MOVES, ShareState, may_move
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import ValidationFailed, WrongState

# Here a share has no row of its own before the commit, and what happens to it is noted in the ceremony.
NOTED = frozenset({Kind.REISSUE, Kind.REKEY})
LARGEST_KEY = 16 * 1024  # bytes of a public key or certificate


def seal_share(
    *, actor: Actor, ceremony_id: UUID, step: int, kind: RecipientKind, key: bytes
) -> tuple[Share, SealedShare, str]:
    """The caller's own share, once, under a key of their page or of their own, and the id of the step it is bound to.

    Neither this server nor the database ever has the words. The ciphertext is kept nowhere, either. It counts as seen before it
    is asked for, so that an answer that never arrives is not given a second time. Raises AlreadyDone, NotYours, and ShareRefused
    (of ceremonies.errors) for a key that cannot be used; the share then counts as unseen.
    """
    if not 0 < len(key) <= LARGEST_KEY:
        raise ValidationFailed(errors={"key": ["Give your public key."]})
    share, nonce, step_id = _seen(actor, ceremony_id, step, kind, key)
    try:
        with session_over(actor, ceremony_id, step, nonce=nonce):
            sealed = ceremony_process().sealed_share_for(
                ceremony_id=ceremony_id, nonce=nonce, index=share.index, custodian_id=share.custodian_id, step=step_id, kind=kind, key=key,
            )  # fmt: skip
    except ValidationFailed:
        _unseen(ceremony_id, share)
        raise
    _asked_back(ceremony_id, share, sealed.positions, sealed.check)
    return share, sealed, step_id


def confirm_share(*, actor: Actor, ceremony_id: UUID, step: int, sealed: str, bag: str, place: str) -> Share:
    """The holder types the words asked for back and notes the bag; that is the holder's sign-off of the step, too.

    The words come sealed to the ceremony, and are compared in its process. Raises SealedWrongly, ShareRefused (of
    ceremonies.errors), TooManyTries, ValidationFailed without a bag number.
    """
    ciphertext = unpacked(sealed)
    if not bag.strip() or len(bag) > 50:
        raise ValidationFailed(errors={"bag": ["The number on the tamper-evident bag, at most 50 characters."]})
    with in_room(actor, ceremony_id, "confirm_share_begin", states=RUNNING, step=step) as scene:
        share = _own_share(scene)
        if share.state != ShareState.SHOWN:
            raise WrongState(
                "Let your share be shown first." if share.state == ShareState.DEALT else "Your share is confirmed."
            )
        nonce, step_id = scene.ceremony.process["nonce"], scene.step.id
    with session_over(actor, ceremony_id, step, nonce=nonce):
        ceremony_process().confirm(
            ceremony_id=ceremony_id, nonce=nonce, custodian_id=share.custodian_id, step=step_id, ciphertext=ciphertext
        )
    with in_room(actor, ceremony_id, "confirm_share", states=RUNNING, step=step, any_clock=True) as scene:
        share = _own_share(scene)
        _move(share, ShareState.HELD)
        share.confirmed_at = share.proved_at = scene.now
        share.bag, share.place = bag.strip(), (place.strip() or scene.me.site)[:200]
        _keep(scene.ceremony, share, "state", "confirmed_at", "proved_at", "bag", "place")
        if share.pk is not None:
            CustodyEntry.objects.create(
                generation_id=share.generation_id, share=share, what=CustodyEntry.What.SEALED, bag=share.bag, place=share.place,
                by=scene.me.name,
            )  # fmt: skip
        SignOff.objects.get_or_create(participant=scene.me, step=step, defaults={"ceremony": scene.ceremony})
        scene.record.record(
            {"share": share.index, "custodian": share.custodian, "bag": share.bag, "place": share.place}
        )
        if not left_to_confirm(scene.ceremony):
            scene.ceremony.acted = True
            go_on(scene, scene.ceremony.read_script())
    return share


def share_to_hand_out(ceremony: Ceremony, index: int | None) -> Share | None:
    """The share that the holder of this number gets here; one made again has no row of its own before the commit."""
    if Kind(ceremony.kind) in NOTED:
        notes = ceremony.process.get("shares", {}).get(str(index))
        return Share(generation=_noted_set(ceremony), **notes) if notes else None
    shares = Share.objects.select_related("generation__ceremony")
    return shares.filter(generation__ceremony=ceremony, index=index or 0).first()


def _noted_set(ceremony: Ceremony) -> ShareGeneration:
    """The set that a share without a row belongs to; that of the portal's seal is in no register of keys."""
    if ceremony.source is not None:
        return ceremony.source
    return ShareGeneration(
        ceremony=ceremony, threshold=ceremony.threshold, share_count=ceremony.share_count, set_id=ceremony.process["set_id"],
        practice=ceremony.practice,
    )  # fmt: skip


def left_to_confirm(ceremony: Ceremony) -> int:
    """How many shares are not confirmed yet."""
    if Kind(ceremony.kind) in NOTED:
        return sum(notes["state"] != ShareState.HELD for notes in ceremony.process.get("shares", {}).values())
    return Share.objects.filter(generation__ceremony=ceremony).exclude(state=ShareState.HELD.value).count()


def _seen(actor: Actor, ceremony_id: UUID, step: int, kind: RecipientKind, key: bytes) -> tuple[Share, str, str]:
    """Count the caller's share as seen; the share, the session's nonce, and the step's id."""
    name = f"{kind.value} SHA-256 {hashlib.sha256(key).hexdigest()}"
    with in_room(actor, ceremony_id, "seal_share", states=RUNNING, step=step) as scene:
        share = _own_share(scene)
        if share.state != ShareState.DEALT:
            raise AlreadyDone(
                "Your share was shown.",
                hint="If you could not write it down, tell the leader: all shares are then dealt again.",
            )
        _move(share, ShareState.SHOWN)
        share.shown_at, share.sealed_to = scene.now, "" if kind is RecipientKind.PAGE else name
        _keep(scene.ceremony, share, "state", "shown_at", "sealed_to")
        scene.record.record({"share": share.index, "custodian": share.custodian, "sealed_to": name})
        return share, scene.ceremony.process["nonce"], scene.step.id


def _asked_back(ceremony_id: UUID, share: Share, positions: tuple[int, ...], check: str) -> None:
    share.positions, share.check_value = list(positions), check
    with transaction.atomic():
        ceremony = locked(ceremony_id)
        _keep(ceremony, share, "positions", "check_value")
        ceremony.save(update_fields=["process"])


def _unseen(ceremony_id: UUID, share: Share) -> None:
    """Nothing was made for a key that cannot be used, so nothing was seen."""
    share.state, share.shown_at, share.sealed_to = ShareState.DEALT.value, None, ""
    with transaction.atomic():
        ceremony = locked(ceremony_id)
        _keep(ceremony, share, "state", "shown_at", "sealed_to")
        ceremony.version += 1
        ceremony.save(update_fields=["process", "version"])


def _own_share(scene: Scene) -> Share:
    need_role(scene.me, RoomRole.HOLDER)
    need_action(scene, Action.HAND_OUT)
    share = share_to_hand_out(scene.ceremony, scene.me.share_index)
    if share is None:
        raise NotYours("There is no share for you.")
    return share


def _keep(ceremony: Ceremony, share: Share, *fields: str) -> None:
    """Write these fields; of a share made again into the ceremony's own notes, so that an abort leaves the register alone."""
    if share.pk is not None:
        share.save(update_fields=fields)
        return
    noted = {name: getattr(share, name) for name in fields if not name.endswith("_at")}
    notes, index = ceremony.process["shares"], str(share.index)
    ceremony.process = ceremony.process | {"shares": notes | {index: notes[index] | noted}}


def _move(share: Share, new: ShareState) -> None:
    if not may_move(SHARE_MOVES, ShareState(share.state), new):
        raise WrongState(f"A share that is {share.state} cannot become {new.value}.")
    share.state = new.value
