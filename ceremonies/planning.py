"""Who may hold what in one ceremony, and who could reach the key: a pure solver over the plan."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

MAX_SHARES = 16  # SLIP-39: four bits of member index


class RoomRole(StrEnum):
    LEADER = "leader"
    OPERATOR = "operator"
    HOLDER = "holder"
    INTERNAL_WITNESS = "internal_witness"
    EXTERNAL_WITNESS = "external_witness"
    DEPUTY = "deputy"


@dataclass(frozen=True, slots=True)
class Seat:
    """One place in the plan. `who` identifies the human being, however often they appear (their e-mail address, lower case)."""

    key: Hashable
    who: str
    name: str
    role: RoomRole
    site: str = ""
    line: str = ""
    deputy_for: Hashable | None = None  # the key of another seat


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ceremony's policy asks for."""

    threshold: int
    shares: int
    allow_all: bool = False  # M = N: one lost share loses the key
    distinct_sites: bool = False
    distinct_lines: bool = False
    deals_shares: bool = True  # recovery and the like need only a quorum of the holders


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest group of people who hold a quorum between them."""

    people: tuple[str, ...]
    choices: int = 1  # how many groups of this size there are, at most as counted

    @property
    def size(self) -> int:
        return len(self.people)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a plan, in sentences (empty: it can be held), and who could reach the key under it."""

    problems: tuple[str, ...] = ()
    reach: Reach | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def possible(self) -> bool:
        return not self.problems


def examine(rules: Rules, seats: Sequence[Seat], *, needs_shares: bool = True) -> Verdict:
    """Look at the whole plan at once; `needs_shares` is False for kinds in which nobody holds a share."""
    problems = [*_numbers(rules, seats, needs_shares), *_roles(seats), *_deputies(seats)]
    reach = smallest_group(rules.threshold, seats) if needs_shares else None
    if needs_shares:
        problems += _apart(rules, seats)
        if reach is not None and reach.size < rules.threshold:
            problems.append(
                f"{_and(reach.people)} could reach the key: {reach.size} instead of {rules.threshold} people."
            )
    return Verdict(tuple(dict.fromkeys(problems)), reach, tuple(_notes(rules, seats) if needs_shares else ()))


def smallest_group(threshold: int, seats: Sequence[Seat]) -> Reach | None:
    """The fewest people who can bring `threshold` different shares together, deputies counted for whom they stand in; None if nobody can.

    Exact: people who can bring several shares are tried in all combinations, the rest are filled up by people with one each.
    """
    shares_of: dict[str, set[Hashable]] = defaultdict(set)
    names: dict[str, str] = {}
    holders = {seat.key for seat in seats if seat.role is RoomRole.HOLDER}
    for seat in seats:
        share = seat.key if seat.role is RoomRole.HOLDER else seat.deputy_for
        if share in holders:
            shares_of[seat.who].add(share)
            names.setdefault(seat.who, seat.name)
    if threshold < 1 or len(holders) < threshold:
        return None
    several = sorted(who for who, shares in shares_of.items() if len(shares) > 1)
    best: list[str] | None = None
    for count in range(min(len(several), threshold) + 1):
        for group in combinations(several, count):
            covered: set[Hashable] = set().union(*(shares_of[who] for who in group)) if group else set()
            people = list(group)
            for who, shares in sorted(shares_of.items()):
                if len(covered) >= threshold:
                    break
                if who not in group and len(shares) == 1 and not shares <= covered:
                    covered |= shares
                    people.append(who)
            if len(covered) >= threshold and (best is None or len(people) < len(best)):
                best = people
    return Reach(tuple(names[who] for who in best)) if best is not None else None


def quorum_left(threshold: int, present: Iterable[Hashable]) -> int:
    """How many more shares than needed could still be brought together; negative when the quorum is out of reach."""
    return len(set(present)) - threshold


