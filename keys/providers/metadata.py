"""Policy, attributes and tags of a key as a document: its canonical form, and what one document has that another has not."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keys.providers.base import TAG, CredentialsRefused

# Stands for a section that the portal has no right to read; it is then neither compared by content nor set back.
UNREADABLE = "not readable with the portal's rights"
# What the entries of a list are known by, so that one more of them is one difference and not a shift of all the others.
_NAMES = ("Sid", "role", "name")


@dataclass(frozen=True, slots=True)
class Change:
    """One place in which two documents differ; an absent value is an empty text."""

    place: str
    accepted: str
    there: str


def settled(value: Any) -> Any:
    """The same with every list in one order and without empty objects: in policies, tags and attributes both say nothing."""
    if isinstance(value, dict):
        return {str(name): found for name, inner in value.items() if (found := settled(inner)) != {}}
    if isinstance(value, list):
        return sorted((settled(item) for item in value), key=_text)
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of the canonical form, in hex: equal for documents that differ in the order of lists only."""
    return hashlib.sha256(_text(settled(document)).encode()).hexdigest()


def readable(read: Callable[[], Any]) -> Any:
    """What `read` gives, or UNREADABLE where the provider refuses us this part of what it knows."""
    try:
        return read()
    except CredentialsRefused:
        return UNREADABLE


def without_mark(tags: dict[str, str]) -> dict[str, str]:
    """Tags without the portal's own, which is compared by itself."""
    return {name: value for name, value in tags.items() if name != TAG}


def changes(accepted: dict[str, Any], there: dict[str, Any]) -> list[Change]:
    """Every place in which they differ, in the order of the places."""
    before, after = dict(_leaves("", settled(accepted))), dict(_leaves("", settled(there)))
    places = sorted(before.keys() | after.keys())
    return [
        Change(place, before.get(place, ""), after.get(place, ""))
        for place in places
        if before.get(place) != after.get(place)
    ]


def _leaves(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{place} / {name}" if place else name, inner)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        seen: dict[str, int] = {}
        for item in value:
            name = _known_by(item)
            seen[name] = seen.get(name, 0) + 1
            again = f" ({seen[name]})" if seen[name] > 1 else ""
            yield from _leaves(f"{place} / {name}{again}", item)
    elif isinstance(value, list):
        yield place, ", ".join(map(str, value)) or "none"
    else:
        yield place, value if isinstance(value, str) else json.dumps(value)


def _known_by(item: Any) -> str:
    """By its name if it has one; an entry without one is a new entry as soon as anything in it changes."""
    named = next((str(item[name]) for name in _NAMES if isinstance(item, dict) and item.get(name)), "")
    return named or f"entry {hashlib.sha256(_text(item).encode()).hexdigest()[:8]}"
