#!/usr/bin/env python3
"""Escrow without the portal: check a package, prove a share, combine shares and unwrap the master key.

    python3 offline.py inspect PACKAGE
    python3 offline.py prove (PACKAGE | --salt HEX) --challenge BASE64
    python3 offline.py recover PACKAGE --out FILE
    python3 offline.py sign-act FILE --key PEM
    python3 offline.py seal --to HEX --bound TEXT

Needs Python 3.10 with `cryptography` and `shamir-mnemonic`, nothing else: the portal itself imports its formats from here, so
that what works in a ceremony works on the day when the portal is lost.
"""

import argparse
import base64
import getpass
import hashlib
import hmac
import io
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import cmac, hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import MnemonicError, combine_mnemonics
from shamir_mnemonic.share import Share

FORMAT = "keyvault-portal escrow package v1"
MAX_PACKAGE = 1 << 18  # bytes of its JSON
PACKAGE_NAME = "package.json"
WRAPPING = "AES-256-KWP"
COMMITMENT_LABEL = b"keyvault-portal share commitment v1\x00"
ROLL_CALL_LABEL = b"keyvault-portal roll-call v1\x00"
PACKAGE_LABEL = b"keyvault-portal escrow package seal v1"
AGREEMENT_LABEL = b"keyvault-portal agreement v1\n"
SALT_BYTES, COMMITMENT_BYTES, PROOF_BYTES = 32, 32, 64


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
    except Exception:
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


def check_value(material: bytes, algorithm: str = WRAPPING) -> str:
    """Ten hex digits by which a key is known again, and which say nothing about it; the first six are its key check value.

    A 256-bit AES key: the leftmost bytes of AES-CMAC over a block of zeros (ANSI X9.24-1:2017). Others: of HMAC-SHA-256.
    """
    block = bytes(16)
    if algorithm.startswith("AES-") and len(material) == 32:
        code = cmac.CMAC(AES256(material))
        code.update(block)
        return code.finalize()[:5].hex()
    return hmac.digest(material, block, "sha256")[:5].hex()


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


# Sets: shares counted from 1 through all groups; `groups` holds (threshold, count) of each.


def set_name(set_id: int) -> str:
    """The set's SLIP-39 identifier as people read it: four hex digits."""
    return f"{set_id:04X}"


def index_of(groups: Sequence[Sequence[int]], group: int, member: int) -> int | None:
    """The running number of a member of a group (both from 1); None where the set has no such share."""
    if not (1 <= group <= len(groups) and 1 <= member <= groups[group - 1][1]):
        return None
    return sum(count for _, count in groups[: group - 1]) + member


def needs(groups: Sequence[Sequence[int]], given: Collection[int]) -> list[int]:
    """How many more shares each group needs."""
    missing, start = [], 1
    for threshold, count in groups:
        missing.append(max(0, threshold - sum(1 for index in range(start, start + count) if index in given)))
        start += count
    return missing


def missing(groups: Sequence[Sequence[int]], group_threshold: int, given: Collection[int]) -> int:
    """How many more shares the smallest completion of `given` needs; 0 for a quorum."""
    return sum(sorted(needs(groups, given))[:group_threshold])


def identify(words: str, share_set: dict[str, Any]) -> int:
    """The index of this share in the set; raises Problem "mistyped", "other_set" or "unknown"."""
    share = read_share(words)
    if share.identifier != share_set["set_id"]:
        raise Problem(
            "other_set",
            f"This share is of the set {set_name(share.identifier)}, not of {set_name(share_set['set_id'])}.",
        )
    index = index_of(share_set["groups"], share.group_index + 1, share.index + 1)
    if (
        index is None
        or commitment(words, bytes.fromhex(share_set["salt"])).hex() != share_set["commitments"][index - 1]
    ):
        raise Problem("unknown", "The words are a share of this set's name, but not one that was handed out.")
    return index


# Packages: the wrapped master key with all that is needed to open it, but for the shares.

_SET = {
    "set_id": int, "generation": int, "extendable": bool, "iteration_exponent": int, "group_threshold": int, "groups": [[int]],
    "salt": str, "commitments": [str], "passphrase?": bool,
}  # fmt: skip
_KEY = {"id": str, "version": int, "name": str, "algorithm": str, "provider": str, "check": str}
_MANIFEST = {
    "practice": bool, "ceremony": str, "script_hash": str, "made_by": str, "made_at": str, "key": _KEY, "set": _SET,
    "wrap": {"algorithm": str, "escrow_check": str, "sha256": str},
}  # fmt: skip
_PACKAGE = {"format": str, "manifest": _MANIFEST, "manifest_sha256": str, "wrapped": str, "seal": str}


