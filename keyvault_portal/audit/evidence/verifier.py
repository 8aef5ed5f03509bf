#!/usr/bin/env python3
"""Check an evidence pack offline, with nothing but Python's standard library (3.9 or newer).

    python3 verify.py PACK.zip [--key HEX]...

Says first what is wrong first and exits with 1, or says what is proven and exits with 0. Without --key the pack's own
public keys are used: then compare the printed key with one that you received another way.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from typing import Optional, Union  # what Python 3.9 understands

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
Point = tuple[int, int, int, int]


class Problem(Exception):
    """The first thing found wrong."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# Ed25519 verification, RFC 8032 section 5.1.7; points in extended coordinates (section 5.1.4).


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _equal(p: Point, q: Point) -> bool:
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def _decompress(data: bytes) -> Optional[Point]:  # noqa: UP045
    """The point of 32 bytes, or None (section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = _decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")) or (0, 1, 1, 0)


def ed25519_verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) of `message` is of `public_key` (32 bytes)."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, r = _decompress(public_key), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    return _equal(_multiply(s, BASE), _add(r, _multiply(k, key)))


# Signed notes (C2SP signed-note and tlog-checkpoint).


def key_hash(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n\x01" + public_key)[:4]


def verify_note(note: str, keys: Sequence[bytes], what: str) -> list[str]:
    """The lines above the signatures if one of `keys` (raw public keys) signed them."""
    body, separator, tail = note.rpartition("\n\n")
    if not separator:
        raise Problem(f"{what} is malformed")
    body += "\n"
    for line in tail.splitlines():
        name, _, value = line[2:].rpartition(" ")
        try:
            blob = base64.b64decode(value, validate=True)
        except ValueError:
            raise Problem(f"{what} holds malformed base64") from None
        for key in keys:
            if blob[:4] == key_hash(name, key) and ed25519_verify(key, body.encode(), blob[4:]):
                return body.splitlines()
    raise Problem(f"{what} is not signed by a known key")


# The Merkle tree, RFC 9162 section 2.1.1.


class Tree:
    """Appends leaf hashes; keeps the roots of perfect subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.hashes: list[bytes] = []

    def append(self, leaf_hash: bytes) -> None:
        self.size += 1
        self.hashes.append(leaf_hash)
        rest = self.size
        while not rest & 1:
            right = self.hashes.pop()
            self.hashes[-1] = sha256(b"\x01" + self.hashes[-1] + right)
            rest >>= 1

    def root(self) -> bytes:
        if not self.hashes:
            return sha256(b"")
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = sha256(b"\x01" + left + root)
        return root


def read(pack: zipfile.ZipFile, name: str) -> bytes:
    try:
        return pack.read(name)
    except KeyError:
        raise Problem(f"{name} is missing from the pack") from None


def checkpoints_of(pack: zipfile.ZipFile) -> list[tuple[int, bytes, str]]:
    """(size, root, note) of each checkpoint, by size; the signatures are checked later."""
    found = []
    for line in read(pack, "checkpoints.jsonl").splitlines():
        note = json.loads(line)["note"]
        lines = note.split("\n")
        found.append((int(lines[1]), base64.b64decode(lines[2]), note))
    if not found:
        raise Problem("the pack has no checkpoint")
    if found != sorted(found):
        raise Problem("the checkpoints are out of order")
    return found


def check_event(line: bytes, expected: int, last: str, wanted: bytes) -> tuple[bytes, str]:
    """The leaf hash of `line`, which must be event number `expected`."""
    leaf_hash = sha256(b"\x00" + line)
    try:
        event = json.loads(line)
        seq, at = event["seq"], event["at"]
    except (ValueError, KeyError, TypeError):
        raise Problem(f"event {expected}: mutated: the line is no event") from None
    if seq != expected:
        if seq > expected and leaf_hash != wanted:
            raise Problem(f"event {expected}: reordered or removed: event {seq} stands in its place")
        raise Problem(f"event {expected}: reordered or spliced: event {seq} stands in its place")
    if leaf_hash != wanted:
        raise Problem(f"event {expected}: mutated: its bytes do not have the recorded hash")
    if at < last:
        raise Problem(f"event {expected}: reordered: it is older than the event before it")
    return leaf_hash, at


