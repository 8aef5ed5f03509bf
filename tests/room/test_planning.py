"""The solver over plans: what it refuses, and the smallest group it names against trying all groups."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ceremonies.planning import RoomRole, Rules, Seat, examine, quorum_left, smallest_group

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


RULES = Rules(3, 5)


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
    assert "All shares would be needed" in problems(Rules(3, 3), plan)
    assert not problems(Rules(3, 3, allow_all=True), plan)
    assert "can never be brought together" in problems(Rules(4, 3), plan)


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
    assert not problems(Rules(3, 5, deals_shares=False), seats("a", "b", "c"))
    assert "3 share holders are needed" in problems(Rules(3, 5, deals_shares=False), seats("a", "b"))
    assert not examine(Rules(0, 0), seats(), needs_shares=False).problems


def test_no_site_and_no_line_holds_a_quorum():
    plan = seats("a", "b", "c", "d", "e", a="Oslo", b="oslo ", c="OSLO")
    assert "3 share holders are of the site Oslo, which could reach the key by itself." in problems(
        Rules(3, 5, distinct_sites=True), plan
    )
    assert not problems(Rules(3, 5), plan)
    assert "The site of A is not known." in problems(
        Rules(3, 5, distinct_sites=True), seats("a", "b", "c", "d", "e", a=" ")
    )
    assert not problems(Rules(3, 5, distinct_lines=True), plan)


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


@given(
    who=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), deputies=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), max_size=4),
    threshold=st.integers(1, 6),
)  # fmt: skip
def test_the_smallest_group_is_the_one_that_trying_all_finds(who, deputies, threshold):
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
        size for size in range(len(brings) + 1) for group in combinations(brings, size) if len(set().union(*(brings[one] for one in group), set())) >= threshold
    ]  # fmt: skip
    found = smallest_group(threshold, plan)
    assert (found.size if found else None) == (min(sizes) if sizes else None)


def test_what_is_left_of_a_quorum():
    assert [quorum_left(3, range(number)) for number in (5, 3, 2)] == [2, 0, -1]
