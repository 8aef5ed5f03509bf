"""Checking one page of the record: its rows, its part of the tree, its checkpoints. Free of Django."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
import psycopg

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.events import doer_key
from keyvault_portal.audit.merkle import TILE_HEIGHT, Frontier, Tile, levels, prefix

PAGE_HEIGHT = 11
LEVELS = 64 // TILE_HEIGHT
SEPARATORS = 6  # in the short projection of an event
PAGE = 1 << PAGE_HEIGHT  # events read at a time; a power of two, so that a full page is one perfect subtree

# The projection of an event as one text, with lengths so that text cannot move from one column to the next unseen.
_PROJECTION = """concat_ws(E'\\x1f', actor_id, length(actor_id), actor_label, length(actor_label), action,
    length(action), at, target_type, length(target_type), target_id, length(target_id), coalesce(ring_id::text, ''),
    outcome)"""
_COLUMNS = (
    "actor_id", "", "actor_label", "", "action", "", "at", "target_type", "", "target_id", "", "ring_id", "outcome"
)  # fmt: skip
# What a good page needs, in few bytes: the time as it is sent, and the other columns in one text without lengths, which
# matter only where a text holds a separator. Rows cost the server half of what one long aggregate does.
_PAGE = """
SELECT leaf, leaf_hash, timestamptz_send(at),
       actor_id || E'\\x1f' || actor_label || E'\\x1f' || action || E'\\x1f' || target_type || E'\\x1f' || target_id
       || E'\\x1f' || coalesce(ring_id::text, '') || E'\\x1f' || outcome
