"""Proofs about the stored record for whoever holds a checkpoint and trusts nobody here."""

from dataclasses import dataclass

from django.db import connection

from keyvault_portal.audit import merkle
from keyvault_portal.audit.models import AuditEvent, AuditHead
from keyvault_portal.audit.tiles import StoredTree
from keyvault_portal.errors import NotFound


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Leaf `seq` stands in the tree (`size`, `root`): hashing `leaf_hash` up along `path` gives `root`."""

    seq: int
    size: int
    leaf_hash: bytes
    path: list[bytes]
    root: bytes

    def verify(self) -> None:
        """Return if the proof holds; raise merkle.ProofError otherwise."""
        merkle.verify_inclusion(self.seq, self.size, self.leaf_hash, self.path, self.root)


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """The tree (`second`, `second_root`) begins with the whole of (`first`, `first_root`)."""

    first: int
    second: int
    path: list[bytes]
    first_root: bytes
    second_root: bytes

    def verify(self) -> None:
        """Return if the proof holds; raise merkle.ProofError otherwise."""
        merkle.verify_consistency(self.first, self.second, self.path, self.first_root, self.second_root)


def inclusion(seq: int, size: int | None = None) -> InclusionProof:
    """The proof that event `seq` is in the tree of `size` events (the present one by default); raises NotFound.

    The leaf's hash is computed from its bytes, so the proof fails when they were altered (RFC 9162 section 2.1.3).
    """
    size = _head_size() if size is None else size
    event = AuditEvent.objects.filter(seq=seq).first()
    if event is None or not 0 <= seq < size <= _head_size():
        raise NotFound(f"Event {seq} is not in the record of {size} events.")
    tree = _tree()
    path = merkle.inclusion_path(seq, size, tree.subtree)
    return InclusionProof(seq, size, merkle.leaf_hash(bytes(event.leaf)), path, tree.frontier(size).root())


def consistency(first: int, second: int | None = None) -> ConsistencyProof:
    """The proof that nothing before `first` changed up to `second` events (RFC 9162 section 2.1.4); raises NotFound."""
    second = _head_size() if second is None else second
    if not 0 <= first <= second <= _head_size():
        raise NotFound(f"The record has no sizes {first} and {second}.")
    tree = _tree()
    path = merkle.consistency_path(first, second, tree.subtree)
    return ConsistencyProof(first, second, path, tree.frontier(first).root(), tree.frontier(second).root())


def _head_size() -> int:
    return AuditHead.objects.values_list("size", flat=True).get()


def _tree() -> StoredTree:
    connection.ensure_connection()
    return StoredTree(connection.connection)
