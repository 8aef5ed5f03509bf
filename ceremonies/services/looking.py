"""What one person in the room sees: who is here, which step, what is expected of them. Reads only."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from ceremonies.models import Ceremony, Participant, Share
from ceremonies.planning import RoomRole
from ceremonies.script import Action, Script, Step, Who
from ceremonies.services.deeds import DEEDS
from ceremonies.services.gathering import PASSPHRASE_AT, share_brought, wants_passphrase
from ceremonies.services.handing import left_to_confirm, share_to_hand_out
from ceremonies.services.outside import is_found_open
from ceremonies.services.proving import challenge_for
from ceremonies.services.room import HERE_FOR, active_people, may_commit, missing_signers, quorum_lost, signers
from ceremonies.services.work import nobodys_key
from ceremonies.states import ENDED, CeremonyState, ShareState
from keys.crypto import receiving
from keys.services import unsealing
from keys.services.commands import seal_command

C = CeremonyState


@dataclass(frozen=True, slots=True)
class Row:
    """One person in the table of the room."""

    seat: Participant
    standing: str  # here, away or gone
    may_identify: bool
    signed: bool
    awaited: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What is expected of me now: a name that the template draws, a sentence, and what it needs."""

    name: str
    text: str
    share: Share | None = None
    facts: dict[str, Any] | None = None

    @property
    def command(self) -> str:
        """How the offline tool does what the page's script does, for a part in which something secret is typed."""
        facts = self.facts or {}
        if "challenge" in facts:
            return f"python3 offline.py prove --salt {facts['salt']} --challenge {facts['challenge']}"
        bound = receiving.context(
            **{name: facts[name] for name in ("ceremony", "custodian", "script", "step")}
        ).decode()
        return seal_command(facts["key"], bound) + (" --as-typed" if self.name == "passphrase" else "")

    @property
    def act(self) -> str:
        """The last part of the address that this part's form goes to."""
        return self.name.replace("_", "-")


def tag_of(ceremony: Ceremony, seats: list[Participant]) -> str:
    """Changes whenever anything in the live part of the page does; two columns of rows that are read anyway."""
    return f"{ceremony.version}.{here_tag(seats)}"


def here_tag(seats: list[Participant]) -> str:
    """Changes with who is here."""
    now = timezone.now()
    here = ",".join(str(seat.pk.int % 10_000) for seat in seats if is_here(seat, now))
    return hashlib.sha256(here.encode()).hexdigest()[:8]


def is_here(seat: Participant, now: Any) -> bool:
    """Whether this seat's page was open a moment ago."""
    return seat.left_at is None and seat.seen_at is not None and now - seat.seen_at < HERE_FOR + timedelta(seconds=1)


def look(ceremony: Ceremony, me: Participant | None, seats: list[Participant]) -> dict[str, Any]:
    """Context of the live page; about six queries."""
    script, now = ceremony.read_script(), timezone.now()
    step = script.steps[ceremony.step]
    people = active_people(ceremony)
    under_way = ceremony.status in {C.RUNNING, C.PAUSED, C.COMMITTED}
    awaited = {seat.pk for seat in missing_signers(ceremony, step, people)} if under_way else set()
    needed = {seat.pk for seat in signers(step, people)} if under_way else set()
    rows = [
        Row(
            seat, "gone" if seat.left_at else "here" if is_here(seat, now) else "away", _may_identify(me, seat, ceremony),
            seat.pk in needed and seat.pk not in awaited, seat.pk in awaited,
        )
        for seat in seats
    ]  # fmt: skip
    part = part_of(ceremony, me, script, step, awaited)
    return {
        "rows": rows, "steps": _steps(ceremony, script), "step": step, "number": ceremony.step, "under_way": under_way,
        "part": part, "part_tag": _part_tag(ceremony, part), "tag": tag_of(ceremony, seats), "deviations": list(ceremony.deviations.all()),
        "quorum_lost": ceremony.status not in ENDED and ceremony.status is not C.COMMITTED and under_way and quorum_lost(ceremony, people),
        "here": sum(row.standing == "here" for row in rows), "expected_here": sum(row.standing != "gone" for row in rows), "now": now,
        "awaited": _awaited(ceremony, step) if "missing" in ceremony.process and step.action in {Action.COLLECT, Action.VERIFY} else "",
        "leaderless": under_way and all(seat.role != RoomRole.LEADER for seat in people), "process": ceremony.process,
    }  # fmt: skip