FROM audit_event WHERE seq >= %b AND seq < %b ORDER BY seq
"""
_ROWS = f"""
SELECT seq, leaf, leaf_hash, {_PROJECTION} FROM audit_event WHERE seq >= %s AND seq < %s ORDER BY seq
"""  # noqa: S608
_CHECKPOINTS = """
SELECT tree_size, root_hash, note FROM audit_checkpoint WHERE tree_size > %s AND tree_size <= %s ORDER BY tree_size
"""
_LAST_BEFORE = "SELECT coalesce(max(tree_size), 0) FROM audit_checkpoint WHERE tree_size <= %s"
_TILES = "SELECT index, hash FROM audit_tile WHERE level = %s AND index >= %s AND index < %s"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong; `seq` is the bad event, or the first of those among which it is."""

    seq: int
    problem: str  # stable: gap, bytes_altered, leaf_hash_altered, reordered, projection_differs, tree_differs, ...
    detail: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says about the events [start, end)."""

    start: int
    end: int
    rows: list[tuple[bytes, bytes, bytes, str]]
    checkpoints: list[tuple[int, bytes, str]]
    tiles: dict[tuple[int, int], bytes]


class Request:
    """A page asked for in a pipeline: the database prepares it while the page before is being hashed."""

    def __init__(self, connection: psycopg.Connection[Any], start: int, end: int) -> None:
        """Ask for the events [start, end), which begin at a multiple of PAGE."""
        self._start, self._end = start, end

        def ask(query: str, values: list[int]) -> psycopg.Cursor[Any]:
            return connection.cursor(binary=True).execute(query, values)

        self._rows = ask(_PAGE, [start, end])
        self._checkpoints = ask(_CHECKPOINTS, [start, end])
        spans = {level: (start >> TILE_HEIGHT * level, end >> TILE_HEIGHT * level) for level in range(1, LEVELS)}
        self._tiles = {level: ask(_TILES, [level, *span]) for level, span in spans.items() if span[0] < span[1]}

    def read(self) -> Stored:
        """What the database says about these events."""
        tiles = {(level, index): digest for level, found in self._tiles.items() for index, digest in found}
        return Stored(self._start, self._end, self._rows.fetchall(), self._checkpoints.fetchall(), tiles)


def covered(connection: psycopg.Connection[Any], size: int) -> int:
    """The size of the last checkpoint of at most `size` events, 0 without one."""
    row = connection.execute(_LAST_BEFORE, [size]).fetchone()
    return int(row[0]) if row else 0


class Page:
    """The events [start, end) checked against their hashes, columns, tiles and checkpoints."""

    def __init__(
        self, connection: psycopg.Connection[Any], stored: Stored, before: Frontier, covered_before: int
    ) -> None:
        """`before` is the tree up to this page, `covered_before` the size of the last checkpoint in it."""
        self._covered_before = covered_before
        self.before, self.start, self.end, self.checkpoints = before, stored.start, stored.end, stored.checkpoints
        self._stored, self._rows = stored, None
        hashes = [sha256(b"\x00" + row[0]).digest() for row in stored.rows]
        self._gap = self.end
        if len(stored.rows) < self.end - self.start or not _as_stored(stored, hashes):
            with connection.cursor(binary=True) as cursor:
                self._rows = cursor.execute(_ROWS, [self.start, self.end]).fetchall()
            hashes = [sha256(b"\x00" + row[1]).digest() for row in self._rows]
            expected = range(self.start, self.end)
            present = {row[0] for row in self._rows}
            self._gap = next((seq for seq in expected if seq not in present), self.end)
        self._nodes = levels(hashes)
        self.after, self._tiles = self._close()

    def check(self, keys: Collection[bytes], *, every_signature: bool) -> Finding | None:
        """The first thing that is wrong here; verifies the last checkpoint's signature, or every one."""
        row = self._check_rows()
        tree = self._check_checkpoints() or self._check_tiles()
        if tree and (row is None or row.seq >= tree[1]):
            return tree[0]
        if row:
            return row
        for size, _, note in self.checkpoints if every_signature else self.checkpoints[-1:]:
            try:
                checkpoint.verify(note, keys)
            except checkpoint.CheckpointError as error:
                return Finding(size - 1, error.problem, f"The checkpoint of {size} events: {error}")
        return None

    def _close(self) -> tuple[Frontier, list[Tile]]:
        """The frontier after this page, and the tiles that end in it."""
        count = self._gap - self.start
        tiles = []
        if len(self._nodes) > TILE_HEIGHT:
            first = self.start >> TILE_HEIGHT
            whole = self._nodes[TILE_HEIGHT][: count >> TILE_HEIGHT]
            tiles = [Tile(1, first + offset, node) for offset, node in enumerate(whole)]
        if count < PAGE:
            return Frontier(self._gap, self.before.hashes + prefix(self._nodes, count)), tiles
        stack, height, node = list(self.before.hashes), PAGE_HEIGHT, self._nodes[PAGE_HEIGHT][0]
        while not self._gap >> height & 1:
            node = sha256(b"\x01" + stack.pop() + node).digest()
            height += 1
            if height % TILE_HEIGHT == 0:
                tiles.append(Tile(height // TILE_HEIGHT, (self._gap >> height) - 1, node))
        return Frontier(self._gap, (*stack, node)), tiles

    def _root_at(self, size: int) -> bytes:
        if size == self.after.size:
            return self.after.root()
        return Frontier(size, self.before.hashes + prefix(self._nodes, size - self.start)).root()

    def _check_rows(self) -> Finding | None:  # noqa: PLR0911  one return a kind of damage
        if self._rows is None:
            return None
        for expected, (seq, leaf, stored, projection), computed in zip(
            range(self.start, self.end), self._rows, self._nodes[0], strict=False
        ):
            if seq != expected:
                return Finding(expected, "gap", f"Event {expected} is missing.")
            try:
                event = orjson.loads(leaf)
                if event["seq"] != seq:
                    return Finding(
                        seq, "reordered", f"The bytes stored as event {seq} are those of event {event['seq']}."
                    )
                columns = _project_head(event) + _at_text(event["at"]) + _project_tail(event)
            except (orjson.JSONDecodeError, KeyError, TypeError):
                return Finding(seq, "bytes_altered", f"The bytes of event {seq} are no event.")
            if computed != stored:
                return self._explain_hash(seq)
            if columns != projection:
                return Finding(seq, "projection_differs", _explain_columns(seq, columns, projection))
        if self._gap < self.end:
            return Finding(self._gap, "gap", f"Event {self._gap} is missing.")
        return None

    def _explain_hash(self, seq: int) -> Finding:
        """Which of the two was altered: if the bytes still lead to the next signed root, it was the stored hash."""
        for size, root, _ in self.checkpoints:
            if seq < size <= self._gap and self._root_at(size) == root:
                return Finding(seq, "leaf_hash_altered", f"The stored hash of event {seq} is not that of its bytes.")
        return Finding(seq, "bytes_altered", f"The bytes of event {seq} were altered.")

    def _check_checkpoints(self) -> tuple[Finding, int] | None:
        """A wrong checkpoint, with the event number after the last that may be to blame."""
        good, wrong = self._covered_before, None
        for size, root, note in self.checkpoints:
            if size > self._gap:
                break
            computed = self._root_at(size)
            try:
                stated = checkpoint.parse(note)[0]
            except checkpoint.CheckpointError as error:
                return Finding(size - 1, "checkpoint_altered", f"The checkpoint of {size} events: {error}"), size
            right = computed == root, (size, computed) == (stated.size, stated.root)
            if all(right):
                if wrong:  # a later root is right, so the events are, and only that checkpoint is not
                    return Finding(
                        wrong - 1, "checkpoint_altered", f"The checkpoint of {wrong} events was altered."
                    ), wrong
                good = size
            elif any(right):
                return Finding(size - 1, "checkpoint_altered", f"The checkpoint of {size} events was altered."), size
            else:
                wrong = wrong or size
        if wrong is None:
            return None
        detail = f"The events {good} to {wrong - 1} do not lead to the root of the checkpoint of {wrong} events."
        return Finding(good, "tree_differs", detail), wrong

    def _check_tiles(self) -> tuple[Finding, int] | None:
        covered = max((size for size, _, _ in self.checkpoints if size <= self._gap), default=0)
        for tile in self._tiles:
            stored = self._stored.tiles.get((tile.level, tile.index))
            if stored == tile.hash:
                continue
            width = 1 << TILE_HEIGHT * tile.level
            start, end = tile.index * width, (tile.index + 1) * width
            name = f"tile {tile.level}/{tile.index} (events {start} to {end - 1})"
            if stored is None:
                return Finding(start, "tile_missing", f"The {name} is missing."), end
            if end <= covered or tile.level > 1:  # the tiles below it were right
                return Finding(start, "tile_altered", f"The {name} was altered."), end
            return Finding(start, "tree_differs", f"The events do not lead to the {name}."), end
        return None


def _project_head(event: Mapping[str, Any]) -> str:
    actor, action = event["actor"], event["action"]
    doer, label = doer_key(actor), actor["label"]
    return f"{doer}\x1f{len(doer)}\x1f{label}\x1f{len(label)}\x1f{action}\x1f{len(action)}\x1f"


def _project_tail(event: Mapping[str, Any]) -> str:
    kind, name = event["target"]["type"], event["target"]["id"]
    return f"\x1f{kind}\x1f{len(kind)}\x1f{name}\x1f{len(name)}\x1f{event['ring'] or ''}\x1f{event['outcome']}"


def _at_text(at: str) -> str:
    """PostgreSQL's text of a leaf's time, in UTC and ISO style."""
    return f"{at[:10]} {at[11:19]}{at[19:26].rstrip('0').rstrip('.')}+00"


class _Known[Made](dict[bytes, Made]):
    """What is made of byte strings that many leaves have in common, once each."""

    def __init__(self, make: Callable[[bytes], Made]) -> None:
        self._make = make

    def __missing__(self, piece: bytes) -> Made:
        if len(self) > PAGE:
            self.clear()
        text = self[piece] = self._make(piece)
        return text


def _head(piece: bytes) -> str:
    event = orjson.loads(piece[:-1] + b"}")
    actor = event["actor"]
    return f"{doer_key(actor)}\x1f{actor['label']}\x1f{event['action']}\x1f"


def _tail(piece: bytes) -> str:
    event = orjson.loads(b"{" + piece[1:])
    target = event["target"]
    return f"{target['type']}\x1f{target['id']}\x1f{event['ring'] or ''}\x1f{event['outcome']}"


def _time(piece: bytes) -> bytes:
    """As PostgreSQL sends it: microseconds since 2000."""
    return ((datetime.fromisoformat(piece.decode()) - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_AT, _TARGET = b'"at":"', b',"target":'
_heads, _tails, _times = _Known(_head), _Known(_tail), _Known(_time)
_shapes: dict[str, tuple[bytes, bytes, bytes]] = {}  # by columns, as the leaf seen last has them


def _as_stored(stored: Stored, hashes: list[bytes]) -> bool:
    """Whether hashes and columns are those that these leaves should have, all leaves standing in their places.

    Whoever alters a leaf to deceive this has altered its hash.
    """
    leaves, stored_hashes, stored_times, texts = zip(*stored.rows, strict=True)
    times = []
    try:
        for seq, (leaf, text) in enumerate(zip(leaves, texts, strict=True), stored.start):
            shape = _shapes.get(text)
            if not (shape and leaf.startswith(shape[0]) and leaf.endswith(b"%b%d%b" % (shape[1], seq, shape[2]))):
                shape = _learn(leaf, seq, text)
            at = len(shape[0])
            times.append(_times[leaf[at : at + 27]])
    except (ValueError, KeyError, TypeError, OverflowError):
        return False
    return (tuple(hashes), tuple(times)) == (stored_hashes, stored_times)


def _learn(leaf: bytes, seq: int, text: str) -> tuple[bytes, bytes, bytes]:
    """What leaves with the columns `text` look like: up to the time, from the outcome to the number, and after it.

    Raises ValueError if this leaf has other columns or another number. Cuts the bytes where the leaf format says,
    without parsing them whole: quotes within JSON strings are escaped, so these marks stand for themselves.
    """
    at = leaf.index(_AT) + len(_AT)
    front, _, target = leaf.rpartition(b',"seq":%d,"target":' % seq)
    outcome = front[front.rindex(b',"outcome":"') :]  # fails where the leaf has another number
    # With just as many separators as places for them none stands inside a text, so each text is in its own column.
    if _heads[leaf[: at - len(_AT)]] + _tails[outcome + _TARGET + target] != text or text.count("\x1f") != SEPARATORS:
        raise ValueError("The leaf has other columns.")
    if len(_shapes) > PAGE:
        _shapes.clear()
    shape = _shapes[text] = leaf[:at], outcome + b',"seq":', _TARGET + target
    return shape


def _explain_columns(seq: int, leaf: str, stored: str) -> str:
    pairs = zip(_COLUMNS, leaf.split("\x1f"), stored.split("\x1f"), strict=False)
    column = next((name for name, mine, theirs in pairs if name and mine != theirs), "of text")
    return f"The column {column} of event {seq} differs from its bytes."