def check_events(pack: zipfile.ZipFile, checkpoints: list[tuple[int, bytes, str]]) -> int:
    """Hash every event; each checkpoint's root must follow."""
    hashes = read(pack, "leaf_hashes.bin")
    roots = {size: root for size, root, _ in checkpoints}
    size, tree, good, last = checkpoints[-1][0], Tree(), 0, ""
    try:
        file = pack.open("events.jsonl")
    except KeyError:
        raise Problem("events.jsonl is missing from the pack") from None
    with file:
        for line in file:
            number = tree.size
            if number == size:
                raise Problem(f"event {number}: spliced: it stands behind the last checkpoint of {size} events")
            if not line.endswith(b"\n"):
                raise Problem(f"event {number}: truncated: its line is cut off")
            leaf_hash, last = check_event(line[:-1], number, last, hashes[32 * number : 32 * number + 32])
            tree.append(leaf_hash)
            if tree.size in roots:
                if tree.root() != roots[tree.size]:
                    raise Problem(
                        f"event {good}: mutated or spliced: events {good} to {number} "
                        f"do not lead to the root of the checkpoint of {tree.size} events"
                    )
                good = tree.size
    if tree.size < size:
        raise Problem(f"event {tree.size}: truncated: the last checkpoint covers {size} events")
    if len(hashes) != 32 * size:
        raise Problem("leaf_hashes.bin does not fit the events")
    return size


def check_manifest(pack: zipfile.ZipFile, keys: Sequence[bytes]) -> dict[str, str]:
    """Every file is the one that was packed, and nothing was added."""
    data = read(pack, "MANIFEST.json")
    lines = verify_note(read(pack, "MANIFEST.note").decode(), keys, "MANIFEST.note")
    if lines[1:] != ["evidence pack v1", "sha256:" + hashlib.sha256(data).hexdigest()]:
        raise Problem("MANIFEST.json is not the one that was signed")
    files: dict[str, str] = json.loads(data)["files"]
    for name in pack.namelist():
        if name not in files and name not in {"MANIFEST.json", "MANIFEST.note"}:
            raise Problem(f"{name} was added to the pack")
    for name, wanted in files.items():
        digest = hashlib.sha256()
        try:
            with pack.open(name) as file:
                while piece := file.read(1 << 16):
                    digest.update(piece)
        except KeyError:
            raise Problem(f"{name} is missing from the pack") from None
        if digest.hexdigest() != wanted:
            raise Problem(f"{name} was altered")
    return files


def census_lines(pack: zipfile.ZipFile) -> list[str]:
    """Which data stands on which key version, by the census in the pack."""
    census = json.loads(read(pack, "census.json"))
    lines, totals = [], {}  # type: tuple[list[str], dict[str, int]]
    for row in census["items"]:
        name = row["version"]["kms_key_arn"] if row["version"] else "no readable version"
        totals[name] = totals.get(name, 0) + row["items"]
    for store in census["stores"]:
        if store.get("deregistered_at"):
            lines.append(f"census: {store['store']} was deregistered on {store['deregistered_at']}: nobody counts it.")
        elif store["problem"] or not store["counted_at"]:
            lines.append(f"census: {store['store']} is not counted: {store['problem'] or 'never tried'}")
    lines += [f"census: {items} items stand on {name}." for name, items in sorted(totals.items())]
    return lines


def verify(path: Union[str, "os.PathLike[str]"], pinned: Sequence[bytes] = ()) -> list[str]:
    """What is proven by the pack at `path`, as lines of text; raises Problem with what is wrong first."""
    try:
        with zipfile.ZipFile(path) as pack:
            own = [bytes.fromhex(signer["public_key"]) for signer in json.loads(read(pack, "signers.json"))]
            keys = list(pinned) or own
            checkpoints = checkpoints_of(pack)
            size = check_events(pack, checkpoints)
            for count, _, note in checkpoints:
                verify_note(note, keys, f"the checkpoint of {count} events")
            files = check_manifest(pack, keys)
            counted = census_lines(pack) if "census.json" in files else []
    except (zipfile.BadZipFile, OSError) as error:
        raise Problem(f"the pack cannot be read: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError, UnicodeDecodeError) as error:
        raise Problem(f"the pack is malformed: {error}") from None
    lines = [
        f"{size} events are complete, in order and unaltered.",
        f"{len(checkpoints)} signed checkpoints agree, the last has root {checkpoints[-1][1].hex()}.",
        f"{len(files)} files are those that were packed.",
    ]
    lines += counted
    lines += [f"signed by {key.hex()}" + ("" if pinned else "  <- compare with the key you hold") for key in keys]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an evidence pack offline.")
    parser.add_argument("pack")
    parser.add_argument("--key", action="append", default=[], help="raw Ed25519 public key in hex that you trust")
    options = parser.parse_args()
    try:
        lines = verify(options.pack, [bytes.fromhex(key) for key in options.key])
    except Problem as problem:
        sys.stdout.write(f"FIRST PROBLEM: {problem}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
