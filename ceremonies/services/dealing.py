"""Making a set of shares: deal, verify under a second nonce, store the package, put it in force; `handing` hands them out."""

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from ceremonies.errors import NotReady
from ceremonies.models import Ceremony, CustodyEntry, Participant, Share, ShareGeneration
from ceremonies.planning import RoomRole
from ceremonies.process.client import HolderGroup, Opening, WrappedMaster
from ceremonies.room_errors import QuorumLost
from ceremonies.script import Action, Kind
from ceremonies.services.frame import Scene, in_room, need_role, note_deviation
from ceremonies.services.room import active_people
from ceremonies.services.work import RUNNING, Asked, Deed, ceremony_process, go_back, need_action, rfc3339
from ceremonies.shamir import SetRecord
from ceremonies.states import GENERATION_MOVES, GenerationState, ShareState, may_move
from keys.models import KeyVersion
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.errors import ValidationFailed, WrongState


def _open_session(asked: Asked) -> dict[str, Any]:
    return {"opening": begun(asked.ceremony)}


def begun(ceremony: Ceremony) -> Opening:
    """A fresh session of the process; one of before is forgotten with everything in it."""
    process = ceremony_process()
    process.destroy(ceremony_id=ceremony.pk)
    return process.begin(ceremony_id=ceremony.pk, script_hash=ceremony.script_hash, practice=ceremony.practice)


def named(opening: Opening) -> dict[str, str]:
    """What the room keeps of a session: nothing of it is secret."""
    return {"nonce": opening.nonce, "public_key": opening.public_key.hex()}