def part_of(ceremony: Ceremony, me: Participant | None, script: Script, step: Step, awaited: set[Any]) -> Part:  # noqa: PLR0911
    """The one thing that this person is asked to do next."""
    if me is None or (me.room_role is RoomRole.EXTERNAL_WITNESS and ceremony.status is not C.COMMITTED):
        return Part("watch", "You may watch; nothing is asked of you.")
    if ceremony.status in ENDED:
        return Part("over", "The ceremony is over.")
    if me.left_at is not None:
        return Part("over", "You left this ceremony.")
    if me.confirmed_at is None:
        return Part("confirm", "Read the beginning of the script's hash aloud, and type it.")
    if me.identified_at is None:
        by = "The leader" if me.room_role is RoomRole.INTERNAL_WITNESS else "The internal witness"
        return Part("wait", f"{by} says who you are. Show your identity card.")
    if me.room_role is RoomRole.DEPUTY:
        principal = me.deputy_for
        return (
            Part("stand_in", f"{principal} left. You can stand in.")
            if principal and principal.left_at
            else Part("wait", f"You stand in if {principal} leaves.")
        )
    if ceremony.status is C.GATHERING:
        return (
            Part("start", _before_the_start(ceremony))
            if me.room_role is RoomRole.LEADER
            else Part("wait", "The leader begins when everybody is ready.")
        )
    if ceremony.status is C.PAUSED:
        return (
            Part("resume", "The ceremony is paused.")
            if me.room_role is RoomRole.LEADER
            else Part("wait", "The ceremony is paused; the leader resumes it.")
        )
    return _at_work(ceremony, me, script, step, awaited)


def _before_the_start(ceremony: Ceremony) -> str:
    """Whom the leader waits for."""
    late = [seat.name for seat in active_people(ceremony) if seat.identified_at is None or seat.confirmed_at is None]
    if not late:
        return "Everybody is identified and has confirmed the script. Begin when you are ready."
    names = ", ".join(late)
    return f"Not identified, or the script not confirmed yet: {names}. You can begin without a share holder where the quorum allows it."


def _at_work(ceremony: Ceremony, me: Participant, script: Script, step: Step, awaited: set[Any]) -> Part:
    if ceremony.busy_at is not None:
        return Part("busy", "The portal is at work on this step.")
    if not ceremony.acted and (found := _before_it_is_done(ceremony, me, step, awaited)) is not None:
        return found
    if me.pk in awaited:
        return Part("sign", step.expected)
    if ceremony.step + 1 == len(script.steps) and me.attested_at is None:
        return Part("attest", "Say whether you were present throughout and the script was followed.")
    mine = any(who in step.sign_off for who in (Who.EVERYBODY, me.role))
    return Part("wait", "You have done your part of this step." if mine else "This step asks nothing of you.")


