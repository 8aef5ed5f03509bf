"""Who counts where: several groups must all agree, and a person counts in one of them only. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Group:
    """`threshold` people who hold `role` on `ring_id` (None: on everything) must agree, with a signature of their own if `signed`."""

    role: str
    threshold: int
    ring_id: UUID | None = None
    signed: bool = False

    @classmethod
    def parse(cls, rule: Mapping[str, Any], ring_id: UUID | None = None) -> "Group":
        given = rule.get("ring_id")
        return cls(
            str(rule["role"]), int(rule["threshold"]), UUID(str(given)) if given else ring_id, bool(rule.get("signed"))
        )

    def as_dict(self) -> dict[str, Any]:
        rule = {"role": self.role, "threshold": self.threshold, "ring_id": str(self.ring_id) if self.ring_id else None}
        return rule | {"signed": True} if self.signed else rule


def assign(groups: Sequence[Group], people: Mapping[UUID, Iterable[int]]) -> list[int]:
    """How many people each group can count at the most when everybody counts once and the groups are filled together.

    `people` says in which groups (by index) each person who agreed could count. A maximum matching of people to places
    (augmenting paths), so that somebody who fits two groups is counted where needed.
    """
    places = [index for index, group in enumerate(groups) for _ in range(group.threshold)]
    fits = {person: frozenset(indexes) for person, indexes in people.items()}
    taken: dict[int, UUID] = {}

    def place(person: UUID, seen: set[int]) -> bool:
        for number, index in enumerate(places):
            if number not in seen and index in fits[person]:
                seen.add(number)
                if number not in taken or place(taken[number], seen):
                    taken[number] = person
                    return True
        return False

    for person in fits:
        place(person, set())
    counted = [0] * len(groups)
    for number in taken:
        counted[places[number]] += 1
    return counted


def satisfied(groups: Sequence[Group], people: Mapping[UUID, Iterable[int]]) -> bool:
    """Whether these people fill every group, each counted once."""
    return all(count >= group.threshold for count, group in zip(assign(groups, people), groups, strict=True))


def missing(groups: Sequence[Group], people: Mapping[UUID, Iterable[int]]) -> list[str]:
    """What is still needed, in words; empty when satisfied."""
    counts = zip(assign(groups, people), groups, strict=True)
    return [
        f"{group.threshold - count} × {group.role.replace('_', ' ')}"
        for count, group in counts
        if count < group.threshold
    ]