def _session_opened(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    scene.ceremony.process = named(found["opening"])
    return {"passphrase": "awaited"}


begin = Deed(Action.DEAL, RoomRole.OPERATOR, _session_opened, _open_session, done=False)
"""Where a passphrase is wanted: begin the session that the leader's browser seals it to."""


def _make(asked: Asked) -> dict[str, Any]:
    ceremony, process = asked.ceremony, ceremony_process()
    holders, unwrapped = holders_of(ceremony), ceremony.process.get("unwrapped", False)
    if ceremony.with_passphrase and not ceremony.process.get("passphrase"):
        raise NotReady("The leader has not given the passphrase yet.")
    names: dict[str, Any] = ceremony.process if ceremony.with_passphrase or unwrapped else named(begun(ceremony))
    session: dict[str, Any] = {"ceremony_id": ceremony.pk, "nonce": names["nonce"]}
    process.make_escrow_key(**session)
    version = None if unwrapped else _version_in_use(ceremony)
    master = process.wrap_master_key(
        **session, version_id=version.pk if version else None, person_id=ceremony.planned_by_id if version else None,
        approval_id=ceremony.approval_id,
    )  # fmt: skip
    number, used = _next_number(ceremony)
    if ceremony.source is not None:
        used.append(ceremony.source.set_id)
    quorum = ceremony.quorum
    groups = [
        HolderGroup(group.threshold, tuple(str(holders[index].pk) for index in quorum.indices(place)))
        for place, group in enumerate(quorum.groups)
    ]
    record = process.split(
        **session, generation=number, iteration_exponent=ceremony.iteration_exponent, avoid=used, groups=groups,
        group_threshold=quorum.needed,
    )  # fmt: skip
    return {"names": names, "master": master, "record": record, "holders": holders, "number": number}


def _made(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony, record, master = scene.ceremony, found["record"], found["master"]
    ShareGeneration.objects.filter(ceremony=ceremony).delete()  # dealt before in this ceremony, never in force
    generation = ShareGeneration.objects.create(
        ceremony=ceremony, key=ceremony.key, practice=ceremony.practice, number=found["number"], set_id=record.set_id,
        threshold=ceremony.threshold, share_count=record.count, record=record.as_json(), check_value=master.check,
        key_version=_version_named(ceremony, master), with_passphrase=ceremony.with_passphrase,
    )  # fmt: skip
    holders: dict[int, Participant] = found["holders"]
    Share.objects.bulk_create([
        Share(generation=generation, index=index, person_id=seat.person_id, custodian=seat.name, email=seat.email, site=seat.site,
              custodian_id=str(seat.pk), check_value=record.commitments[index - 1].hex()[:8])
        for index, seat in holders.items()
    ])  # fmt: skip
    Participant.objects.filter(ceremony=ceremony, role=RoomRole.HOLDER.value).update(share_index=None)
    for index, seat in holders.items():
        Participant.objects.filter(pk=seat.pk).update(share_index=index)
    ceremony.process = dict(found["names"])
    return {
        "set": generation.set_name, "generation": generation.number, "quorum": ceremony.quorum.words, "shares": record.count,
        "passphrase": ceremony.with_passphrase, "check_value": master.check, "escrow_check": master.escrow_check,
        "wrap_algorithm": master.wrap_algorithm,
    }  # fmt: skip


deal = Deed(Action.DEAL, RoomRole.OPERATOR, _made, _make)
"""Make the escrow key, export the master key under it, split it among the share holders present."""


_BEGINS_AT = {Kind.REISSUE: Action.COLLECT, Kind.REKEY: Action.DEAL_SEAL}


def deal_again(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Go back and split anew, when somebody could not write a share down or a holder was replaced; shares shown so far are void."""
    with in_room(actor, ceremony_id, "deal_again", states=RUNNING) as scene:
        need_role(scene.me, RoomRole.LEADER)
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        first = _BEGINS_AT.get(Kind(scene.ceremony.kind), Action.DEAL)
        if scene.ceremony.read_script().number_of(Action.UNWRAP) is not None:
            first = Action.COLLECT
        go_back(
            scene, first, happened=reason.strip(), decision="New shares are made; cards written so far are destroyed."
        )
        scene.record.record({"reason": reason.strip()})


def _open_verification(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    attempt = ceremony_process().verify_new_shares(ceremony_id=ceremony.pk, nonce=ceremony.process["nonce"])
    return {"attempt": attempt}


def _verification_opened(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    ceremony = scene.ceremony
    noted = ceremony.process.get("shares")
    if noted:
        holders = {index: notes["custodian_id"] for index, notes in noted.items()}
    else:
        holders = {str(share.index): share.custodian_id for share in ceremony.generation.shares.all()}
    ceremony.process = ceremony.process | {
        "attempt": found["attempt"], "given": [], "missing": len(holders), "holders": holders,
    }  # fmt: skip
    return {"shares": len(holders)}


verify = Deed(Action.VERIFY, RoomRole.OPERATOR, _verification_opened, _open_verification, done=False)
"""Ask for all new shares under a second nonce; `gathering.submit_share` takes them."""


def cancel_verification(*, actor: Actor, ceremony_id: UUID, reason: str) -> None:
    """Throw away what was handed in to verify the new shares; the set before stays in force, and the operator may begin again."""
    with in_room(actor, ceremony_id, "cancel_verification", states=RUNNING) as scene:
        need_role(scene.me, RoomRole.LEADER, RoomRole.OPERATOR)
        need_action(scene, Action.VERIFY)
        ceremony = scene.ceremony
        if not reason.strip():
            raise ValidationFailed(errors={"reason": ["Say why."]})
        if "attempt" not in ceremony.process:
            raise WrongState("No verification is under way.")
        nonce = ceremony.process["nonce"]
        ceremony.process = {
            name: value
            for name, value in ceremony.process.items()
            if name not in {"attempt", "given", "missing", "holders"}
        }
        note_deviation(
            ceremony, expected=scene.step.expected, happened=f"The verification was cancelled: {reason.strip()}",
            decision="The older set stays in force.", by=scene.me.name,
        )  # fmt: skip
        scene.record.record({"reason": reason.strip()})
    ceremony_process().cancel_attempt(ceremony_id=ceremony_id, nonce=nonce)


def _need_bag(values: Mapping[str, Any]) -> None:
    errors = {name: ["Needed."] for name in ("bag", "place") if not values[name].strip()}
    if errors:
        raise ValidationFailed(errors=errors)


def _package(asked: Asked) -> dict[str, Any]:
    ceremony = asked.ceremony
    made = ceremony_process().package(
        ceremony_id=ceremony.pk, nonce=ceremony.process["nonce"], made_by=asked.actor.label, made_at=rfc3339()
    )
    return {"package": made}


def _package_stored(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
    generation = scene.ceremony.generation
    generation.package = found["package"]
    generation.package_sha256 = hashlib.sha256(found["package"]).hexdigest()
    generation.package_bag, generation.package_place = found["bag"].strip()[:50], found["place"].strip()[:200]
    generation.save(update_fields=["package", "package_sha256", "package_bag", "package_place"])
    where = {"bag": generation.package_bag, "place": generation.package_place}
    CustodyEntry.objects.create(generation=generation, what=CustodyEntry.What.SEALED, by=scene.me.name, **where)
    return {"package_sha256": generation.package_sha256, **where}


store_package = Deed(Action.STORE_PACKAGE, RoomRole.OPERATOR, _package_stored, _package, check=_need_bag)
"""Take the offline package out of the process, and note its bag and place."""


def _activated(scene: Scene, found: dict[str, Any]) -> dict[str, Any]:
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
        "set": generation.set_name, "generation": generation.number, "quorum": generation.quorum.words,
        "check_value": generation.check_value, "package_sha256": generation.package_sha256, "ended_generations": ended,
    }  # fmt: skip
    return dict(ceremony.result)


activate = Deed(Action.ACTIVATE, RoomRole.LEADER, _activated, erases=True)
"""Put the new set in force, and end the one before; from here nobody can go back."""


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


def _version_named(ceremony: Ceremony, master: WrappedMaster) -> int | None:
    """Of the ceremony's own key: a package that brought it back in a recovery names the lost one."""
    if ceremony.practice:
        return None
    if ceremony.key is not None and ceremony.key.pk != master.key_id and (version := ceremony.key.current) is not None:
        return version.key_version
    return master.key_version


def _version_in_use(ceremony: Ceremony) -> KeyVersion | None:
    if ceremony.practice:
        return None
    version = ceremony.key.current if ceremony.key else None
    if version is None:
        raise WrongState("The key has no version in use.")
    return version


def holders_of(ceremony: Ceremony) -> dict[int, Participant]:
    """Who gets which share; with groups a seat's number says the group, and stays."""
    holders = [seat for seat in active_people(ceremony) if seat.room_role is RoomRole.HOLDER]
    holders.sort(key=lambda seat: (seat.share_index or 99, seat.position))
    if len(holders) != ceremony.share_count:
        raise QuorumLost(f"{ceremony.share_count} share holders are needed, {len(holders)} are here.")
    if ceremony.groups and [seat.share_index for seat in holders] != list(range(1, ceremony.share_count + 1)):
        raise QuorumLost("Not every group has all its share holders here.")
    return dict(enumerate(holders, 1))
