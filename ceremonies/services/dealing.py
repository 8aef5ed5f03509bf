"""Making and handing out a set of shares: deal, show once, confirm, store the package, put it in force."""

import hashlib
from typing import Any
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from ceremonies.models import Ceremony, CustodyEntry, Participant, Share, ShareGeneration, SignOff
from ceremonies.planning import RoomRole
from ceremonies.process.client import HolderGroup, Shown
from ceremonies.room_errors import AlreadyDone, NotYours, QuorumLost
from ceremonies.script import Action
from ceremonies.services.frame import Scene, in_room, need_role
from ceremonies.services.room import active_people, go_on
from ceremonies.services.work import RUNNING, ceremony_process, erase, go_back, need_action, perform, rfc3339
from ceremonies.shamir import SetRecord
from ceremonies.states import GENERATION_MOVES, SHARE_MOVES, GenerationState, ShareState, may_move
from keys.crypto.secret import SecretBytes
from keys.models import KeyVersion
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import ValidationFailed, WrongState

ITERATION_EXPONENT = 1  # SLIP-39: 20,000 rounds of PBKDF2; the secret split is a random key, not a password


def deal(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Make the escrow key, export the master key under it, split it among the share holders present; the operator does."""

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        holders = _holders(ceremony)
        process = ceremony_process()
        process.destroy(ceremony_id=ceremony.pk)
        opening = process.begin(ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, practice=ceremony.practice)
        process.make_escrow_key(ceremony_id=ceremony.pk, nonce=opening.nonce)
        version = _version_in_use(ceremony)
        master = process.wrap_master_key(
            ceremony_id=ceremony.pk, nonce=opening.nonce, version_id=version.pk if version else None,
            person_id=ceremony.planned_by_id if version else None, approval_id=ceremony.approval_id,
        )  # fmt: skip
        number, used = _next_number(ceremony)
        record = process.split(
            ceremony_id=ceremony.pk, nonce=opening.nonce, generation=number, iteration_exponent=ITERATION_EXPONENT, avoid=used,
            groups=[HolderGroup(ceremony.threshold, tuple(str(seat.pk) for seat in holders))],
        )  # fmt: skip
        return {"opening": opening, "master": master, "record": record, "holders": holders, "number": number}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        ceremony, record, master = scene.ceremony, found["record"], found["master"]
        ShareGeneration.objects.filter(ceremony=ceremony).delete()  # dealt before in this ceremony, never in force
        generation = ShareGeneration.objects.create(
            ceremony=ceremony, key=ceremony.key, practice=ceremony.practice, number=found["number"], set_id=record.set_id,
            threshold=ceremony.threshold, share_count=record.count, record=record.as_json(), check_value=master.check,
            key_version=None if ceremony.practice else master.key_version,
        )  # fmt: skip
        Share.objects.bulk_create([
            Share(generation=generation, index=index, person_id=seat.person_id, custodian=seat.name, email=seat.email, site=seat.site,
                  custodian_id=str(seat.pk), check_value=record.commitments[index - 1].hex()[:8])
            for index, seat in enumerate(found["holders"], 1)
        ])  # fmt: skip
        Participant.objects.filter(ceremony=ceremony, role=RoomRole.HOLDER.value).update(share_index=None)
        for index, seat in enumerate(found["holders"], 1):
            Participant.objects.filter(pk=seat.pk).update(share_index=index)
        opening = found["opening"]
        ceremony.process = {"nonce": opening.nonce, "public_key": opening.public_key.hex()}
        return {
            "set": generation.set_name, "generation": generation.number, "threshold": ceremony.threshold, "shares": record.count,
            "check_value": master.check, "escrow_check": master.escrow_check, "wrap_algorithm": master.wrap_algorithm,
        }  # fmt: skip

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.DEAL,
        roles=(RoomRole.OPERATOR,),
        effect=effect,
        result=result,
    )


def show_share(*, actor: Actor, ceremony_id: UUID, step: int) -> tuple[Share, Shown]:
    """The caller's own share, once. The words are for this one answer: wipe them after. Raises AlreadyDone, NotYours.

    It counts as seen before it is asked for, so that an answer that never arrives is not shown a second time.
    """
    with in_room(actor, ceremony_id, "show_share", states=RUNNING, step=step) as scene:
        share = _own_share(scene)
        if share.state != ShareState.DEALT:
            raise AlreadyDone(
                "Your share was shown.",
                hint="If you could not write it down, tell the leader: all shares are then dealt again.",
            )
        _move(share, ShareState.SHOWN)
        share.shown_at = scene.now
        share.save(update_fields=["state", "shown_at"])
        nonce = scene.ceremony.process["nonce"]
        scene.record.record({"share": share.index, "custodian": share.custodian})
    shown = ceremony_process().share_for(
        ceremony_id=ceremony_id, nonce=nonce, index=share.index, custodian_id=share.custodian_id
    )
    share.positions, share.check_value = list(shown.positions), shown.check
    Share.objects.filter(pk=share.pk).update(positions=share.positions)
    return share, shown


def confirm_share(*, actor: Actor, ceremony_id: UUID, step: int, typed: SecretBytes, bag: str, place: str) -> Share:
    """The holder types the words asked for back and notes the bag; that is the holder's sign-off of the step, too.

    Raises ShareRefused (of ceremonies.errors), TooManyTries, ValidationFailed without a bag number.
    """
    if not bag.strip() or len(bag) > 50:
        raise ValidationFailed(errors={"bag": ["The number on the tamper-evident bag, at most 50 characters."]})
    with in_room(actor, ceremony_id, "confirm_share_begin", states=RUNNING, step=step) as scene:
        share = _own_share(scene)
        if share.state != ShareState.SHOWN:
            raise WrongState(
                "Let your share be shown first." if share.state == ShareState.DEALT else "Your share is confirmed."
            )
        nonce = scene.ceremony.process["nonce"]
    ceremony_process().confirm(ceremony_id=ceremony_id, nonce=nonce, custodian_id=share.custodian_id, typed=typed)
    with in_room(actor, ceremony_id, "confirm_share", states=RUNNING, step=step, any_clock=True) as scene:
        share = _own_share(scene)
        _move(share, ShareState.HELD)
        share.confirmed_at = share.proved_at = scene.now
        share.bag, share.place = bag.strip(), place.strip() or scene.me.site
        share.save(update_fields=["state", "confirmed_at", "proved_at", "bag", "place"])
        CustodyEntry.objects.create(
            generation_id=share.generation_id,
            share=share,
            what=CustodyEntry.What.SEALED,
            bag=share.bag,
            place=share.place,
            by=scene.me.name,
        )
        SignOff.objects.get_or_create(participant=scene.me, step=step, defaults={"ceremony": scene.ceremony})
        scene.record.record(
            {"share": share.index, "custodian": share.custodian, "bag": share.bag, "place": share.place}
        )
        if not share.generation.shares.exclude(state=ShareState.HELD.value).exists():
            scene.ceremony.acted = True
            go_on(scene, scene.ceremony.read_script())
    return share


def deal_again(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Go back and split anew, when somebody could not write a share down or a holder was replaced; shares shown so far are void."""
    with in_room(actor, ceremony_id, "deal_again", states=RUNNING) as scene:
        need_role(scene.me, RoomRole.LEADER)
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        go_back(
            scene,
            Action.DEAL,
            happened=reason.strip(),
            decision="New shares are made; cards written so far are destroyed.",
        )
        scene.record.record({"reason": reason.strip()})


def store_package(*, actor: Actor, ceremony_id: UUID, step: int, bag: str, place: str) -> None:
    """Take the offline package out of the process, and note its bag and place; the operator does."""
    errors = {name: ["Needed."] for name, value in (("bag", bag), ("place", place)) if not value.strip()}
    if errors:
        raise ValidationFailed(errors=errors)

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        made = ceremony_process().package(
            ceremony_id=ceremony.pk, nonce=ceremony.process["nonce"], made_by=actor.label, made_at=rfc3339()
        )
        return {"package": made}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        generation = scene.ceremony.generation
        generation.package = found["package"]
        generation.package_sha256 = hashlib.sha256(found["package"]).hexdigest()
        generation.package_bag, generation.package_place = bag.strip()[:50], place.strip()[:200]
        generation.save(update_fields=["package", "package_sha256", "package_bag", "package_place"])
        CustodyEntry.objects.create(
            generation=generation,
            what=CustodyEntry.What.SEALED,
            bag=generation.package_bag,
            place=generation.package_place,
            by=scene.me.name,
        )
        return {
            "package_sha256": generation.package_sha256,
            "bag": generation.package_bag,
            "place": generation.package_place,
        }

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.STORE_PACKAGE,
        roles=(RoomRole.OPERATOR,),
        effect=effect,
        result=result,
    )


