"""The Ed25519 key that signs checkpoints: a file of mode 0600, read again whenever it changes."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from keyvault_portal.audit import checkpoint
from keyvault_portal.audit.errors import AuditUnavailable


@dataclass(frozen=True, slots=True)
class Signer:
    """A checkpoint key, its raw public half and the name under which verifiers know it."""

    name: str
    key: Ed25519PrivateKey
    public_key: bytes
    key_id: str  # hex of the signed note's 4-byte key hash


_loaded: tuple[tuple[object, ...], Signer] | None = None


def ensure_signing_key() -> Path:
    """Create the checkpoint key file if there is none (mode 0600, never overwritten) and return its path."""
    path = Path(settings.AUDIT_KEY_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # as exclusive as O_EXCL, and nobody ever reads half a key
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    load_signer()
    return path


def load_signer() -> Signer:
    """The present checkpoint key; raises AuditUnavailable if the file is missing, readable by others, or no key."""
    global _loaded  # noqa: PLW0603  one key a process, replaced when the file changes
    path, name = Path(settings.AUDIT_KEY_FILE), settings.AUDIT_ORIGIN
    try:
        status = path.stat()
    except OSError:
        raise AuditUnavailable(
            "The audit signing key is missing.", hint=f"Restore {path.name}, or create it with the set-up command."
        ) from None
    stamp = (str(path), name, status.st_ino, status.st_mtime_ns, status.st_mode)
    if _loaded is not None and _loaded[0] == stamp:
        return _loaded[1]
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise AuditUnavailable("The audit signing key is readable by others.", hint=f"chmod 600 {path.name}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        raise AuditUnavailable("The audit signing key cannot be read.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditUnavailable("The audit signing key is not an Ed25519 key.")
    public_key = key.public_key().public_bytes_raw()
    signer = Signer(name, key, public_key, checkpoint.key_hash(name, public_key).hex())
    _loaded = (stamp, signer)
    return signer