def read_package(data: bytes) -> dict[str, Any]:
    """A package from its zip file, its JSON or its printed lines, with all checksums verified; raises Problem."""
    if len(data) > 4 * MAX_PACKAGE:
        raise Problem("package_damaged", "This file is too large to be an escrow package.")
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if archive.getinfo(PACKAGE_NAME).file_size > MAX_PACKAGE:
                    raise Problem("package_damaged", "The package in this file is too large.")
                data = archive.read(PACKAGE_NAME)
        elif not data.lstrip().startswith(b"{"):
            data = _from_printed(data.decode("ascii"))
        package = json.loads(data)
    except (KeyError, ValueError, NotImplementedError, RecursionError, zipfile.BadZipFile, zlib.error):
        raise Problem("package_damaged", "This file is no escrow package, or it is damaged.") from None
    verify_package(package)
    return dict(package)


def verify_package(package: Any) -> None:
    """Return if the package is whole; raises Problem "package_damaged" with what is wrong first."""
    if not _fits(package, _PACKAGE) or package["format"] != FORMAT:
        raise Problem("package_damaged", f"This is no package of the form {FORMAT!r}.")
    manifest = package["manifest"]
    share_set = manifest["set"]
    try:
        wrapped = base64.b64decode(package["wrapped"], validate=True)
        salt, known = bytes.fromhex(share_set["salt"]), [bytes.fromhex(one) for one in share_set["commitments"]]
    except ValueError:
        raise Problem("package_damaged", "A value of the package is not in its encoding.") from None
    groups = share_set["groups"]
    whole = (
        1 <= share_set["group_threshold"] <= len(groups) <= 16
        and all(len(group) == 2 and 1 <= group[0] <= group[1] <= 16 for group in groups)
        and sum(group[1] for group in groups) == len(known)
        and len(salt) == SALT_BYTES
        and all(len(one) == COMMITMENT_BYTES for one in known)
        and manifest["wrap"]["algorithm"] == WRAPPING
    )
    if not whole:
        raise Problem("package_damaged", "The package's set of shares makes no sense.")
    if sha256(wrapped) != manifest["wrap"]["sha256"]:
        raise Problem("package_damaged", "The wrapped key does not match its checksum.")
    if sha256(canonical(manifest)) != package["manifest_sha256"]:
        raise Problem("package_damaged", "The manifest does not match its checksum.")


def package_seal(escrow_key: bytes, manifest: dict[str, Any]) -> str:
    """HMAC-SHA-256 over the manifest under a key derived from the escrow key: who opens it sees that nobody changed it."""
    key = HKDF(hashes.SHA256(), 32, None, PACKAGE_LABEL).derive(escrow_key)
    return hmac.digest(key, canonical(manifest), "sha256").hex()


def open_package(package: dict[str, Any], escrow_key: bytes) -> bytes:
    """The master key; raises Problem "wrong_secret", "not_unwrapped" or "package_changed"."""
    manifest = package["manifest"]
    if check_value(escrow_key) != manifest["wrap"]["escrow_check"]:
        raise Problem(
            "wrong_secret", "The recovered secret is not the escrow key of this package: is the passphrase right?"
        )
    if not hmac.compare_digest(package_seal(escrow_key, manifest), package["seal"]):
        raise Problem("package_changed", "The manifest was changed after the ceremony.")
    material = unwrap(escrow_key, base64.b64decode(package["wrapped"]))
    if check_value(material, manifest["key"]["algorithm"]) != manifest["key"]["check"]:
        raise Problem("package_changed", "The unwrapped key does not have the check value of the manifest.")
    return material


def printed_lines(package: bytes) -> list[str]:
    """The package's JSON as lines to be typed off paper: number, base32 in groups of four, four hex digits of checksum."""
    packed = zlib.compress(package, 9)
    lines = []
    for number, start in enumerate(range(0, len(packed), 20), 1):
        chunk = packed[start : start + 20]
        text = base64.b32encode(chunk).decode().rstrip("=")
        grouped = " ".join(text[place : place + 4] for place in range(0, len(text), 4))
        lines.append(f"{number:03d}  {grouped}  {_line_check(number, chunk)}")
    return lines


def _from_printed(text: str) -> bytes:
    packed = b""
    for number, line in enumerate((line for line in text.splitlines() if line[:1].isdigit()), 1):
        shown, *groups, check = line.split()
        body = "".join(groups).upper()
        try:
            chunk = base64.b32decode(body + "=" * (-len(body) % 8))
        except ValueError:
            chunk = b""
        if shown != f"{number:03d}" or _line_check(number, chunk) != check.lower():
            raise Problem("package_damaged", f"Line {shown} is mistyped, or a line before it is missing.")
        packed += chunk
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(packed, MAX_PACKAGE)
    if not unpacking.eof:
        raise Problem("package_damaged", "The last lines are missing.")
    return unpacked


def _line_check(number: int, chunk: bytes) -> str:
    return sha256(number.to_bytes(2, "big") + chunk)[:4]


