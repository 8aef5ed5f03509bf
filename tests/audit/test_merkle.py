"""The tree against published vectors and against the recursive definitions of RFC 9162 section 2.1."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault_portal.audit import merkle

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "rfc6962_merkle.json").read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]


def naive_root(leaves):
    """MTH of RFC 9162 section 2.1.1, word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = naive_split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_split(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def naive_path(m, leaves):
    """PATH of RFC 9162 section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m, leaves, whole):
    """SUBPROOF of RFC 9162 section 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def subtree_of(leaves):
    return lambda start, end: naive_root(leaves[start:end])


def make_leaves(count):
    return [str(number).encode() for number in range(count)]


def test_published_roots():
    for size, root in enumerate(VECTORS["roots"], 1):
        frontier, _ = merkle.Frontier().append([merkle.leaf_hash(leaf) for leaf in LEAVES[:size]])
        assert frontier.root().hex() == root
    assert merkle.EMPTY_ROOT.hex() == VECTORS["empty_root"] == merkle.Frontier().root().hex()


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_published_inclusion_proofs(vector):
    index, size = vector["leaf"] - 1, vector["size"]
    path = merkle.inclusion_path(index, size, subtree_of(LEAVES))
    assert [node.hex() for node in path] == vector["path"]
    root = bytes.fromhex(VECTORS["roots"][size - 1])
    merkle.verify_inclusion(index, size, merkle.leaf_hash(LEAVES[index]), path, root)


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_published_consistency_proofs(vector):
    first, second = vector["first"], vector["second"]
    path = merkle.consistency_path(first, second, subtree_of(LEAVES))
    assert [node.hex() for node in path] == vector["path"]
    roots = [bytes.fromhex(VECTORS["roots"][size - 1]) for size in (first, second)]
    merkle.verify_consistency(first, second, path, *roots)


@given(st.lists(st.integers(0, 40), max_size=12))
def test_appending_in_any_batches_gives_the_same_tree(batches):
    leaves = make_leaves(sum(batches))
    hashes, frontier, start = [merkle.leaf_hash(leaf) for leaf in leaves], merkle.Frontier(), 0
    for count in batches:
        frontier, _ = frontier.append(hashes[start : start + count])
        start += count
    assert (frontier.size, frontier.root()) == (len(leaves), naive_root(leaves))
    assert merkle.Frontier.unpack(frontier.size, frontier.pack()) == frontier
    assert merkle.frontier_at(len(leaves), subtree_of(leaves)) == frontier


@given(st.integers(1, 600), st.data())
def test_levels_know_every_prefix(count, data):
    hashes = [merkle.leaf_hash(leaf) for leaf in make_leaves(count)]
    size = data.draw(st.integers(0, count))
    assert merkle.prefix(merkle.levels(hashes), size) == merkle.Frontier().append(hashes[:size])[0].hashes


def test_tiles_are_complete_subtrees():
    hashes = [merkle.leaf_hash(leaf) for leaf in make_leaves(256 * 256 + 300)]
    middle, first = merkle.Frontier().append(hashes[:1000])
    _, second = middle.append(hashes[1000:])
    tiles = {(tile.level, tile.index): tile.hash for tile in first + second}
    assert sorted(tiles) == [(1, index) for index in range(257)] + [(2, 0)]
    assert tiles[1, 3] == merkle.fold(hashes[768:1024])
    assert tiles[2, 0] == merkle.fold(hashes[:65536])


@given(st.integers(1, 70), st.data())
def test_inclusion_proofs(size, data):
    leaves, index = make_leaves(size), data.draw(st.integers(0, size - 1))
    path, root = merkle.inclusion_path(index, size, subtree_of(leaves)), naive_root(leaves)
    assert path == naive_path(index, leaves)
    leaf = merkle.leaf_hash(leaves[index])
    merkle.verify_inclusion(index, size, leaf, path, root)
    other = data.draw(st.integers(0, size - 1).filter(lambda value: value != index or size == 1))
    for wrong in (
        (index, size, leaf, [*path, root], root),
        (index, size, merkle.leaf_hash(b"other"), path, root),
        (index, size, leaf, path, naive_root([*leaves, b""])),
        (size, size, leaf, path, root),
        *([(index, size, leaf, path[:-1], root), (other, size, leaf, path, root)] if path else []),
    ):
        with pytest.raises(merkle.ProofError):
            merkle.verify_inclusion(*wrong)


@given(st.integers(1, 70), st.data())
def test_consistency_proofs(second, data):
    leaves, first = make_leaves(second), data.draw(st.integers(0, second))
    path = merkle.consistency_path(first, second, subtree_of(leaves))
    assert path == ([] if first == 0 else naive_subproof(first, leaves, True))
    old, new, stranger = naive_root(leaves[:first]), naive_root(leaves), sha256(b"x").digest()
    merkle.verify_consistency(first, second, path, old, new)
    for wrong in (
        (first, second, path, stranger, new),
        (first, second, [*path, stranger], old, new),
        (second + 1, second, path, old, new),
        *([(first, second, path, old, stranger)] if first else []),
        *([(first, second, path[:-1], old, new)] if path else []),
    ):
        with pytest.raises(merkle.ProofError):
            merkle.verify_consistency(*wrong)


@pytest.mark.parametrize("arguments", [(3, 3), (-1, 3), (0, 0)])
def test_no_path_for_a_leaf_outside(arguments):
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_path(*arguments, subtree_of([]))


def test_a_frontier_of_another_size_is_refused():
    with pytest.raises(ValueError, match="does not belong"):
        merkle.Frontier.unpack(3, bytes(32))
