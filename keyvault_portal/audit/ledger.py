"""Appending to the record: one short critical section under the head lock, inside the caller's transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

import psycopg
from django.db import connection

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.events import PreparedEvent, timestamp
from keyvault_portal.audit.merkle import Frontier
from keyvault_portal.audit.signing import load_signer

_LOCK_HEAD = "SELECT size, frontier, at FROM audit_head WHERE id = 1 FOR UPDATE"
# One statement, so that the lock is held for one round trip only; all its parts run, in no particular order.
_APPEND = """
WITH event AS (
    INSERT INTO audit_event (seq, at, actor_id, actor_label, action, target_type, target_id, ring_id, outcome,
                             leaf, leaf_hash)
    SELECT seq, %(at)b, actor_id, actor_label, action, target_type, target_id, ring_id, outcome, leaf, leaf_hash
    FROM unnest(%(seqs)b::bigint[], %(actor_ids)s::text[], %(actor_labels)s::text[], %(actions)s::text[],
                %(target_types)s::text[], %(target_ids)s::text[], %(ring_ids)s::uuid[], %(outcomes)s::text[],
                %(leaves)b::bytea[], %(leaf_hashes)b::bytea[])
      AS new (seq, actor_id, actor_label, action, target_type, target_id, ring_id, outcome, leaf, leaf_hash)
), tile AS (
    INSERT INTO audit_tile (level, index, hash)
    SELECT * FROM unnest(%(tile_levels)s::smallint[], %(tile_indexes)s::bigint[], %(tile_hashes)b::bytea[])
), signer AS (
    INSERT INTO audit_signer (key_id, public_key, name, created_at)
    VALUES (%(key_id)s, %(public_key)b, %(name)s, %(at)b) ON CONFLICT DO NOTHING
), head AS (
    UPDATE audit_head SET size = %(size)b, frontier = %(frontier)b, root = %(root)b, at = %(at)b WHERE id = 1
)
INSERT INTO audit_checkpoint (tree_size, at, root_hash, note) VALUES (%(size)b, %(at)b, %(root)b, %(note)s)
"""


def append(events: Sequence[PreparedEvent]) -> range:
    """Append `events` in order within the current transaction and return their numbers.

    Locks the head row until that transaction ends, so this is the last thing it should do. Signs one checkpoint.
    Raises AuditUnavailable, after which the transaction must be rolled back.
    """
    signer = load_signer()
    connection.ensure_connection()
    assert connection.in_atomic_block, "an append outlives its transaction only by commit"
    try:
        # Below Django's cursor: its client-side binding would spell every hash as text.
        with psycopg.Cursor(connection.connection) as cursor:
            row = cursor.execute(_LOCK_HEAD).fetchone()
            if row is None:
                raise AuditUnavailable("The audit head is missing.")
            size, packed, last = row
            at = max(datetime.now(UTC), last)  # a clock set back must not put events out of order
            text = timestamp(at)
            leaves = [event.leaf(size + offset, text) for offset, event in enumerate(events)]
            hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
            frontier, tiles = Frontier.unpack(size, bytes(packed)).append(hashes)
            root = frontier.root()
            note = checkpoint.sign(checkpoint.Checkpoint(signer.name, frontier.size, root), signer.name, signer.key)
            columns = list(zip(*(event.columns for event in events), strict=True))
            seqs = range(size, frontier.size)
            cursor.execute(_APPEND, {
                "at": at, "seqs": list(seqs), "leaves": leaves, "leaf_hashes": hashes,
                "actor_ids": list(columns[0]), "actor_labels": list(columns[1]), "actions": list(columns[2]),
                "target_types": list(columns[3]), "target_ids": list(columns[4]), "ring_ids": list(columns[5]),
                "outcomes": list(columns[6]),
                "tile_levels": [tile.level for tile in tiles], "tile_indexes": [tile.index for tile in tiles],
                "tile_hashes": [tile.hash for tile in tiles],
                "key_id": signer.key_id, "public_key": signer.public_key, "name": signer.name,
                "size": frontier.size, "frontier": frontier.pack(), "root": root, "note": note,
            })  # fmt: skip
    except psycopg.Error as error:
        raise AuditUnavailable("The audit record cannot be written.") from error
    return seqs
