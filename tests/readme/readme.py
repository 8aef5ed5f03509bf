"""README.md as data: its fenced blocks by section, and which of them a test has claimed."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from tests.boot.processes import ROOT

TEXT = (ROOT / "README.md").read_text()


@dataclass(frozen=True)
class Block:
    """One fenced block below the nearest heading."""

    section: str
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """Each line as words, without comments."""
        return [words for line in self.text.splitlines() if (words := shlex.split(line, comments=True))]


def _parse(text: str) -> list[Block]:
    found, section, fence = [], "", None
    for line in text.splitlines():
        if fence is None and (heading := re.match(r"#+ (.*)", line)):
            section = heading[1]
        if line.startswith("```"):
            if fence is None:
                fence = (line[3:], [])
            else:
                found.append(Block(section, fence[0], "\n".join(fence[1])))
                fence = None
        elif fence is not None:
            fence[1].append(line)
    assert fence is None, "a fenced block does not end"
    return found


BLOCKS = _parse(TEXT)
CLAIMED: set[tuple[str, str]] = set()


def proves[F: Callable[..., object]](section: str, language: str = "bash") -> Callable[[F], F]:
    """Claims every block of this section and language for the decorated test or fixture, which runs or reads them all."""
    assert any((block.section, block.language) == (section, language) for block in BLOCKS), f"no such block: {section}"
    CLAIMED.add((section, language))
    return lambda function: function


def blocks(section: str, language: str = "bash") -> list[Block]:
    """The blocks of a section in one language."""
    return [block for block in BLOCKS if (block.section, block.language) == (section, language)]
