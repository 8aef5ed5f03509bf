#!/usr/bin/env python3
"""Escrow without the portal: check a package, prove a share, combine shares and unwrap the master key.

    python3 offline.py inspect PACKAGE
    python3 offline.py prove --salt HEX --challenge BASE64
    python3 offline.py recover PACKAGE --out FILE

Needs Python 3.10 with `cryptography` and `shamir-mnemonic`, nothing else: the portal itself imports its formats from here, so
that what works in a ceremony works on the day when the portal is lost.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives import cmac, hashes, keywrap
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import MnemonicError, combine_mnemonics
from shamir_mnemonic.share import Share

COMMITMENT_LABEL = b"keyvault-portal share commitment v1\x00"
ROLL_CALL_LABEL = b"keyvault-portal roll-call v1\x00"
SALT_BYTES, COMMITMENT_BYTES, PROOF_BYTES = 32, 32, 64
AES_KEY_SIZES = (16, 24, 32)


class Problem(Exception):
    """What is wrong, in a sentence without any secret; `code` is stable."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def canonical(value: Any) -> bytes:
    """Canonical JSON: keys sorted by code point, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# Shares: SLIP-39 words, and what can be known about one without the others.


def plain_words(words: str) -> str:
    """The words in lower case with single spaces: the one spelling that commitments are made of."""
    return " ".join(words.lower().split())


def read_share(words: str) -> Share:
    """The share that the words spell; raises Problem("mistyped") when their checksum or form is wrong."""
    try:
        return Share.from_mnemonic(plain_words(words))
    except (MnemonicError, ValueError):
        raise Problem("mistyped", "These words are not a share: one of them is mistyped, missing or moved.") from None


def commitment_key(words: str, salt: bytes) -> Ed25519PrivateKey:
    """The signing key that only who holds the share can make: HKDF-SHA-256 (RFC 5869) of its words, bound to its set."""
    share = read_share(words)
    info = COMMITMENT_LABEL + share.identifier.to_bytes(2, "big")
    seed = HKDF(hashes.SHA256(), 32, salt, info).derive(plain_words(words).encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def commitment(words: str, salt: bytes) -> bytes:
    """The 32-byte public half of `commitment_key`: says nothing about the share, and knows it again."""
    return commitment_key(words, salt).public_key().public_bytes_raw()


def prove(words: str, salt: bytes, challenge: bytes) -> bytes:
    """The 64-byte proof that its maker holds the share: an Ed25519 signature over the roll-call's challenge."""
    return commitment_key(words, salt).sign(ROLL_CALL_LABEL + challenge)


def proves(known: bytes, challenge: bytes, proof: bytes) -> bool:
    """Whether `proof` was made over `challenge` with the share behind the commitment `known`."""
    try:
        Ed25519PublicKey.from_public_bytes(known).verify(proof, ROLL_CALL_LABEL + challenge)
    except Exception:  # noqa: BLE001 - InvalidSignature, or ValueError for what is no key
        return False
    return True


def combine(shares: Iterable[str], passphrase: bytes = b"") -> bytes:
    """The secret that exactly a quorum of shares makes; raises Problem "not_recovered".

    SLIP-39 cannot tell a wrong passphrase: it yields another secret, which then opens nothing.
    """
    try:
        return bytes(combine_mnemonics([plain_words(words) for words in shares], passphrase))
    except (MnemonicError, ValueError):
        raise Problem("not_recovered", "These shares together do not recover the secret.") from None


# Keys and their check values.


def check_value(material: bytes) -> str:
    """Ten hex digits by which a key is known again, and which say nothing about it.

    An AES key: the leftmost five bytes of AES-CMAC over a block of zeros (ANSI X9.24-1:2017, annex A). Other material: of
    HMAC-SHA-256 under the material over a label.
    """
    if len(material) in AES_KEY_SIZES:
        code = cmac.CMAC(AES(material))
        code.update(bytes(16))
        return code.finalize()[:5].hex()
    return hmac.digest(material, b"keyvault-portal key check value", "sha256")[:5].hex()


def wrap(escrow_key: bytes, material: bytes) -> bytes:
    """AES key wrap with padding (RFC 5649)."""
    return keywrap.aes_key_wrap_with_padding(escrow_key, material)


def unwrap(escrow_key: bytes, wrapped: bytes) -> bytes:
    """Undo `wrap`; raises Problem "not_unwrapped" for another key or damaged bytes."""
    try:
        return keywrap.aes_key_unwrap_with_padding(escrow_key, wrapped)
    except (keywrap.InvalidUnwrap, ValueError):
        raise Problem("not_unwrapped", "The recovered secret does not open this package.") from None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