def _fits(value: Any, shape: Any) -> bool:
    if isinstance(shape, dict):
        shapes = {name.rstrip("?"): inner for name, inner in shape.items()}  # with "?": not in every package
        needed = {name for name in shape if not name.endswith("?")}
        return (
            isinstance(value, dict)
            and needed <= value.keys() <= shapes.keys()
            and all(_fits(inner, shapes[name]) for name, inner in value.items())
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    return type(value) is shape


# The command.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands, for this file and for ./manage.py offline."""
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    inspect = commands.add_parser("inspect", help="verify a package and say what is in it")
    inspect.add_argument("package", type=Path, help="the zip file, the JSON, or the printed lines as text")
    proving = commands.add_parser("prove", help="prove for a roll-call that you hold a share")
    known = proving.add_mutually_exclusive_group(required=True)
    known.add_argument("package", type=Path, nargs="?", help="the package that your share belongs to")
    known.add_argument("--salt", metavar="HEX", help="what the page shows, for who has no package")
    proving.add_argument("--challenge", required=True, help="what the roll-call's page shows, in base64")
    recovery = commands.add_parser("recover", help="combine shares and unwrap the master key")
    recovery.add_argument("package", type=Path)
    recovery.add_argument("--out", type=Path, required=True, help="a new file for the key, mode 0600")
    recovery.add_argument("--for", dest="receiver", type=Path, metavar="PEM", help=(
        "RSA public key of the HSM or KMS that will import it: --out then holds it as CKM_RSA_AES_KEY_WRAP with SHA-256, "
        "never the key itself"))  # fmt: skip
    recovery.add_argument(
        "--passphrase",
        action="store_true",
        help="ask for a passphrase although the package does not say that there is one",
    )
    signing = commands.add_parser("sign-act", help="sign an act that you agree to, for the page of its approval")
    signing.add_argument("act", type=Path, help="the file that the page gives")
    signing.add_argument(
        "--key", type=Path, required=True, metavar="PEM", help="your Ed25519 private key: PEM or OpenSSH"
    )
    sealing = commands.add_parser("seal", help="encrypt to the key of a page what you would type there")
    sealing.add_argument("--to", required=True, metavar="HEX", help="the key that the page shows")
    sealing.add_argument(
        "--bound", required=True, metavar="TEXT", help="what the page binds it to, exactly as it stands there"
    )
    sealing.add_argument("--as-typed", action="store_true", help="keep capitals and spaces: for a passphrase")


def run(options: argparse.Namespace) -> int:
    """Do what was asked; returns the exit code, after a sentence on standard error when it failed."""
    try:
        _COMMANDS[options.what](options)
    except Problem as problem:
        _say(str(problem), sys.stderr)
        return 1
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}", sys.stderr)
        return 1
    return 0


def _inspect(options: argparse.Namespace) -> None:
    package = read_package(options.package.read_bytes())
    manifest = package["manifest"]
    key, share_set = manifest["key"], manifest["set"]
    if manifest["practice"]:
        _say("PRACTICE: a rehearsal with a throw-away key.")
    _say(f"Key           {key['name']}, version {key['version']}, {key['algorithm']} ({key['id']})")
    _say(f"Provider      {key['provider']}")
    _say(f"Check value   {key['check']}   of the escrow key {manifest['wrap']['escrow_check']}")
    _say(
        f"Shares        set {set_name(share_set['set_id'])}, generation {share_set['generation']}: {_quorum(share_set)}"
    )
    _say(f"Passphrase    {_NEEDED if share_set.get('passphrase') else 'none'}")
    _say(f"Made          {manifest['made_at']} by {manifest['made_by']}")
    _say(f"Ceremony      {manifest['ceremony']}, script {manifest['script_hash']}")
    _say(f"Manifest      SHA-256 {package['manifest_sha256']}")
    _say("All checksums agree.")


def _prove(options: argparse.Namespace) -> None:
    share_set = read_package(options.package.read_bytes())["manifest"]["set"] if options.package else None
    try:
        challenge = base64.b64decode(options.challenge, validate=True)
        salt = bytes.fromhex(share_set["salt"] if share_set else options.salt)
    except ValueError:
        raise Problem("challenge", "The challenge or the salt is not as the page shows it: copy all of it.") from None
    words = _ask("Your share's words: ")
    share = read_share(words)
    which = f"share {identify(words, share_set)}" if share_set else "a share"
    _say(f"This is {which} of set {set_name(share.identifier)}. The proof, for the roll-call's page:", sys.stderr)
    _say(base64.b64encode(prove(words, salt, challenge)).decode())


