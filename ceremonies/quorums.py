"""Which shares together open a key: one group of custodians, or several of SLIP-39, with the names people give them. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ceremonies import offline

MAX_SHARES = 16  # of a group, and groups (SLIP-39: four bits each); of a ceremony, since all are in one room
MAX_EXPONENT = 10  # SLIP-39 has 15, which is hours of work for each try
_LINE = re.compile(r"(?P<name>[^:]{1,60}):\s*(?P<threshold>\d{1,2})\s+of\s+(?P<count>\d{1,2})")


@dataclass(frozen=True, slots=True)
class ShareGroup:
    """`threshold` of `count` custodians; `name` is empty where there is one group only."""

    name: str
    threshold: int
    count: int


@dataclass(frozen=True, slots=True)
class Quorum:
    """`needed` of the groups open the key; shares are counted from 1 through all groups in their order."""

    groups: tuple[ShareGroup, ...]
    needed: int = 1

    @classmethod
    def single(cls, threshold: int, count: int) -> "Quorum":
        return cls((ShareGroup("", threshold, count),))

    @classmethod
    def parse(cls, text: str, needed: int | None = None) -> "Quorum":
        """From lines such as "Security officers: 2 of 3"; all groups are needed unless said otherwise.

        Raises ValueError with a sentence.
        """
        groups = []
        for line in filter(None, (line.strip() for line in text.splitlines())):
            found = _LINE.fullmatch(line)
            if found is None:
                raise ValueError(f"Not a group: {line[:60]}. Write one a line, such as Security officers: 2 of 3.")
            groups.append(ShareGroup(found["name"].strip(), int(found["threshold"]), int(found["count"])))
        return cls(tuple(groups), len(groups) if needed is None else needed)

    @classmethod
    def from_json(cls, groups: Sequence[Mapping[str, Any]], needed: int) -> "Quorum":
        return cls(
            tuple(ShareGroup(str(group["name"]), int(group["threshold"]), int(group["count"])) for group in groups),
            needed,
        )

    def as_json(self) -> list[dict[str, Any]]:
        """The groups as plain data; `from_json` reads it."""
        return [{"name": group.name, "threshold": group.threshold, "count": group.count} for group in self.groups]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(threshold, count) of each group, as SLIP-39 is told."""
        return [(group.threshold, group.count) for group in self.groups]

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def named(self) -> bool:
        """Whether people gave it groups, instead of two numbers."""
        return any(group.name for group in self.groups)

    @property
    def fewest(self) -> int:
        """How many shares the smallest quorum has."""
        return sum(sorted(group.threshold for group in self.groups)[: self.needed])

    @property
    def words(self) -> str:
        """Such as "any 3 of 5", or "2 of 3 Security officers and 1 of 2 Legal"."""
        if not self.groups:
            return "nobody"
        if not self.named:
            return f"any {self.groups[0].threshold} of {self.groups[0].count}"
        parts = [f"{group.threshold} of {group.count} {group.name}".strip() for group in self.groups]
        if self.needed == len(parts):
            return " and ".join(parts)
        return f"any {self.needed} of these groups: {'; '.join(parts)}"

    def complaint(self) -> str:
        """What is wrong with the numbers, in a sentence; empty for a quorum that SLIP-39 can make and one room can hold."""
        if not 1 <= len(self.groups) <= MAX_SHARES or not 1 <= self.needed <= len(self.groups):
            return "Of the groups at least one, and at most all, must be needed."
        names = [group.name.casefold() for group in self.groups]
        if len(set(names)) != len(names) or (len(names) > 1 and not all(names)):
            return "Each group needs a name of its own."
        if any(not 1 <= group.threshold <= group.count for group in self.groups):
            return "In each group the threshold is from 1 to the number of its shares."
        if self.count > MAX_SHARES:
            return f"At most {MAX_SHARES} shares in all."
        if self.fewest < 2:
            return "One person alone would open it: at least two shares must be needed."
        return ""

    def indices(self, number: int) -> range:
        """The shares of group `number`, counted from 0."""
        start = 1 + sum(group.count for group in self.groups[:number])
        return range(start, start + self.groups[number].count)

    def group_of(self, index: int) -> ShareGroup | None:
        """The group of the share `index`."""
        found = (group for number, group in enumerate(self.groups) if index in self.indices(number))
        return next(found, None)

    def missing(self, given: Collection[int]) -> int:
        """How many more shares the smallest completion of `given` needs; 0 for a quorum."""
        return offline.missing(self.pairs, self.needed, given)

    def awaited(self, given: Collection[int]) -> str:
        """What is still needed, in words, by group where there are several; empty for a quorum."""
        if not (more := self.missing(given)):
            return ""
        if len(self.groups) == 1:
            return f"{more} more"
        short = [
            f"{lacks} of {group.name}"
            for lacks, group in zip(offline.needs(self.pairs, given), self.groups, strict=True)
            if lacks
        ]
        return f"{more} more ({' and '.join(short) if self.needed == len(self.groups) else ', or '.join(short)})"

    def spare(self, held: Collection[int]) -> int:
        """How many of the `held` shares may be lost, whichever they are, before no quorum is left; negative where none is."""
        if short := self.missing(held):
            return -short
        margins = sorted(
            margin
            for number, group in enumerate(self.groups)
            if (margin := sum(index in held for index in self.indices(number)) - group.threshold + 1) > 0
        )
        return sum(margins[: len(margins) - self.needed + 1]) - 1