def _before_it_is_done(  # noqa: PLR0911
    ceremony: Ceremony, me: Participant, step: Step, awaited: set[Any]
) -> Part | None:
    """My part in a step whose act is still to be done; None where it is the sign-off like everybody's."""
    mine, process = me.room_role, ceremony.process
    if step.commits and me.pk in awaited:
        return Part("sign", "Nobody can go back after this step. Sign if you agree that it is done now.")
    if mine is RoomRole.LEADER and (phrase := _passphrase(ceremony, me, step)) is not None:
        return phrase
    if step.action in _HOLDERS_PARTS and mine is RoomRole.HOLDER:
        return _HOLDERS_PARTS[step.action](ceremony, me, step)
    if step.action in {Action.COLLECT, Action.VERIFY} and mine is RoomRole.OPERATOR and "attempt" in process:
        return Part("gathering", f"{_awaited(ceremony, step)}.", facts={"cancel": step.action is Action.VERIFY})
    if (
        step.action is Action.DEAL
        and mine is RoomRole.OPERATOR
        and ceremony.with_passphrase
        and not process.get("passphrase")
    ):
        if "nonce" in process:
            return Part("wait", "The leader types the passphrase; then you make the shares.")
        return Part("begin", "Begin. The leader is then asked for the passphrase of the new set.")
    if step.action is Action.HAND_OUT:
        left = left_to_confirm(ceremony)
        return Part("deal_again" if mine is RoomRole.LEADER else "wait", f"{_shares_are(left)} not confirmed yet.")
    if step.action is Action.GIVE:
        if mine is RoomRole.OPERATOR and is_found_open(ceremony):
            return Part("perform", "The portal is open, and the answer to a share was not written down: end this step.")
        return Part("wait", "The share holders act.")
    deed = DEEDS.get(step.action)
    if deed is None:
        return Part("wait", "The share holders act.") if step.action in _HOLDERS_PARTS else None
    ready = not step.commits or may_commit(ceremony, step)
    if deed.role is mine and ready:
        return Part("perform", step.text)
    if not ready:
        return Part("wait", "Others still have to sign before the act.")
    return Part("wait", f"The {deed.role.value.replace('_', ' ')} acts.")


def _awaited(ceremony: Ceremony, step: Step) -> str:
    """What is still to come in, in words."""
    process = ceremony.process
    if step.action is Action.VERIFY or ceremony.source is None:
        return f"{_shares_are(process['missing'], ' more')} needed"
    if len(ceremony.source.quorum.groups) > 1 and process["missing"]:
        return f"Needed: {ceremony.source.quorum.awaited(process['given'])}"
    return f"{_shares_are(process['missing'], ' more')} needed" if process["missing"] else "The quorum is here"


def _shares_are(count: int, more: str = "") -> str:
    """Such as "1 more share is"."""
    return f"{count}{more} {'share is' if count == 1 else 'shares are'}"


def _passphrase(ceremony: Ceremony, me: Participant, step: Step) -> Part | None:
    """The leader's field for the passphrase, as long as the process holds a session that can take it."""
    if step.action not in PASSPHRASE_AT or not wants_passphrase(ceremony, step.action):
        return None
    if "nonce" not in ceremony.process:
        return Part("wait", "The operator begins; then you are asked for the passphrase.")
    text = "Type the passphrase. It is encrypted before it leaves this page."
    if ceremony.process.get("passphrase"):
        text = "The passphrase is in. If it was wrong, type it again: the shares stay."
    return Part("passphrase", text, facts=_sealing(ceremony, step, str(me.pk)) | {"twice": step.action is Action.DEAL})


def _hand_out(ceremony: Ceremony, me: Participant, step: Step) -> Part:
    share = share_to_hand_out(ceremony, me.share_index)
    if share is None:
        return Part("wait", "There is no share for you in this step.")
    if share.state == ShareState.HELD:
        return Part("wait", "Your share is confirmed. Others are still at theirs.")
    if share.state == ShareState.SHOWN:
        text = "Type the words asked for from your card, not from the screen. They are encrypted before they leave this page."
        return Part("confirm_share", text, share, _sealing(ceremony, step, share.custodian_id))
    return Part("show_share", "Make sure that nobody else sees your screen. Your share is shown once.", share)


def _collect(ceremony: Ceremony, me: Participant, step: Step) -> Part:
    process = ceremony.process
    if "attempt" not in process:
        return Part("wait", "The operator begins to gather the shares.")
    index = share_brought(ceremony, me, step.action)
    if index is None:
        return Part("wait", "You hold no share of the old set: others hand theirs in.")
    if index in process["given"]:
        return Part("wait", f"Your share is in. {_awaited(ceremony, step)}.")
    custodian = process["holders"].get(str(index), str(me.pk))
    if step.action is Action.VERIFY:
        text = "Type all words of your new share, from the card. They are encrypted before they leave this page."
    else:
        text = "Open your bag and type the words of your share. They are encrypted before they leave this page."
    return Part("submit", text, facts=_sealing(ceremony, step, custodian) | {"attempt": process["attempt"]})


