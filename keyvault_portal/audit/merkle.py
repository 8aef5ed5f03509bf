"""The Merkle tree of RFC 9162 (and RFC 6962): hashes, a frontier to append to, proofs and their verification."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
TILE_HEIGHT = 8  # a tile stands for 256 children; the widely used C2SP tiled layout


class ProofError(ValueError):
    """The proof does not connect what it claims to connect."""


def leaf_hash(data: bytes) -> bytes:
    """The 32-byte hash of one leaf (RFC 9162 section 2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of an inner node (RFC 9162 section 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Tile:
    """The root of 256**level leaves, beginning at leaf `index * 256**level`."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that appending needs: the roots of the perfect subtrees of `size` leaves, largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def unpack(cls, size: int, packed: bytes) -> "Frontier":
        """The frontier stored as `size` and the concatenated hashes; raises ValueError if they do not fit together."""
        if len(packed) != size.bit_count() * HASH_SIZE:
            raise ValueError("The frontier does not belong to this tree size.")
        return cls(size, tuple(packed[i : i + HASH_SIZE] for i in range(0, len(packed), HASH_SIZE)))

    def pack(self) -> bytes:
        """The concatenated hashes, 32 bytes for each set bit of `size`."""
        return b"".join(self.hashes)

    def root(self) -> bytes:
        """The root hash of the tree (RFC 9162 section 2.1.1)."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root

    def append(self, leaf_hashes: Iterable[bytes]) -> "tuple[Frontier, list[Tile]]":
        """The frontier after these leaves, and the tiles that they completed, in order of completion."""
        stack, size, tiles = list(self.hashes), self.size, []
        for current in leaf_hashes:
            size += 1
            height, rest = 0, size
            while not rest & 1:  # every trailing zero bit closes one perfect subtree
                current = sha256(b"\x01" + stack.pop() + current).digest()  # noqa: PLW2901  the node grows upward
                rest >>= 1
                height += 1
                if height % TILE_HEIGHT == 0:
                    tiles.append(Tile(height // TILE_HEIGHT, (size >> height) - 1, current))
            stack.append(current)
        return Frontier(size, tuple(stack)), tiles


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over these node hashes, left to right; for a power of two they may be nodes of any level."""
    return Frontier().append(hashes)[0].root()


def levels(hashes: list[bytes]) -> list[list[bytes]]:
    """Every perfect node over `hashes` by height, leaves first: the fast way when many prefixes are wanted."""
    result = [hashes]
    while len(result[-1]) > 1:
        pairs = iter(result[-1])
        result.append([sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)])
    return result


def prefix(nodes: list[list[bytes]], count: int) -> tuple[bytes, ...]:
    """The frontier hashes of the first `count` leaves under `nodes`, which `levels` made."""
    return tuple(
        nodes[height][(count >> height) - 1] for height in reversed(range(count.bit_length())) if count >> height & 1
    )


Subtree = Callable[[int, int], bytes]
"""`subtree(start, end)`: the root hash over the leaves [start, end)."""


def frontier_at(size: int, subtree: Subtree) -> Frontier:
    """The frontier of the first `size` leaves."""
    hashes, start = [], 0
    for height in reversed(range(size.bit_length())):
        if size >> height & 1:
            hashes.append(subtree(start, start + (1 << height)))
            start += 1 << height
    return Frontier(size, tuple(hashes))


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """PATH(index, D[size]) of RFC 9162 section 2.1.3.1, leaf side first; raises ValueError if index is outside."""
    if not 0 <= index < size:
        raise ValueError(f"Leaf {index} is not in a tree of {size}.")
    return [subtree(start, end) for start, end in _inclusion_ranges(index, 0, size)]


def _inclusion_ranges(index: int, start: int, end: int) -> list[tuple[int, int]]:
    ranges = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_path(first: int, second: int, subtree: Subtree) -> list[bytes]:
    """PROOF(first, D[second]) of RFC 9162 section 2.1.4.1; empty when nothing needs proving (0, or equal sizes)."""
    if not 0 <= first <= second:
        raise ValueError(f"A tree of {second} does not contain one of {first}.")
    if first in (0, second):
        return []
    ranges: list[tuple[int, int]] = []
    start, end, whole = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return [subtree(*item) for item in reversed(ranges)]


def _split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that `path` leads to from the hash `leaf` (RFC 9162 section 2.1.3.2); raises ProofError."""
    if not 0 <= index < size:
        raise ProofError(f"Leaf {index} is not in a tree of {size}.")
    fn, sn, root = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise ProofError("The inclusion proof is too long.")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofError("The inclusion proof is too short.")
    return root


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Return if the hash `leaf` stands at `index` of the tree (`size`, `root`); raise ProofError otherwise."""
    if root_from_inclusion(index, size, leaf, path) != root:
        raise ProofError("The inclusion proof leads to another root.")


def verify_consistency(  # noqa: PLR0912  the steps of the RFC, in its order
    first: int, second: int, path: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Return if the tree (`second`, `second_root`) begins with (`first`, `first_root`); raise ProofError otherwise.

    RFC 9162 section 2.1.4.2; the empty tree is a prefix of every tree and needs an empty proof.
    """
    if not 0 <= first <= second:
        raise ProofError(f"A tree of {second} does not contain one of {first}.")
    if first in (0, second):
        if path:
            raise ProofError("The consistency proof should be empty.")
        if (first == 0 and first_root != EMPTY_ROOT) or (first == second and first_root != second_root):
            raise ProofError("The two roots differ.")
        return
    nodes = list(path)
    if first & (first - 1) == 0:
        nodes.insert(0, first_root)
    if not nodes:
        raise ProofError("The consistency proof is too short.")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            raise ProofError("The consistency proof is too long.")
        if fn & 1 or fn == sn:
            old, new = node_hash(node, old), node_hash(node, new)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, node)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofError("The consistency proof is too short.")
    if old != first_root or new != second_root:
        raise ProofError("The consistency proof leads to other roots.")
