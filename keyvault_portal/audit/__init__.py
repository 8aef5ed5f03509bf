"""The record: events, Merkle tree, signed checkpoints, exports and their verification."""