def activate(*, actor: Actor, ceremony_id: UUID, step: int) -> None:
    """Put the new set in force, and end the one before; from here nobody can go back. The leader does."""

    def effect(ceremony: Ceremony) -> dict[str, Any]:
        return {}

    def result(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
        ceremony, generation = scene.ceremony, scene.ceremony.generation
        if generation.shares.exclude(state=ShareState.HELD.value).exists() or not generation.package_sha256:
            raise WrongState("Not every share is confirmed, or the package is not stored.")
        older = ShareGeneration.objects.select_for_update().filter(
            state=GenerationState.ACTIVE.value, key=ceremony.key, practice=ceremony.practice
        )
        ended = [old.number for old in older]
        for old in older:
            end_generation(old, f"Followed by the set {generation.set_name}.", by=scene.me.name)
        generation.state, generation.activated_at = GenerationState.ACTIVE.value, scene.now
        generation.save(update_fields=["state", "activated_at"])
        ceremony.result = {
            "set": generation.set_name, "generation": generation.number, "check_value": generation.check_value,
            "package_sha256": generation.package_sha256, "ended_generations": ended,
        }  # fmt: skip
        return dict(ceremony.result)

    perform(
        actor=actor,
        ceremony_id=ceremony_id,
        step=step,
        action=Action.ACTIVATE,
        roles=(RoomRole.LEADER,),
        effect=effect,
        result=result,
    )
    erase(ceremony_id)


def end_generation(generation: ShareGeneration, reason: str, *, by: str) -> None:
    """Mark a set and all its shares dead; the caller is inside a transaction."""
    if not may_move(GENERATION_MOVES, GenerationState(generation.state), GenerationState.DEAD):
        raise WrongState("This set is dead already.")
    generation.state, generation.ended_at, generation.end_reason = (
        GenerationState.DEAD.value,
        timezone.now(),
        reason[:200],
    )
    generation.save(update_fields=["state", "ended_at", "end_reason"])
    generation.shares.exclude(state=ShareState.DEAD.value).update(state=ShareState.DEAD.value)
    CustodyEntry.objects.create(
        generation=generation, what=CustodyEntry.What.DESTROYED, reason=reason[:500], by=by[:200]
    )


def older_records(generation: ShareGeneration) -> list[SetRecord]:
    """The public records of the other sets of the same key, so that a share of one is named as such."""
    sets = ShareGeneration.objects.filter(key=generation.key, practice=generation.practice)
    rows = sets.exclude(pk=generation.pk).order_by("-created_at")
    return [row.public_record for row in rows[:50]]


def _next_number(ceremony: Ceremony) -> tuple[int, list[int]]:
    sets = ShareGeneration.objects.filter(key=ceremony.key, practice=ceremony.practice).exclude(ceremony=ceremony)
    return (sets.aggregate(last=Max("number"))["last"] or 0) + 1, list(sets.values_list("set_id", flat=True)[:1000])


def _version_in_use(ceremony: Ceremony) -> KeyVersion | None:
    if ceremony.practice:
        return None
    version = ceremony.key.current if ceremony.key else None
    if version is None:
        raise WrongState("The key has no version in use.")
    return version


def _holders(ceremony: Ceremony) -> list[Participant]:
    holders = [seat for seat in active_people(ceremony) if seat.room_role is RoomRole.HOLDER]
    holders.sort(key=lambda seat: (seat.share_index or 99, seat.position))
    if len(holders) != ceremony.share_count:
        raise QuorumLost(f"{ceremony.share_count} share holders are needed, {len(holders)} are here.")
    return holders


def _own_share(scene: Scene) -> Share:
    need_role(scene.me, RoomRole.HOLDER)
    need_action(scene, Action.HAND_OUT)
    share = Share.objects.select_for_update(of=("self",)).select_related("generation").filter(
        generation__ceremony=scene.ceremony, index=scene.me.share_index or 0
    ).first()  # fmt: skip
    if share is None:
        raise NotYours("There is no share for you.")
    return share


def _move(share: Share, new: ShareState) -> None:
    if not may_move(SHARE_MOVES, ShareState(share.state), new):
        raise WrongState(f"A share that is {share.state} cannot become {new.value}.")
    share.state = new.value
