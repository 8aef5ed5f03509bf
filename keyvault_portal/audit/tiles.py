"""The stored tree: any subtree's root from tiles and leaf hashes. Free of Django, for light processes."""

from typing import Any

import psycopg

from keyvault_portal.audit.merkle import TILE_HEIGHT, Frontier, fold, frontier_at

WIDTH = 1 << TILE_HEIGHT
_LEAVES = "SELECT leaf_hash FROM audit_event WHERE seq >= %s AND seq < %s ORDER BY seq"
_TILES = "SELECT hash FROM audit_tile WHERE level = %s AND index >= %s AND index < %s ORDER BY index"


class TreeDamaged(ValueError):
    """A stored hash that the tree needs is missing."""


class StoredTree:
    """Reads 256 nodes at a time and keeps them, so a proof costs at most two blocks a level."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._blocks: dict[tuple[int, int], list[bytes]] = {}

    def subtree(self, start: int, end: int) -> bytes:
        """The root over the stored leaves [start, end); raises TreeDamaged if hashes are missing.

        `start` must be a multiple of the largest power of two that fits, as in every RFC 9162 proof.
        """
        hashes: list[bytes] = []
        position = start
        while position < end:
            height = (end - position).bit_length() - 1
            hashes.append(self._perfect(position, height))
            position += 1 << height
        return Frontier(end - start, tuple(hashes)).root()

    def frontier(self, size: int) -> Frontier:
        """The frontier of the first `size` stored leaves."""
        return frontier_at(size, self.subtree)

    def _perfect(self, start: int, height: int) -> bytes:
        level = height // TILE_HEIGHT
        index, count = start >> level * TILE_HEIGHT, 1 << height - level * TILE_HEIGHT
        block, offset = divmod(index, WIDTH)
        nodes = self._block(level, block)[offset : offset + count]
        if len(nodes) < count:
            raise TreeDamaged(f"A hash of level {level} is missing after {index}.")
        return fold(nodes)

    def _block(self, level: int, block: int) -> list[bytes]:
        if (level, block) not in self._blocks:
            first, last = block * WIDTH, (block + 1) * WIDTH
            with psycopg.Cursor(self._connection) as cursor:
                if level:
                    cursor.execute(_TILES, [level, first, last], binary=True)
                else:
                    cursor.execute(_LEAVES, [first, last], binary=True)
                self._blocks[level, block] = [row[0] for row in cursor]
        return self._blocks[level, block]
