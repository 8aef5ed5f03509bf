"""The root of the embedded hierarchy: 32 random bytes in a file of mode 0600, wrapping the master keys."""

import base64
import binascii
import os
import stat
import threading
from pathlib import Path

from django.conf import settings

from keys.crypto.aead import Aead
from keys.crypto.secret import SecretBytes
from keys.keyholder.client import Keyholder
from keys.providers.base import portal_errors
from keyvault_portal.errors import Conflict, Sealed

HEADER = "KeyVault Portal root key v1. Keep it secret, keep a copy offline: without it no key can be used.\n"
ALGORITHM = "AES-256-GCM"

_lock = threading.Lock()
_loaded: dict[Path, SecretBytes] = {}


def ensure_root_key() -> Path:
    """Make the root key file unless it exists, and return its path; never overwrites one.

    Raises Sealed when the file exists but cannot be trusted, or its folder cannot be written.
    """
    path = Path(settings.ROOT_KEY_FILE)
    if path.exists():
        _read(path)
        return path
    text = HEADER + base64.b64encode(os.urandom(32)).decode("ascii") + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and linked into place: a crash leaves no half a key, and a rival's file is never replaced.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            _read(path)
        finally:
            draft.unlink()
    except OSError as error:
        raise Sealed(
            f"The root key file cannot be made: {error.strerror}.", hint=f"Check the folder of {path.name}."
        ) from None
    return path


def read_file() -> SecretBytes:
    """The root key in its file, read now and kept nowhere; raises as `root_key` does."""
    return _read(Path(settings.ROOT_KEY_FILE))


def root_key() -> SecretBytes:
    """The root key, read once a process; raises Sealed when the file is missing, damaged or open to others."""
    path = Path(settings.ROOT_KEY_FILE)
    found = _loaded.get(path)
    if found is None:
        with _lock:
            found = _loaded.get(path) or _read(path)
            _loaded[path] = found
    return found


def wrap(secret: SecretBytes, context: bytes) -> bytes:
    """`secret` under the root, bound to `context` as AAD; the keyholder does it where there is one. Raises Sealed."""
    if settings.KEYHOLDER_SOCKET:
        return keyholder().wrap(secret, context)
    with portal_errors():
        return Aead(ALGORITHM, root_key()).encrypt(secret.reveal(), context)


def unwrap(wrapped: bytes, context: bytes) -> SecretBytes:
    """What `wrap` made; raises Sealed, DecryptRefused."""
    if settings.KEYHOLDER_SOCKET:
        return keyholder().unwrap(wrapped, context)
    with portal_errors():
        return SecretBytes(Aead(ALGORITHM, root_key()).decrypt_joined(wrapped, context))


def keyholder() -> Keyholder:
    """The process that holds the root; raises Conflict where the portal runs without one."""
    if not settings.KEYHOLDER_SOCKET:
        raise Conflict(
            "This portal runs without a keyholder.", hint="Set PORTAL_KEYHOLDER_SOCKET and start ./manage.py keyholder."
        )
    return Keyholder(Path(settings.KEYHOLDER_SOCKET))


def forget() -> None:
    """Wipe what was read, so that the file is read (and checked) again."""
    with _lock:
        for key in _loaded.values():
            key.wipe()
        _loaded.clear()


def _read(path: Path) -> SecretBytes:
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Sealed(
                    f"The root key file is open to others (mode {mode:04o}).",
                    hint="chmod 600 the file, and consider the key exposed.",
                )
            text = file.read(4096)
    except FileNotFoundError:
        raise Sealed("The root key file is missing.", hint="Restore it from its offline copy.") from None
    except (OSError, UnicodeDecodeError):
        raise Sealed("The root key file cannot be read.") from None
    try:
        raw = base64.b64decode(text.removeprefix(HEADER).strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(HEADER) or len(raw) != 32:
        raise Sealed("The root key file is damaged.", hint="Restore it from its offline copy.")
    return SecretBytes(raw)