def _sealing(ceremony: Ceremony, step: Step, custodian: str, key: str = "") -> dict[str, Any]:
    """What the page's script seals to (the ceremony process, if no other key is given) and binds."""
    return {
        "ceremony": str(ceremony.pk), "script": ceremony.script_hash, "step": step.id, "custodian": custodian,
        "key": key or ceremony.process["public_key"],
    }  # fmt: skip


def _enter(ceremony: Ceremony, me: Participant, step: Step) -> Part:
    process = ceremony.process
    if me.share_index in process["entered"]:
        return Part("wait", f"Your component is in. {ceremony.share_count - len(process['entered'])} more are needed.")
    if not may_commit(ceremony, step):
        return Part("wait", "Others still have to sign before the components are entered.")
    values = process.get("component_values") or []
    known = f" with the check value {values[me.share_index - 1]}" if me.share_index and values else ""
    text = f"Type component {me.share_index}{known}. It is encrypted before it leaves this page, compared at once and shown to nobody."
    return Part("enter", text, facts=_sealing(ceremony, step, str(me.pk)))


def _give(ceremony: Ceremony, me: Participant, step: Step) -> Part:
    if not may_commit(ceremony, step):
        return Part("wait", "Others still have to sign before the shares are given.")
    if ceremony.practice:
        key = nobodys_key(ceremony)
    else:
        status = unsealing.attempt()
        if not status["sealed"]:
            return Part("wait", "The portal is open: nothing is to be unsealed.")
        key = status["public_key"]
    text = "Type the words of your share of the portal's seal. They are encrypted before they leave this page, to the keyholder of this machine."
    return Part("give", text, facts=_sealing(ceremony, step, str(me.pk), key))


def _prove(ceremony: Ceremony, me: Participant, step: Step) -> Part | None:
    if str(me.share_index) in ceremony.process.get("proved", {}):
        return None
    assert ceremony.source is not None
    record = ceremony.source.public_record
    facts = {
        "set-id": record.set_id,
        "challenge": base64.b64encode(challenge_for(ceremony, me)).decode(),
        "salt": record.salt.hex(),
    }
    return Part(
        "prove", "Open your bag and type the words. Only a proof leaves this page, never the words.", facts=facts
    )


_HOLDERS_PARTS: Mapping[Action, Callable[[Ceremony, Participant, Step], Part | None]] = {
    Action.HAND_OUT: _hand_out, Action.COLLECT: _collect, Action.VERIFY: _collect, Action.PROVE: _prove, Action.ENTER: _enter, Action.GIVE: _give,
}  # fmt: skip


def _may_identify(me: Participant | None, seat: Participant, ceremony: Ceremony) -> bool:
    if (
        me is None
        or me.left_at is not None
        or seat.pk == me.pk
        or seat.identified_at is not None
        or seat.left_at is not None
        or ceremony.status in ENDED
    ):
        return False
    wanted = RoomRole.LEADER if seat.room_role is RoomRole.INTERNAL_WITNESS else RoomRole.INTERNAL_WITNESS
    return me.room_role is wanted


def _steps(ceremony: Ceremony, script: Script) -> list[dict[str, Any]]:
    """The script as the stepper draws it."""
    found = []
    for number, step in enumerate(script.steps):
        state = "todo"
        if ceremony.status is C.CLOSED or (ceremony.started_at and number < ceremony.step):
            state = "done"
        elif number == ceremony.step and ceremony.started_at:
            state = {C.ABORTED: "failed", C.PAUSED: "paused"}.get(ceremony.status, "current")
        found.append({"title": step.title, "state": state, "note": step.who.value.replace("_", " ")})
    return found


def _part_tag(ceremony: Ceremony, part: Part) -> str:
    """Changes when my own part does, and not when others' do: what I am typing stays."""
    seed = f"{ceremony.state}.{ceremony.step}.{part.name}.{part.text}.{part.share.state if part.share else ''}.{sorted((part.facts or {}).items())}"
    return hashlib.sha256(seed.encode()).hexdigest()[:12]
