"""One audit event: what is written down, and how it becomes a leaf."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from keyvault_portal.audit.canonical import dumps

VERSION = 1  # of the leaf format
SUCCESS, REFUSED, FAILED = "success", "refused", "failed"
OUTCOMES = (SUCCESS, REFUSED, FAILED)


class Doer(Protocol):
    """What the record needs to know of an actor."""

    @property
    def id(self) -> UUID | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def address(self) -> str | None: ...
    @property
    def token_id(self) -> UUID | None: ...


Target = tuple[str, object, str]
"""(type, id, label) of what was acted on."""


@dataclass(frozen=True, slots=True)
class Event:
    """Who did (or tried) what to which target, and how it ended."""

    actor: Doer
    action: str
    target: Target = ("", "", "")
    ring_id: UUID | None = None
    outcome: str = SUCCESS
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedEvent:
    """An event in canonical pieces: everything but the time and the number that the head lock decides."""

    columns: tuple[str, str, str, str, str, UUID | None, str]
    head: bytes
    middle: bytes
    tail: bytes

    def leaf(self, seq: int, at: str) -> bytes:
        """The canonical JSON of the whole event."""
        return b"%b%b%b%d%b" % (self.head, at.encode(), self.middle, seq, self.tail)


def prepare(event: Event) -> PreparedEvent:
    """Canonicalise `event`; raises TypeError for details that are not plain data, ValueError for a wrong outcome."""
    if event.outcome not in OUTCOMES:
        raise ValueError(f"An outcome is one of {', '.join(OUTCOMES)}, not {event.outcome!r}.")
    if not event.action:
        raise ValueError("An audit event needs an action.")
    doer = event.actor
    actor: dict[str, Any] = {
        "id": str(doer.id) if doer.id else None,
        "kind": str(doer.kind),
        "label": _text(doer.label),
    }
    if doer.address:
        actor["address"] = _text(doer.address)
    if doer.token_id:
        actor["token"] = str(doer.token_id)
    target_type, target_id, target_label = (_text(part) for part in event.target)
    ring = str(event.ring_id) if event.ring_id else None
    action = _text(event.action)
    target = {"type": target_type, "id": target_id, "label": target_label}
    return PreparedEvent(
        columns=(doer_key(actor), actor["label"], action, target_type, target_id, event.ring_id, event.outcome),
        head=b'{"action":%b,"actor":%b,"at":"' % (dumps(action), dumps(actor)),
        middle=b'","details":%b,"outcome":%b,"ring":%b,"seq":'
        % (dumps(dict(event.details)), dumps(event.outcome), dumps(ring)),
        tail=b',"target":%b,"v":%d}' % (dumps(target), VERSION),
    )


def doer_key(actor: Mapping[str, Any]) -> str:
    """What finds an actor's events: the id, or kind and label where there is none (schedules, sweepers)."""
    return actor["id"] or f"{actor['kind']}:{actor['label']}"


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _text(value: object) -> str:
    """As text that a PostgreSQL column can hold: it refuses NUL, which a hostile label could bring."""
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
