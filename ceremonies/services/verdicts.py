"""Whether a plan can be held: the solver's sentences, and what each kind asks for beyond the numbers."""

from dataclasses import replace

from ceremonies.models import Ceremony
from ceremonies.planning import RoomRole, Rules, Seat, Verdict, examine
from ceremonies.script import Action, Kind
from ceremonies.services.room import ALL_NEEDED, DEALING
from ceremonies.services.subjects import needs_subject
from ceremonies.states import ShareState
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.permissions import Permission

USES_SHARES = frozenset({Kind.RECOVERY, Kind.ROLL_CALL, Kind.REISSUE})  # the custodians of the set in force are seated
NEEDS_SHARES = DEALING | USES_SHARES | {Kind.BYOK}


def verdict(ceremony: Ceremony) -> Verdict:
    """What the solver says of the plan as it is."""
    seats = [
        Seat(key=seat.pk, who=seat.email.lower(), name=seat.name, role=seat.room_role, site=seat.site, line=seat.reporting_line,
             deputy_for=seat.deputy_for_id, share=seat.share_index)
        for seat in ceremony.participants.all()
    ]  # fmt: skip
    kind = Kind(ceremony.kind)
    rules = Rules(
        ceremony.quorum, allow_all=bool(ceremony.policy.get("allow_all")) or kind in USES_SHARES | {Kind.BYOK},
        distinct_sites=bool(ceremony.policy.get("distinct_sites")), distinct_lines=bool(ceremony.policy.get("distinct_lines")),
        deals_shares=kind in ALL_NEEDED, brings_quorum=kind is not Kind.ROLL_CALL,
    )  # fmt: skip
    found = examine(rules, seats, needs_shares=bool(ceremony.threshold))
    return replace(found, problems=(*found.problems, *_particular_problems(ceremony)))


def _particular_problems(ceremony: Ceremony) -> list[str]:
    """What a kind asks for beyond the numbers."""
    problems: list[str] = []
    holders = [seat for seat in ceremony.participants.all() if seat.role == RoomRole.HOLDER]
    if needs_subject(ceremony) and not ceremony.subject:
        problems.append("The plan does not say what the ceremony is about.")
    if not ceremony.practice:
        problems += _without_the_right(ceremony)
    if ceremony.kind == Kind.UNSEAL and ceremony.read_script().number_of(Action.GIVE) is not None and not holders:
        problems.append("The plan has no custodian of the seal.")
    if ceremony.source is not None and ceremony.read_script().number_of(Action.UNWRAP) is not None:
        old = ceremony.source.brought.filter(email__in=[seat.email.lower() for seat in holders])
        brought = set(old.values_list("index", flat=True))
        if ceremony.source.quorum.missing(brought):
            awaited = ceremony.source.quorum.awaited(brought)
            problems.append(f"Share holders of the set in force are missing: {awaited} must be among the new ones.")
    if ceremony.kind == Kind.REISSUE and ceremony.source is not None:
        shares = {share.index: share for share in ceremony.source.shares.all()}
        lost = {index for index, share in shares.items() if share.state == ShareState.LOST}
        again = [seat for seat in holders if seat.share_index in lost]
        held = {seat.share_index for seat in holders if seat.share_index} - lost
        elsewhere = {share.email.lower(): share.index for share in shares.values()}
        if len(again) != 1:
            problems.append(
                "One person is seated for the share that is issued again: seat its new custodian as share holder."
            )
        if ceremony.quorum.missing(held):
            problems.append(f"Share holders who still have theirs are missing: {ceremony.quorum.awaited(held)}.")
        problems += [
            f"{seat.name} holds share {elsewhere[seat.email.lower()]} already and may not hold a second one."
            for seat in again
            if elsewhere.get(seat.email.lower(), seat.share_index) != seat.share_index
        ]
    return problems


# Acts that somebody in the room does with rights of their own: whose, which right, for what, and who has it.
_OWN_RIGHTS = {
    Action.ENTER: (RoomRole.HOLDER, Permission.KEY_COMPONENT, "enter components of this key", "a custodian"),
    Action.BREAK_GLASS: (RoomRole.OPERATOR, Permission.APPROVAL_BREAK_GLASS, "break the glass", "a security officer"),
}


def _without_the_right(ceremony: Ceremony) -> list[str]:
    """Who would be refused only when the act is to be done."""
    problems, script = [], ceremony.read_script()
    for action, (role, permission, what, who) in _OWN_RIGHTS.items():
        if script.number_of(action) is None:
            continue
        for seat in ceremony.participants.filter(role=role.value).select_related("person"):
            if seat.person is None:
                problems.append(f"{seat.name} has no account, which is needed to {what}.")
            elif not actor_for_person(seat.person).can(permission, ceremony.ring_id):
                problems.append(f"{seat.name} has no right to {what}: seat {who}.")
            elif action is Action.ENTER and seat.person_id == ceremony.planned_by_id and not _planner_may(ceremony):
                problems.append(
                    f"{seat.name} planned this: the key's policy lets nobody enter a part of what they asked for."
                )
    return problems


def _planner_may(ceremony: Ceremony) -> bool:
    return ceremony.key is not None and bool(ceremony.key.policy.initiator_may_enter)
