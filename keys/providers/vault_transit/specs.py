"""The portal's algorithms in the words of the transit engine, and handles that name one version."""

import base64
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from keys.crypto.keyforms import spki
from keys.providers.base import KeyMissing, OperationUnsupported, ProviderFault


@dataclass(frozen=True, slots=True)
class Spec:
    """How transit names a key; `digest` is what is hashed here before a signature is asked for."""

    algorithm: str
    key_type: str
    digest: str = ""
    key_size: int = 0

    @property
    def hash_name(self) -> str:
        return self.digest.replace("sha", "sha2-")


def _rsa(bits: int) -> tuple[Spec, Spec]:
    return Spec(f"RSA-{bits}-OAEP-SHA256", f"rsa-{bits}"), Spec(f"RSA-{bits}-PSS-SHA256", f"rsa-{bits}", "sha256")


_ROWS = (
    Spec("AES-256-GCM", "aes256-gcm96"),
    Spec("ChaCha20-Poly1305", "chacha20-poly1305"),
    Spec("XChaCha20-Poly1305", "xchacha20-poly1305"),
    *_rsa(2048),
    *_rsa(3072),
    *_rsa(4096),
    Spec("ECDSA-P256-SHA256", "ecdsa-p256", "sha256"),
    Spec("ECDSA-P384-SHA384", "ecdsa-p384", "sha384"),
    Spec("Ed25519", "ed25519"),
    Spec("HMAC-SHA256", "hmac", "sha256", 32),
    Spec("HMAC-SHA512", "hmac", "sha512", 64),
)
SPECS = {row.algorithm: row for row in _ROWS}


def spec_named(algorithm: str) -> Spec:
    """The row of an algorithm; raises OperationUnsupported."""
    spec = SPECS.get(algorithm)
    if spec is None:
        raise OperationUnsupported(f"The transit engine has no {algorithm} keys.")
    return spec


def algorithm_of(name: str, key: dict[str, Any]) -> str | None:
    """What a key found on the server is for; the engine's RSA keys do both, so the name decides where we gave it."""
    fitting = [
        row for row in _ROWS
        if row.key_type == key["type"] and (not row.key_size or row.key_size == key.get("key_size", 32))
    ]  # fmt: skip
    named = [row for row in fitting if row.algorithm.lower() in name]
    return next((row.algorithm for row in named or fitting), None)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a transit key; its text is `name:vN`."""

    name: str
    number: int

    @classmethod
    def of(cls, opaque: str) -> "Version":
        name, _, number = opaque.rpartition(":v")
        if not name or not number.isdigit():
            raise KeyMissing("This is no name of a transit key's version.")
        return cls(name, int(number))

    def __str__(self) -> str:
        return f"{self.name}:v{self.number}"

    def text(self, payload: bytes) -> str:
        """The engine's own form of a ciphertext, a signature or a code of this version."""
        return f"vault:v{self.number}:{base64.b64encode(payload).decode()}"

    def payload(self, text: str) -> bytes:
        """The bytes of the engine's form; raises ProviderFault for another version's."""
        prefix = f"vault:v{self.number}:"
        if not text.startswith(prefix):
            raise ProviderFault("The transit engine answered with another version of the key.")
        return base64.b64decode(text.removeprefix(prefix))


def public_key_of(key: dict[str, Any], number: int) -> bytes | None:
    """SPKI DER of a version, None where there is no public key; raises KeyMissing for a version that is not listed."""
    if key["type"] == "hmac":
        return None
    row = key["keys"].get(str(number))
    if row is None:
        raise KeyMissing("The transit engine shows no such version.")
    if not isinstance(row, dict):
        return None
    text = str(row["public_key"])
    try:
        if text.startswith("-----"):
            return spki(load_pem_public_key(text.encode()))
        return spki(Ed25519PublicKey.from_public_bytes(base64.b64decode(text)))
    except ValueError:
        raise ProviderFault("The transit engine shows a public key that cannot be read.") from None