def _recover(options: argparse.Namespace) -> None:
    package = read_package(options.package.read_bytes())
    if options.out.exists():
        raise Problem("exists", f"{options.out} exists: name a new file.")
    receiver = _receiver(options.receiver) if options.receiver else None
    share_set = package["manifest"]["set"]
    _say(f"Set {set_name(share_set['set_id'])}: {_quorum(share_set)}")
    if share_set.get("passphrase"):
        _say(f"Passphrase: {_NEEDED}")
    shares = _gather(share_set)
    passphrase = b""
    if share_set.get("passphrase") or options.passphrase:
        passphrase = _ask("The passphrase that the shares were made with: ").encode()
    material = open_package(package, combine(shares, passphrase))
    with os.fdopen(os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_rsa_aes_wrapped(receiver, material) if receiver else material)
    _say(
        f"The key with check value {package['manifest']['key']['check']} is in {options.out}{', wrapped for its receiver' if receiver else ''}."
    )
    _say("The shares are spent: make a new escrow with new shares.")


def _sign_act(options: argparse.Namespace) -> None:
    statement = options.act.read_bytes()
    label, _, act = statement.partition(b"\n")
    if label + b"\n" != AGREEMENT_LABEL:
        raise Problem("act", f"{options.act} is not the file that an approval's page gives.")
    _say(json.dumps(json.loads(act), indent=2, ensure_ascii=False), sys.stderr)
    _say(f"SHA-256 of this act: {sha256(act)}", sys.stderr)
    _say(base64.b64encode(_private_key(options.key).sign(statement)).decode())


def _seal(options: argparse.Namespace) -> None:
    """HPKE base mode (RFC 9180), X25519, as a page's script does it: enc | ciphertext, the context as info."""
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
    except ImportError:
        raise Problem("too_old", "This needs a newer version of `cryptography`, one with HPKE.") from None
    try:
        receiver = X25519PublicKey.from_public_bytes(bytes.fromhex(options.to))
    except ValueError:
        raise Problem("receiver", "The key is not 64 hexadecimal digits: copy all of it.") from None
    typed = _ask("What you would type on the page: ")
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    secret = typed if options.as_typed else plain_words(typed)
    _say(base64.b64encode(suite.encrypt(secret.encode(), receiver, info=options.bound.encode())).decode())


_COMMANDS = {"inspect": _inspect, "prove": _prove, "recover": _recover, "sign-act": _sign_act, "seal": _seal}
_NEEDED = "needed besides the shares; without it they open nothing"


def _private_key(path: Path) -> Ed25519PrivateKey:
    data = path.read_bytes()
    load = serialization.load_ssh_private_key if b"OPENSSH" in data[:64] else serialization.load_pem_private_key
    try:
        try:
            key = load(data, None)
        except (TypeError, ValueError):
            key = load(data, _ask("Passphrase of the key: ").encode())
    except (TypeError, ValueError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Problem("key", f"{path} is no Ed25519 private key, or the passphrase is wrong.")
    return key


def _gather(share_set: dict[str, Any]) -> list[str]:
    groups, threshold = share_set["groups"], share_set["group_threshold"]
    given: dict[int, str] = {}
    while more := missing(groups, threshold, given):
        words = _ask(f"{len(given)} taken, {more} more needed. Words of the next share: ")
        try:
            index = identify(words, share_set)
            if index in given:
                raise Problem("duplicate", f"Share {index} was given already.")
            open_groups = [number for number, need in enumerate(needs(groups, given)) if need]
            if read_share(words).group_index not in open_groups:
                raise Problem("group_complete", "That share's group is complete; a share of another group is needed.")
        except Problem as problem:
            _say(str(problem), sys.stderr)
            continue
        given[index] = words
        _say(f"Share {index} is right.")
    complete = [number for number, need in enumerate(needs(groups, given)) if not need][:threshold]
    return [words for words in given.values() if read_share(words).group_index in complete]


def _quorum(share_set: dict[str, Any]) -> str:
    parts = [f"{threshold} of {count}" for threshold, count in share_set["groups"]]
    if len(parts) == 1:
        return parts[0]
    return f"{share_set['group_threshold']} of the groups ({'; '.join(parts)})"


def _receiver(path: Path) -> rsa.RSAPublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except ValueError:
        key = None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        raise Problem("receiver", f"{path} is no RSA public key of 2048 bits or more in PEM.")
    return key


def _rsa_aes_wrapped(receiver: rsa.RSAPublicKey, material: bytes) -> bytes:
    passing = os.urandom(32)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return receiver.encrypt(passing, oaep) + wrap(passing, material)


def _ask(prompt: str) -> str:
    """One line without echo; from a pipe as it comes. Raises Problem at its end."""
    try:
        line = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    except EOFError:
        line = ""
    if not line:
        raise Problem("ended", "Nothing more was typed; nothing was written.")
    return line.rstrip("\r\n")


def _say(text: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(text + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Escrow without the portal.")
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except KeyboardInterrupt:
        _say("\nStopped; nothing was written.", sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
