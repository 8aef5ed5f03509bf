"""Checking one page of the record: its rows, its part of the tree, its checkpoints. Free of Django."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
import psycopg

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.merkle import TILE_HEIGHT, Frontier, Tile, levels, prefix

PAGE_HEIGHT = 13
PAGE = 1 << PAGE_HEIGHT  # events read at a time; a power of two, so that a full page is one perfect subtree

# The projection as one text, with lengths so that text cannot move from one column to the next unseen.
_EVENTS = """
SELECT seq, leaf, leaf_hash, at::text,
       concat_ws(E'\\x1f', actor_id, length(actor_id), actor_label, length(actor_label), action, length(action),
                 target_type, length(target_type), target_id, length(target_id), coalesce(ring_id::text, ''), outcome)
FROM audit_event WHERE seq >= %s AND seq < %s ORDER BY seq
"""
_COLUMNS = ("actor_id", "", "actor_label", "", "action", "", "target_type", "", "target_id", "", "ring_id", "outcome")
_CHECKPOINTS = """
SELECT tree_size, root_hash, note FROM audit_checkpoint WHERE tree_size > %s AND tree_size <= %s ORDER BY tree_size
"""
_LAST_BEFORE = "SELECT coalesce(max(tree_size), 0) FROM audit_checkpoint WHERE tree_size <= %s"
_TILES = "SELECT level, index, hash FROM audit_tile WHERE level = %s AND index >= %s AND index < %s"


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong; `seq` is the bad event, or the first of those among which it is."""

    seq: int
    problem: str  # stable: gap, bytes_altered, leaf_hash_altered, reordered, projection_differs, tree_differs, ...
    detail: str


class Page:
    """The events [start, end), beginning at a multiple of PAGE, with everything that is stored about them."""

    def __init__(self, connection: psycopg.Connection[Any], before: Frontier, start: int, end: int) -> None:
        self.before, self.start, self.end = before, start, end
        with connection.cursor(binary=True) as cursor:
            self.rows = cursor.execute(_EVENTS, [start, end]).fetchall()
            self.checkpoints = cursor.execute(_CHECKPOINTS, [start, end]).fetchall()
            (self._covered_before,) = cursor.execute(_LAST_BEFORE, [start]).fetchone() or (0,)
        self._nodes = levels([sha256(b"\x00" + row[1]).digest() for row in self.rows])
        self._gap = next((start + i for i, row in enumerate(self.rows) if row[0] != start + i), start + len(self.rows))
        self.after, self._tiles = self._close()
        self._stored_tiles: dict[tuple[int, int], bytes] = {}
        with connection.cursor(binary=True) as cursor:
            for level in {tile.level for tile in self._tiles}:
                size = TILE_HEIGHT * level
                for row in cursor.execute(_TILES, [level, start >> size, end >> size]):
                    self._stored_tiles[row[0], row[1]] = row[2]

    def check(self, keys: Mapping[str, bytes], *, every_signature: bool) -> Finding | None:
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
                return Finding(size - 1, "checkpoint_signature", f"The checkpoint of {size} events: {error}")
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

    def _check_rows(self) -> Finding | None:
        hashes = self._nodes[0]
        last_at = last_text = None
        for expected, (seq, leaf, stored, at, projection), computed in zip(
            range(self.start, self.end), self.rows, hashes, strict=False
        ):
            if seq != expected:
                return Finding(expected, "gap", f"Event {expected} is missing.")
            try:
                event = orjson.loads(leaf)
                if event["seq"] != seq:
                    return Finding(seq, "reordered", f"The bytes stored as event {seq} are those of event {event['seq']}.")
                columns = _project(event)
                if event["at"] != last_at:
                    last_at, last_text = event["at"], _at_text(event["at"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                return Finding(seq, "bytes_altered", f"The bytes of event {seq} are no event.")
            if computed != stored:
                return self._explain_hash(seq)
            if columns != projection or at != last_text:
                return Finding(seq, "projection_differs", _explain_columns(seq, columns, projection, at, last_text))
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
                    return Finding(wrong - 1, "checkpoint_altered", f"The checkpoint of {wrong} events was altered."), wrong
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
            stored = self._stored_tiles.get((tile.level, tile.index))
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


def _project(event: dict[str, Any]) -> str:
    actor, target = event["actor"], event["target"]
    doer, label, action = actor["id"] or "", actor["label"], event["action"]
    kind, name = target["type"], target["id"]
    return (
        f"{doer}\x1f{len(doer)}\x1f{label}\x1f{len(label)}\x1f{action}\x1f{len(action)}\x1f{kind}\x1f{len(kind)}"
        f"\x1f{name}\x1f{len(name)}\x1f{event['ring'] or ''}\x1f{event['outcome']}"
    )


def _at_text(at: str) -> str:
    """PostgreSQL's text of a leaf's time, in UTC and ISO style."""
    return f"{at[:10]} {at[11:19]}{at[19:26].rstrip('0').rstrip('.')}+00"


def _explain_columns(seq: int, leaf: str, stored: str, at: str, leaf_at: str | None) -> str:
    if at != leaf_at:
        return f"The column at of event {seq} differs from its bytes."
    pairs = zip(_COLUMNS, leaf.split("\x1f"), stored.split("\x1f"), strict=False)
    column = next((name for name, mine, theirs in pairs if name and mine != theirs), "of text")
    return f"The column {column} of event {seq} differs from its bytes."
