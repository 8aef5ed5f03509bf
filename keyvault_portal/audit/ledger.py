"""Appending to the record: one short critical section under the head lock, inside the caller's transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import psycopg
from django.db import IntegrityError, connection, transaction
from psycopg.pq import TransactionStatus

from keyvault_portal.arrays import BYTEA, TEXT, UUID, pack
from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.errors import AuditUnavailable, Overtaken
from keyvault_portal.audit.events import PreparedEvent, timestamp
from keyvault_portal.audit.merkle import Frontier
from keyvault_portal.audit.signing import Signer, load_signer

_LOCK_HEAD = "SELECT size, frontier, root, at FROM audit_head WHERE id = 1 FOR UPDATE"
# One statement, so that the lock is held for one round trip only; all its parts stand or fall with the head's move.
_APPEND = """
WITH head AS (
    UPDATE audit_head SET size = %(size)b, frontier = %(frontier)b, root = %(root)b, at = %(at)b
    WHERE id = 1 AND size = %(size_before)b AND root = %(root_before)b{guards} RETURNING id
), event AS (
    INSERT INTO audit_event (seq, at, actor_id, actor_label, action, target_type, target_id, ring_id, outcome,
                             leaf, leaf_hash)
    SELECT %(size_before)b + place - 1, %(at)b, actor_id, actor_label, action, target_type, target_id, ring_id, outcome,
           leaf, leaf_hash
    FROM head, unnest(%(actor_ids)b::text[], %(actor_labels)b::text[], %(actions)b::text[],
                %(target_types)b::text[], %(target_ids)b::text[], %(ring_ids)b::uuid[], %(outcomes)b::text[],
                %(leaves)b::bytea[], %(leaf_hashes)b::bytea[]) WITH ORDINALITY
      AS new (actor_id, actor_label, action, target_type, target_id, ring_id, outcome, leaf, leaf_hash, place)
)
{more}INSERT INTO audit_checkpoint (tree_size, at, root_hash, note)
SELECT %(size)b, %(at)b, %(root)b, %(note)b FROM head
"""
# What most appends have no need of: the server pays for every part of a statement, also for one that writes nothing.
_TILE = """, tile AS (
    INSERT INTO audit_tile (level, index, hash)
    SELECT new.* FROM head, unnest(%(tile_levels)b::smallint[], %(tile_indexes)b::bigint[], %(tile_hashes)b::bytea[]) new
)
"""
_SIGNER = """, signer AS (
    INSERT INTO audit_signer (key_id, public_key, name, created_at)
    SELECT %(key_id)b, %(public_key)b, %(name)b, %(at)b FROM head ON CONFLICT DO NOTHING
)
"""
SHARED_APPENDS = 32  # after another process appended in between, so many appends do not hope to be alone


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table, a JSON array of objects that name every column, to be written by the statement that appends."""

    table: str
    content: str

    def source(self, placeholder: str) -> str:
        """The rows as PostgreSQL reads them from the parameter `placeholder`, called `new`."""
        return f"json_populate_recordset(NULL::{self.table}, {placeholder}::text::json) AS new"


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition in SQL without which nothing is written; each `{}` in it is one of its values, in their order."""

    condition: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """Where the record ends: the tree so far, its root, the time of the last event, and a signer that is known there."""

    frontier: Frontier
    root: bytes
    at: datetime
    signer: str = ""


class Hope:
    """Where this process left the record, and whether to hope that nobody has appended since. A wrong hope only costs time."""

    def __init__(self) -> None:
        self._head: Head | None = None
        self._by_lock = 0  # how many more appends take the lock first

    def take(self) -> Head | None:
        """The end to append after without locking first; None where the lock is the better way."""
        head, self._head = self._head, None
        if self._by_lock:
            self._by_lock -= 1
            return None
        return head

    def disappointed(self) -> None:
        """Somebody else appended: take the lock for a while."""
        self._by_lock = SHARED_APPENDS

    def keep(self, head: Head) -> None:
        self._head = head


_hope = Hope()  # of transactions; the committer has one of its own


def append(
    events: Sequence[PreparedEvent], companions: Sequence[Rows] = (), guards: Sequence[Guard] = ()
) -> range:  # fmt: skip
    """Append `events` in order within the current transaction, write `companions` with them, and return their numbers.

    Locks the head row until that transaction ends, so this is the last thing it should do. Signs one checkpoint. A
    transaction that has not said anything yet becomes durable here, in one round trip, while nobody else appends.
    Raises AuditUnavailable, IntegrityError for a companion, or Overtaken for a guard that does not hold; the transaction
    must then be rolled back.
    """
    connection.ensure_connection()
    assert connection.in_atomic_block, "an append outlives its transaction only by commit"
    signer, head, known = load_signer(), None, None
    if _is_silent() and (known := _hope.take()) is not None:
        connection.connection.autocommit = True  # the statement is the whole transaction
        try:
            head = append_after(known, events, signer, companions, guards)
        finally:
            if not connection.connection.closed:
                connection.connection.autocommit = False
    if head is None:
        _check_references()
        head = append_locked(events, signer, companions, guards)
        if known is not None:
            _hope.disappointed()
    _hope.keep(head)
    return range(head.frontier.size - len(events), head.frontier.size)


def append_durably(
    events: Sequence[PreparedEvent], companions: Sequence[Rows] = (), guards: Sequence[Guard] = ()
) -> range:  # fmt: skip
    """As `append`, outside any transaction: in one of its own."""
    connection.ensure_connection()
    signer, head = load_signer(), None
    if (known := _hope.take()) is not None:
        head = append_after(known, events, signer, companions, guards)
    if head is None:
        with transaction.atomic():
            head = append_locked(events, signer, companions, guards)
        if known is not None:
            _hope.disappointed()
    _hope.keep(head)
    return range(head.frontier.size - len(events), head.frontier.size)


def _check_references() -> None:
    """Check the foreign keys of what was written now, not at the commit: that may wait for whoever holds the row referred to.

    With the head in hand everybody would wait, and be deadlocked with a holder who has something to record.
    """
    if connection.connection.info.transaction_status is not TransactionStatus.IDLE:
        with connection.wrap_database_errors:
            connection.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _is_silent() -> bool:
    """Whether the current transaction is the outermost one, will commit, and has not reached the server yet."""
    idle = connection.connection.info.transaction_status is TransactionStatus.IDLE
    return idle and len(connection.atomic_blocks) == 1 and not connection.needs_rollback


def append_locked(
    events: Sequence[PreparedEvent], signer: Signer, companions: Sequence[Rows] = (), guards: Sequence[Guard] = ()
) -> Head:
    """As `append`; returns where the record ends then, which holds once the transaction has committed."""
    # Below Django's cursor: its client-side binding would spell every hash as text.
    with _unavailable(), psycopg.Cursor(connection.connection) as cursor:
        row = cursor.execute(_LOCK_HEAD).fetchone()
        if row is None:
            raise AuditUnavailable("The audit head is missing.")
        size, packed, root, at = row
        head = Head(Frontier.unpack(size, bytes(packed)), bytes(root), at)
        moved = _append(cursor, head, events, signer, companions, guards)
        if moved is None and guards:
            raise Overtaken
        if moved is None:
            raise AuditUnavailable("The audit head changed under its lock.")
        return moved


def append_after(
    head: Head, events: Sequence[PreparedEvent], signer: Signer, companions: Sequence[Rows] = (), guards: Sequence[Guard] = ()
) -> Head | None:  # fmt: skip
    """Append `events` durably in one round trip if the record still ends at `head`; None, writing nothing, if not.

    None as well where a guard does not hold.

    The connection must be in autocommit. Raises AuditUnavailable, or IntegrityError for a companion.
    """
    connection.ensure_connection()
    assert connection.connection.autocommit, "the statement is its own transaction"
    with _unavailable(), psycopg.Cursor(connection.connection) as cursor:
        return _append(cursor, head, events, signer, companions, guards)


def _append(
    cursor: psycopg.Cursor[Any], head: Head, events: Sequence[PreparedEvent], signer: Signer, companions: Sequence[Rows],
    guards: Sequence[Guard],
) -> Head | None:  # fmt: skip
    size = head.frontier.size
    at = max(datetime.now(UTC), head.at)  # a clock set back must not put events out of order
    text = timestamp(at)
    leaves = [event.leaf(size + offset, text) for offset, event in enumerate(events)]
    hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    frontier, tiles = head.frontier.append(hashes)
    root = frontier.root()
    note = checkpoint.sign(checkpoint.Checkpoint(signer.name, frontier.size, root), signer.name, signer.key)
    *texts, rings, outcomes = zip(*(event.columns for event in events), strict=True)
    actor_ids, actor_labels, actions, target_types, target_ids = (pack(column, TEXT) for column in texts)
    values = {
        "at": at, "leaves": pack(leaves, BYTEA), "leaf_hashes": pack(hashes, BYTEA),
        "actor_ids": actor_ids, "actor_labels": actor_labels, "actions": actions,
        "target_types": target_types, "target_ids": target_ids, "outcomes": pack(outcomes, TEXT),
        "ring_ids": pack([ring and ring.bytes for ring in rings], UUID),
        "size": frontier.size, "frontier": frontier.pack(), "root": root, "note": note,
        "size_before": size, "root_before": head.root,
    }  # fmt: skip
    if tiles:
        values |= {
            "tile_levels": [tile.level for tile in tiles], "tile_indexes": [tile.index for tile in tiles],
            "tile_hashes": [tile.hash for tile in tiles],
        }  # fmt: skip
    if new_signer := head.signer != signer.key_id:
        values |= {"key_id": signer.key_id, "public_key": signer.public_key, "name": signer.name}
    for place, rows in enumerate(companions):
        values[f"companion_{place}"] = rows.content
    for place, guard in enumerate(guards):
        values |= {f"guard_{place}_{number}": value for number, value in enumerate(guard.values)}
    tables, conditions = tuple(rows.table for rows in companions), tuple(guard.condition for guard in guards)
    cursor.execute(_statement(tables, conditions, bool(tiles), new_signer), values)
    return Head(frontier, root, at, signer.key_id) if cursor.rowcount else None


@cache
def _statement(tables: tuple[str, ...], conditions: tuple[str, ...], tile: bool, signer: bool) -> bytes:
    """The statement that appends and writes rows of these tables; their rows are written if the head's move is."""
    more = (_TILE if tile else "") + (_SIGNER if signer else "")
    for place, table in enumerate(tables):
        source = Rows(table, "").source(f"%(companion_{place})b")
        more += f", companion_{place} AS (INSERT INTO {table} SELECT new.* FROM head, {source})\n"  # noqa: S608  names of tables of ours
    guards = ""
    for place, condition in enumerate(conditions):
        names = (f"%(guard_{place}_{number})b" for number in range(condition.count("{}")))
        guards += f" AND {condition.format(*names)}"
    return _APPEND.replace("{more}", more).replace("{guards}", guards).encode()


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except psycopg.IntegrityError as error:
        if not (error.diag.table_name or "audit_").startswith("audit_"):
            raise IntegrityError(error.diag.constraint_name) from error  # of a companion
        raise AuditUnavailable("The audit record cannot be written.") from error
    except psycopg.Error as error:
        raise AuditUnavailable("The audit record cannot be written.") from error
