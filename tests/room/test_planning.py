"""The solver over plans: what it refuses, and the smallest group it names against trying all groups."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.planning import RoomRole, Rules, Seat, examine, smallest_group
from ceremonies.quorums import Quorum, ShareGroup

R = RoomRole


def seats(*holders: str, **more: str) -> list[Seat]:
    """leader, operator, witness and these holders; `site` and `line` by holder."""
    found = [
        Seat("L", "l", "Lena", R.LEADER),
        Seat("O", "o", "Otto", R.OPERATOR),
        Seat("W", "w", "Wilma", R.INTERNAL_WITNESS),
    ]
    return found + [
        Seat(f"H{n}", who, who.title(), R.HOLDER, site=more.get(who, f"site {n}"), line=f"line {n}")
        for n, who in enumerate(holders)
    ]


def of(threshold: int, count: int, **more: bool) -> Rules:
    return Rules(Quorum.single(threshold, count), **more)


RULES = of(3, 5)


def problems(rules: Rules, plan: list[Seat]) -> str:
    return " ".join(examine(rules, plan).problems)


def test_a_plan_that_can_be_held():
    found = examine(RULES, seats("a", "b", "c", "d", "e"))
    assert found.possible
    assert found.reach is not None
    assert found.reach.size == 3
    assert "2 of 5 shares may be lost before the key is." in found.notes


def test_all_shares_needed_only_where_the_policy_allows_it():
    plan = seats("a", "b", "c")
    assert "All shares would be needed" in problems(of(3, 3), plan)
    assert not problems(of(3, 3, allow_all=True), plan)
    assert "the threshold is from 1 to the number" in problems(of(4, 3), plan)


def test_nobody_holds_two_shares_or_two_roles():
    assert "A would hold two shares." in problems(RULES, seats("a", "a", "b", "c", "d"))
    for who, word in (("l", "leader"), ("w", "internal witness"), ("o", "operator")):
        assert f"is {word} and may not hold a share" in problems(
            RULES, [*seats("a", "b", "c", "d"), Seat("X", who, who, R.HOLDER)]
        )
    double = [
        *seats("a", "b", "c", "d", "e")[:2],
        Seat("W", "l", "Lena", R.INTERNAL_WITNESS),
        *seats("a", "b", "c", "d", "e")[3:],
    ]
    assert "Lena has two roles: leader and internal witness." in problems(RULES, double)


def test_the_plan_needs_its_roles_and_its_numbers():
    said = problems(RULES, [seat for seat in seats("a", "b", "c", "d") if seat.role is R.HOLDER])
    for sentence in (
        "The plan has no leader.",
        "The plan has no operator.",
        "The plan has no internal witness.",
        "the plan has 4",
    ):
        assert sentence in said
    assert not problems(of(3, 5, deals_shares=False), seats("a", "b", "c"))
    assert "Share holders are missing: 1 more" in problems(of(3, 5, deals_shares=False), seats("a", "b"))
    assert not examine(of(0, 0), seats(), needs_shares=False).problems
    roll = of(3, 5, deals_shares=False, brings_quorum=False)
    assert not problems(roll, seats("a")), "a roll-call counts who is left"
    assert problems(roll, seats()) == "Nobody is left who holds a share."


def test_no_site_and_no_line_holds_a_quorum():
    plan = seats("a", "b", "c", "d", "e", a="Oslo", b="oslo ", c="OSLO")
    assert "3 share holders are of the site Oslo, which could reach the key by itself." in problems(
        of(3, 5, distinct_sites=True), plan
    )
    assert not problems(of(3, 5), plan)
    assert "The loss of the site Oslo with its 3 shares would lose the key." in examine(of(3, 5), plan).notes
    two = seats("a", "b", "c", "d", "e", a="Oslo", b="Oslo")
    assert examine(of(3, 5), two).notes == ("2 of 5 shares may be lost before the key is.",)
    alone = examine(of(3, 3, allow_all=True), seats("a", "b", "c"))
    assert alone.notes == ("0 of 3 shares may be lost before the key is.",), "one share is no site's"
    assert "The site of A is not known." in problems(
        of(3, 5, distinct_sites=True), seats("a", "b", "c", "d", "e", a=" ")
    )
    assert not problems(of(3, 5, distinct_lines=True), plan)


def test_a_deputy_stands_in_for_one_person_and_has_no_part_of_their_own():
    plan = seats("a", "b", "c", "d", "e")
    deputy = Seat("D", "dora", "Dora", R.DEPUTY, deputy_for="H0")
    assert not problems(RULES, [*plan, deputy])
    assert "Dora would stand in for 2 people." in problems(
        RULES, [*plan, deputy, Seat("D2", "dora", "Dora", R.DEPUTY, deputy_for="H1")]
    )
    assert "could reach the key: 2 instead of 3" in problems(
        RULES, [*plan, deputy, Seat("D2", "dora", "Dora", R.DEPUTY, deputy_for="H1")]
    )
    assert "may not stand in" in problems(RULES, [*plan, Seat("D", "b", "B", R.DEPUTY, deputy_for="H0")])
    assert "deputy of nobody" in problems(RULES, [*plan, Seat("D", "dora", "Dora", R.DEPUTY, deputy_for="nobody")])
    of_a_deputy = Seat("E", "emma", "Emma", R.DEPUTY, deputy_for="D")
    assert "Emma is deputy of nobody" in problems(RULES, [*plan, deputy, of_a_deputy])


@given(
    who=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), deputies=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), max_size=4),
    quorum=st.integers(1, 6).map(lambda threshold: Quorum.single(threshold, 6)) | st.builds(
        lambda groups, needed: Quorum.parse("\n".join(f"G{n}: {m} of {c}" for n, (m, c) in enumerate(groups)), min(needed, len(groups))),
        st.lists(st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 3)]), min_size=1, max_size=3), st.integers(1, 3),
    ),
)  # fmt: skip
def test_the_smallest_group_is_the_one_that_trying_all_finds(who, deputies, quorum):
    plan = [Seat(number, name, name, R.HOLDER) for number, name in enumerate(who)]
    plan += [
        Seat(f"d{number}", name, name, R.DEPUTY, deputy_for=share) for number, (name, share) in enumerate(deputies)
    ]
    brings: dict[str, set[int]] = {}
    for seat in plan:
        share = seat.key if seat.role is R.HOLDER else seat.deputy_for
        if isinstance(share, int) and share < len(who):
            brings.setdefault(seat.who, set()).add(share)
    sizes = [
        size for size in range(len(brings) + 1) for group in combinations(brings, size)
        if not quorum.missing({share + 1 for share in set().union(*(brings[one] for one in group), set())})
    ]  # fmt: skip
    found = smallest_group(quorum, plan)
    assert (found.size if found else None) == (min(sizes) if sizes else None)


GROUPS = Quorum.parse("Security officers: 2 of 3\nLegal: 1 of 2")


def test_where_one_group_is_enough_the_smaller_one_is_named():
    either = Quorum.parse("Security officers: 2 of 3\nLegal: 1 of 2", 1)
    found = smallest_group(either, seats("a", "b", "c", "d", "e"))
    assert found is not None
    assert found.people == ("D",)


def test_two_groups_must_both_agree():
    plan = seats("a", "b", "c", "d", "e", a="Oslo", b="Oslo", c="Oslo")
    found = examine(Rules(GROUPS, distinct_sites=True), plan)
    assert found.possible, found.problems  # three officers at one site open nothing without the lawyers
    assert found.reach is not None
    assert found.reach.size == 3
    assert "The loss of the site Oslo with its 3 shares would lose the key." in found.notes
    at_one = seats("a", "b", "c", "d", "e", a="Oslo", b="Oslo", e="Oslo")
    assert "could reach the key by itself" in problems(Rules(GROUPS, distinct_sites=True), at_one)
    assert "5 shares need 5 share holders; the plan has 4." in problems(Rules(GROUPS), plan[:-1])
    without_lawyers = [*plan[:3], *plan[3:6]]
    assert "are missing: 1 more (1 of Legal)" in problems(Rules(GROUPS, deals_shares=False), without_lawyers)
    few = [replace(seat, share=share) for seat, share in zip(plan[3:6], (1, 3, 5), strict=True)]
    assert not problems(Rules(GROUPS, deals_shares=False), [*plan[:3], *few])


def test_what_a_quorum_of_groups_says_of_itself():
    assert (GROUPS.words, GROUPS.fewest, GROUPS.count) == ("2 of 3 Security officers and 1 of 2 Legal", 3, 5)
    assert GROUPS.spare({1, 2, 3, 4, 5}) == 1
    assert [GROUPS.spare(held) for held in ({1, 2, 4}, {1, 2, 3}, set())] == [0, -1, -3]
    assert GROUPS.awaited({1, 2, 3}) == "1 more (1 of Legal)"
    assert GROUPS.awaited({4}) == "2 more (2 of Security officers)"
    assert Quorum.single(3, 5).awaited({1}) == "2 more"
    assert [Quorum.single(3, 5).spare(range(1, count)) for count in (6, 4, 3)] == [2, 0, -1]
    assert Quorum.from_json(GROUPS.as_json(), 2) == GROUPS
    assert [found.name for index in range(1, 7) if (found := GROUPS.group_of(index))] == [
        *["Security officers"] * 3,
        *["Legal"] * 2,
    ]


@pytest.mark.parametrize(
    ("text", "needed", "said"),
    [
        ("Officers: 2 of 3\nOfficers: 1 of 2", None, "a name of its own"),
        ("Officers: 4 of 3", None, "the threshold is from 1"),
        ("Officers: 2 of 9\nLegal: 2 of 9", None, "At most 16 shares"),
        ("Officers: 2 of 3\nChief: 1 of 1", 1, "One person alone"),
        ("Officers: 2 of 3", 2, "Of the groups"),
        ("", None, "Of the groups"),
    ],
)
def test_groups_that_cannot_be(text, needed, said):
    assert said in Quorum.parse(text, needed).complaint()


@pytest.mark.parametrize("text", ["Officers 2 of 3", "Officers: two of three", ": 1 of 2", "x: 200 of 300"])
def test_lines_that_are_no_group(text):
    with pytest.raises(ValueError, match="Not a group"):
        Quorum.parse(text)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3), st.integers(1, 3), st.data())
def test_so_many_may_be_lost_and_one_more_may_not(groups, needed, data):
    quorum = Quorum(
        tuple(ShareGroup(str(n), min(pair), max(pair)) for n, pair in enumerate(groups)), min(needed, len(groups))
    )
    everything = set(range(1, quorum.count + 1))
    held = data.draw(st.sets(st.sampled_from(sorted(everything))))
    fewest = min(
        size for size in range(len(held) + 2)
        if size > len(held) or any(quorum.missing(held - set(lost)) for lost in combinations(held, size))
    )  # fmt: skip
    assert max(quorum.spare(held), -1) == fewest - 1
