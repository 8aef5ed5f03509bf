"""Who may hold what in one ceremony, and who could reach the key: a pure solver over the plan."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from zoneinfo import available_timezones

from ceremonies.quorums import Quorum

# Names of places, and UTC: what is left are abbreviations, offsets with the sign turned round, and whatever this machine has set.
TIME_ZONES = tuple(
    name for name in sorted(available_timezones()) if name == "UTC" or ("/" in name and not name.startswith("Etc/"))
)


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
    share: int | None = None  # of a holder, counted from 1; where it is not said, holders count in their order


@dataclass(frozen=True, slots=True)
class Rules:
    """What the ceremony's policy asks for."""

    quorum: Quorum
    allow_all: bool = False  # no share to spare: one that is lost loses the key
    distinct_sites: bool = False
    distinct_lines: bool = False
    deals_shares: bool = True  # recovery and the like need only a quorum of the holders
    brings_quorum: bool = True  # a roll-call needs none: it is called above all when too few have their shares


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest group of people who hold a quorum between them."""

    people: tuple[str, ...]

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
    reach = smallest_group(rules.quorum, seats) if needs_shares else None
    if needs_shares:
        problems += _apart(rules, seats)
        if reach is not None and reach.size < rules.quorum.fewest:
            problems.append(
                f"{_and(reach.people)} could reach the key: {reach.size} instead of {rules.quorum.fewest} people."
            )
    return Verdict(tuple(dict.fromkeys(problems)), reach, tuple(_notes(rules, seats) if needs_shares else ()))


def smallest_group(quorum: Quorum, seats: Sequence[Seat]) -> Reach | None:
    """The fewest people who can bring a quorum together, deputies counted for whom they stand in; None if nobody can.

    Exact: people who can bring several shares are tried in all combinations; the rest, who bring one each, fill up the groups
    that lack the fewest.
    """
    shares_of: dict[str, set[int]] = defaultdict(set)
    names: dict[str, str] = {}
    numbers = share_numbers(seats)
    for seat in seats:
        key = seat.key if seat.role is RoomRole.HOLDER else seat.deputy_for
        if key in numbers:
            shares_of[seat.who].add(numbers[key])
            names.setdefault(seat.who, seat.name)
    several = sorted(who for who, shares in shares_of.items() if len(shares) > 1)
    single = {who: next(iter(shares)) for who, shares in sorted(shares_of.items()) if len(shares) == 1}
    best: list[str] | None = None
    for count in range(len(several) + 1):
        if best is not None and count >= len(best):
            break
        for group in combinations(several, count):
            covered: set[int] = set().union(*(shares_of[who] for who in group)) if group else set()
            rest = _fill(quorum, covered, single)
            if rest is not None and (best is None or count + len(rest) < len(best)):
                best = [*group, *rest]
    return Reach(tuple(names[who] for who in best)) if best is not None else None


def share_numbers(seats: Sequence[Seat]) -> dict[Hashable, int]:
    """The share of each holder's seat."""
    holders = [seat for seat in seats if seat.role is RoomRole.HOLDER]
    return {seat.key: seat.share or number for number, seat in enumerate(holders, 1)}


def _fill(quorum: Quorum, covered: set[int], single: Mapping[str, int]) -> list[str] | None:
    """The fewest people with one share each who make a quorum of what is covered; None if they cannot."""
    people = {share: who for who, share in sorted(single.items(), reverse=True) if share not in covered}
    ways = []
    for number, group in enumerate(quorum.groups):
        indices = quorum.indices(number)
        lacks = max(0, group.threshold - sum(index in covered for index in indices))
        found = [people[index] for index in indices if index in people][:lacks]
        if len(found) == lacks:
            ways.append(found)
    if len(ways) < quorum.needed:
        return None
    return [who for way in sorted(ways, key=len)[: quorum.needed] for who in way]


def _numbers(rules: Rules, seats: Sequence[Seat], needs_shares: bool) -> list[str]:
    problems = []
    if needs_shares:
        quorum, numbers = rules.quorum, share_numbers(seats)
        held = set(numbers.values())
        if complaint := quorum.complaint():
            problems.append(complaint)
        elif quorum.spare(range(1, quorum.count + 1)) < 1 and not rules.allow_all:
            problems.append(
                "All shares would be needed: one that is lost loses the key. Lower the threshold, or allow it in the policy."
            )
        if rules.deals_shares and (len(numbers) != quorum.count or held != set(range(1, quorum.count + 1))):
            problems.append(f"{quorum.count} shares need {quorum.count} share holders; the plan has {len(numbers)}.")
        elif not rules.brings_quorum:
            problems += [] if held else ["Nobody is left who holds a share."]
        elif not rules.deals_shares and quorum.missing(held):
            problems.append(f"Share holders are missing: {quorum.awaited(held)}.")
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
        numbers, at = share_numbers(seats), defaultdict(list)
        for seat in holders:
            if place := getattr(seat, attribute).strip():
                at[place.casefold()].append(seat)
        for there in at.values():
            if not rules.quorum.missing([numbers[seat.key] for seat in there]):
                said = getattr(there[0], attribute).strip()
                problems.append(
                    f"{len(there)} share holders are of the {word} {said}, which could reach the key by itself."
                )
    return problems


def _notes(rules: Rules, seats: Sequence[Seat]) -> list[str]:
    """What is allowed and still worth saying."""
    notes = []
    numbers = share_numbers(seats)
    spare = rules.quorum.spare(numbers.values())
    if numbers and spare >= 0:
        notes.append(f"{spare} of {len(numbers)} shares may be lost before the key is.")
    sites: dict[str, set[int]] = defaultdict(set)
    written: dict[str, str] = {}
    for seat in seats:
        if seat.role is RoomRole.HOLDER and (site := seat.site.strip()):
            sites[site.casefold()].add(numbers[seat.key])
            written.setdefault(site.casefold(), site)
    for site, there in sites.items():
        if len(there) > 1 and rules.quorum.missing(set(numbers.values()) - there):
            notes.append(f"The loss of the site {written[site]} with its {len(there)} shares would lose the key.")
    return notes


def _words(roles: Iterable[RoomRole]) -> str:
    return " and ".join(role.value.replace("_", " ") for role in dict.fromkeys(roles))


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