def _numbers(rules: Rules, seats: Sequence[Seat], needs_shares: bool) -> list[str]:
    problems = []
    if needs_shares:
        holders = sum(seat.role is RoomRole.HOLDER for seat in seats)
        if not 2 <= rules.threshold <= MAX_SHARES or not 2 <= rules.shares <= MAX_SHARES:
            problems.append(f"The threshold and the number of shares are from 2 to {MAX_SHARES}.")
        elif rules.threshold > rules.shares:
            problems.append(f"{rules.threshold} of {rules.shares} shares can never be brought together.")
        elif rules.threshold == rules.shares and not rules.allow_all:
            problems.append(
                "All shares would be needed: one that is lost loses the key. Lower the threshold, or allow it in the policy."
            )
        if rules.deals_shares and holders != rules.shares:
            problems.append(f"{rules.shares} shares need {rules.shares} share holders; the plan has {holders}.")
        elif not rules.deals_shares and holders < rules.threshold:
            problems.append(f"{rules.threshold} share holders are needed; the plan has {holders}.")
    for role, word, most in (
        (RoomRole.LEADER, "leader", 1),
        (RoomRole.OPERATOR, "operator", 1),
        (RoomRole.INTERNAL_WITNESS, "internal witness", 3),
    ):
        count = sum(seat.role is role for seat in seats)
        if not count:
            problems.append(f"The plan has no {word}.")
        elif count > most:
            problems.append(f"The plan has {count} people as {word}; at most {most}.")
    return problems


def _roles(seats: Sequence[Seat]) -> list[str]:
    """Nobody in two roles that have to be apart."""
    problems = []
    roles: dict[str, list[RoomRole]] = defaultdict(list)
    names = {seat.who: seat.name for seat in seats}
    for seat in seats:
        if seat.role is not RoomRole.DEPUTY:
            roles[seat.who].append(seat.role)
    for who, held in roles.items():
        if held.count(RoomRole.HOLDER) > 1:
            problems.append(f"{names[who]} would hold two shares.")
        others = [role for role in held if role is not RoomRole.HOLDER]
        if RoomRole.HOLDER in held and others:
            problems.append(f"{names[who]} is {_words(others)} and may not hold a share.")
        elif len(held) > 1 and held.count(RoomRole.HOLDER) != len(held):
            problems.append(f"{names[who]} has two roles: {_words(held)}.")
    return problems


def _deputies(seats: Sequence[Seat]) -> list[str]:
    problems = []
    by_key = {seat.key: seat for seat in seats}
    own = {seat.who: seat for seat in seats if seat.role is not RoomRole.DEPUTY}
    stands_for: Counter[str] = Counter()
    for seat in seats:
        if seat.role is not RoomRole.DEPUTY:
            continue
        stands_for[seat.who] += 1
        principal = by_key.get(seat.deputy_for) if seat.deputy_for is not None else None
        if principal is None or principal.role is RoomRole.DEPUTY:
            problems.append(f"{seat.name} is deputy of nobody in the plan.")
        elif seat.who in own:
            problems.append(
                f"{seat.name} is {own[seat.who].role.value.replace('_', ' ')} already and may not stand in for {principal.name}."
            )
    problems += [
        f"{next(seat.name for seat in seats if seat.who == who)} would stand in for {count} people."
        for who, count in stands_for.items()
        if count > 1
    ]
    return problems


def _apart(rules: Rules, seats: Sequence[Seat]) -> list[str]:
    """No site and no reporting line holds a quorum, where the policy says so; a deputy counts at their own place."""
    problems = []
    holders = [seat for seat in seats if seat.role is RoomRole.HOLDER]
    for wanted, attribute, word in (
        (rules.distinct_sites, "site", "site"),
        (rules.distinct_lines, "line", "reporting line"),
    ):
        if not wanted:
            continue
        if nameless := [seat.name for seat in holders if not getattr(seat, attribute).strip()]:
            problems.append(f"The {word} of {_and(nameless)} is not known.")
        counts = Counter(
            getattr(seat, attribute).strip().casefold() for seat in holders if getattr(seat, attribute).strip()
        )
        for place, count in counts.items():
            if rules.threshold and count >= rules.threshold:
                said = next(
                    getattr(seat, attribute) for seat in holders if getattr(seat, attribute).strip().casefold() == place
                )
                problems.append(f"{count} share holders are of the {word} {said}, which could reach the key by itself.")
    return problems


def _notes(rules: Rules, seats: Sequence[Seat]) -> list[str]:
    """What is allowed and still worth saying."""
    notes = []
    holders = [seat for seat in seats if seat.role is RoomRole.HOLDER]
    spare = len(holders) - rules.threshold
    if holders and spare >= 0:
        notes.append(f"{spare} of {len(holders)} shares may be lost before the key is.")
    sites = Counter(seat.site.strip() for seat in holders if seat.site.strip())
    if sites and rules.threshold > 1:
        site, count = sites.most_common(1)[0]
        if len(holders) - count < rules.threshold:
            notes.append(f"The loss of the site {site} with its {count} shares would lose the key.")
    return notes


def _words(roles: Iterable[RoomRole]) -> str:
    return " and ".join(role.value.replace("_", " ") for role in dict.fromkeys(roles))


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
