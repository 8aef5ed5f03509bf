#!/usr/bin/env python3
"""Check an evidence pack offline, with nothing but Python's standard library (3.9 or newer).

    python3 verify.py PACK.zip [--key HEX]...

Says first what is wrong first and exits with 1, or says what is proven and exits with 0. Without --key the pack's own
public keys are used: then compare the printed keys with those that you received another way. Give every key that has signed.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from typing import Any, Union  # what Python 3.9 understands

from keyvault_portal.audit.evidence.signatures import ed25519_verify, signed


class Problem(Exception):
    """The first thing found wrong."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# Signed notes (C2SP signed-note and tlog-checkpoint).


def key_hash(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n\x01" + public_key)[:4]


def verify_note(note: str, keys: Sequence[bytes], what: str) -> tuple[list[str], bytes]:
    """The lines above the signatures, and the one of `keys` (raw public keys) that signed them."""
    body, separator, tail = note.rpartition("\n\n")
    if not separator:
        raise Problem(f"{what} is malformed")
    body += "\n"
    strangers = []
    for line in tail.splitlines():
        name, _, value = line[2:].rpartition(" ")
        try:
            blob = base64.b64decode(value, validate=True)
        except ValueError:
            raise Problem(f"{what} holds malformed base64") from None
        for key in keys:
            if blob[:4] == key_hash(name, key) and ed25519_verify(key, body.encode(), blob[4:]):
                return body.splitlines(), key
        strangers.append(blob[:4].hex())
    raise Problem(f"{what} is not signed by a known key; it names {', '.join(strangers)}")


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


def check_manifest(pack: zipfile.ZipFile, keys: Sequence[bytes]) -> tuple[dict[str, str], bytes]:
    """Every file is the one that was packed, and nothing was added; the files, and the key that signed them."""
    data = read(pack, "MANIFEST.json")
    lines, key = verify_note(read(pack, "MANIFEST.note").decode(), keys, "MANIFEST.note")
    if lines[1:] != ["evidence pack v1", "sha256:" + hashlib.sha256(data).hexdigest()]:
        raise Problem("MANIFEST.json is not the one that was signed")
    files: dict[str, str] = json.loads(data)["files"]
    names = pack.namelist()
    if len(set(names)) < len(names):
        raise Problem("two files of the pack have one name")
    for name in names:
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
    return files, key


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


def recorded_signatures(pack: zipfile.ZipFile) -> tuple[dict[tuple[str, str], Any], dict[str, str]]:
    """What the record says: the signature of each agreement by (request, person), and whose each signing key is."""
    signatures: dict[tuple[str, str], Any] = {}
    owners: dict[str, str] = {}
    with pack.open("events.jsonl") as file:
        for line in file:
            if b'"signature":{' in line or b'"signing_key":' in line:
                event = json.loads(line)
                said = event["details"]
                if event["action"] == "approval.approve":
                    signatures[said["request"], event["actor"]["id"]] = said["signature"]
                else:
                    owners[said["signing_key"]] = said["person"]
    return signatures, owners


def check_agreement(decision: dict[str, Any], request: dict[str, Any], recorded: Any) -> bool:
    """Whether this decision is signed in a way that is checked here; raises Problem for what does not fit."""
    what = f"request {request['id']}: the agreement of {decision['label']}"
    if decision["act_hash"] != request["act_hash"]:
        raise Problem(f"{what} is about another act")
    signature = decision.get("signature")
    if recorded != signature:
        raise Problem(f"{what} is not signed as the record says")
    if not signature or signature["method"] == "openpgp":
        return False
    if not signed(signature, request["act"].encode()):
        raise Problem(f"{what} is not signed by the key that it names")
    return True


def agreement_lines(pack: zipfile.ZipFile) -> list[str]:
    """Who signed which act: each signature is checked, and must stand in the record."""
    recorded, owners = recorded_signatures(pack)
    good, strange, openpgp = 0, 0, 0
    for line in read(pack, "approvals.jsonl").splitlines():
        request = json.loads(line)
        if hashlib.sha256(request["act"].encode()).hexdigest() != request["act_hash"]:
            raise Problem(f"request {request['id']}: the act does not have the recorded hash")
        for decision in request["decisions"]:
            fits = check_agreement(decision, request, recorded.get((request["id"], decision["person"])))
            good += fits
            strange += fits and owners.get(decision["signature"]["key_id"]) != decision["person"]
            openpgp += bool(decision.get("signature")) and not fits
    lines = [f"agreement: {good} signatures of people fit the acts they agreed to."] if good else []
    if strange:
        lines.append(f"agreement: the record does not show whose the keys of {strange} of them are.")
    if openpgp:
        lines.append(
            f"agreement: {openpgp} OpenPGP signatures are for gpg or sq to check; each has its certificate beside it."
        )
    return lines


def verify(path: Union[str, "os.PathLike[str]"], pinned: Sequence[bytes] = ()) -> list[str]:
    """What is proven by the pack at `path`, as lines of text; raises Problem with what is wrong first."""
    try:
        with zipfile.ZipFile(path) as pack:
            own = [bytes.fromhex(signer["public_key"]) for signer in json.loads(read(pack, "signers.json"))]
            keys = list(pinned) or own
            checkpoints = checkpoints_of(pack)
            size = check_events(pack, checkpoints)
            signers = [
                verify_note(note, keys, f"the checkpoint of {count} events")[1] for count, _, note in checkpoints
            ]
            files, packer = check_manifest(pack, keys)
            counted = census_lines(pack) if "census.json" in files else []
            agreed = agreement_lines(pack) if "approvals.jsonl" in files else []
    except (zipfile.BadZipFile, OSError) as error:
        raise Problem(f"the pack cannot be read: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(f"the pack is malformed: {error}") from None
    lines = [
        f"{size} events are complete, in order and unaltered.",
        f"{len(checkpoints)} signed checkpoints agree, the last has root {checkpoints[-1][1].hex()}.",
        f"{len(files)} files are those that were packed.",
    ]
    lines += counted + agreed
    given = ", a key that you gave" if pinned else ", a key that came with the pack"
    lines += [f"signed by {key.hex()}{given}" for key in dict.fromkeys([*signers, packer])]
    if not pinned:
        lines.append(
            "Whose keys these are is not proven: compare them with what you received another way, or give that by --key."
        )
    return lines


def public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError(f"{text!r} is no public key of 64 hex digits")
    return key


def main() -> int:
    parser = argparse.ArgumentParser(description="Check an evidence pack offline.")
    parser.add_argument("pack")
    parser.add_argument(
        "--key", action="append", type=public_key, default=[], help="raw Ed25519 public key in hex that you trust"
    )
    options = parser.parse_args()
    try:
        lines = verify(options.pack, options.key)
    except Problem as problem:
        sys.stdout.write(f"FIRST PROBLEM: {problem}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
