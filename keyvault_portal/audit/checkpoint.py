"""Checkpoints: the C2SP tlog-checkpoint body inside a C2SP signed note, with an Ed25519 signature."""

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"  # the signature type of the signed-note format
SIGNATURE_LINE = "\N{EM DASH} "


class CheckpointError(ValueError):
    """The note is malformed, or no trusted key has signed it; `problem` is the finding that it makes of a checkpoint."""

    problem = "checkpoint_signature"


class UnknownSigner(CheckpointError):
    """Keys have signed the note, and none of them is trusted."""

    problem = "signer_unknown"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of `origin` had `size` leaves and this 32-byte root."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_hash(name: str, public_key: bytes) -> bytes:
    """The 4 bytes that name a raw 32-byte Ed25519 public key in a signature line."""
    return sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:4]


def sign(checkpoint: Checkpoint, name: str, key: Ed25519PrivateKey) -> str:
    """The signed note of `checkpoint` under the key called `name`."""
    return sign_text(checkpoint.body(), name, key)


def sign_text(body: str, name: str, key: Ed25519PrivateKey) -> str:
    """The C2SP signed note of `body`, which ends with a line feed."""
    blob = key_hash(name, key.public_key().public_bytes_raw()) + key.sign(body.encode())
    return f"{body}\n{SIGNATURE_LINE}{name} {base64.b64encode(blob).decode()}\n"


def parse(note: str) -> tuple[Checkpoint, list[tuple[str, bytes, bytes]]]:
    """The checkpoint and its signatures as (name, 4-byte key hash, signature), unverified; raises CheckpointError."""
    text, separator, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    if not separator or len(lines) < 3 or not tail.endswith("\n"):
        raise CheckpointError("This is not a checkpoint note.")
    origin, size, root = lines[:3]
    if not origin or not (size.isascii() and size.isdigit()) or (len(size) > 1 and size[0] == "0"):
        raise CheckpointError("The checkpoint's origin or size is malformed.")
    decoded = _decode(root)
    if len(decoded) != 32 or len(lines) > 3:
        raise CheckpointError("The checkpoint's root hash is malformed.")
    signatures = []
    for line in tail[:-1].split("\n"):
        name, space, value = line.removeprefix(SIGNATURE_LINE).rpartition(" ")
        blob = _decode(value)
        if not line.startswith(SIGNATURE_LINE) or not space or not name or len(blob) < 5:
            raise CheckpointError("A signature line is malformed.")
        signatures.append((name, blob[:4], blob[4:]))
    return Checkpoint(origin, int(size), decoded), signatures


def verify(note: str, keys: Collection[bytes]) -> Checkpoint:
    """The checkpoint of `note` if one of `keys` (raw public keys) signed it; raises CheckpointError."""
    checkpoint, signatures = parse(note)
    body = checkpoint.body().encode()
    known = False
    for name, short, signature in signatures:
        for public_key in keys:
            if key_hash(name, public_key) != short:
                continue
            known = True
            try:
                Ed25519PublicKey.from_public_bytes(public_key).verify(signature, body)
            except InvalidSignature:
                continue
            return checkpoint
    if known:
        raise CheckpointError("The signature does not verify.")
    strangers = ", ".join(short.hex() for _, short, _ in signatures)
    raise UnknownSigner(f"It is signed by the key {strangers}, which is not trusted here.")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if base64.b64encode(data).decode() != text:  # also refuses a second spelling of the same bytes
        raise CheckpointError("The checkpoint holds malformed base64.")
    return data
