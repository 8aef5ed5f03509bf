"""Files that servers read: whole or not there at all, readable by their owner alone, only below allowed directories."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from certificates.csr import refused
from keyvault_portal.errors import PortalError

MODE_FILE, MODE_FOLDER = 0o600, 0o700


class PlaceUnavailable(PortalError):
    status, code, title = 503, "place_unavailable", "The place cannot be written to"


def check(place: str) -> Path:
    """The path, if it stands below an allowed directory even after links are followed; raises ValidationFailed.

    It may itself be the link that `write_set` keeps.
    """
    path = Path(place)
    allowed = [Path(root).resolve() for root in settings.CERTIFICATE_DEPLOY_DIRS]
    if not allowed:
        raise refused(
            "place", "No directory is allowed on this machine: an administrator can add one to CERTIFICATE_DEPLOY_DIRS."
        )
    if not path.is_absolute() or ".." in path.parts or path.name.startswith(".") or "\0" in place or len(place) > 500:
        raise refused("place", "An absolute path without .. whose last part does not begin with a dot.")
    parent = path.parent.resolve()
    if not any(parent == root or root in parent.parents for root in allowed):
        raise refused("place", f"Only below {', '.join(map(str, allowed))}.")
    return parent / path.name


def write_file(place: str, content: bytes) -> None:
    """Replace one file atomically, mode 0600; raises ValidationFailed, PlaceUnavailable."""
    path = check(place)
    fresh = path.parent / f".{path.name}.{secrets.token_hex(6)}"
    try:
        if path.is_dir() and not path.is_symlink():
            raise PlaceUnavailable(f"{path} is a directory.")
        try:
            _write(fresh, content)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise PlaceUnavailable(f"{path}: {error.strerror or type(error).__name__}.") from None


def write_set(place: str, files: Mapping[str, bytes]) -> None:
    """Replace a folder of files that belong together atomically: `place` is a link that is moved from the old set to the new.

    A reader never meets a key beside another key's certificate. The set before the last is removed. Raises as `write_file`.
    """
    path = check(place)
    name = f".{path.name}.{secrets.token_hex(6)}"
    folder, link = path.parent / name, path.parent / f"{name}.link"
    try:
        if path.exists() and not path.is_symlink():
            raise PlaceUnavailable(
                f"{path} exists and is no link of ours.", hint="Move it away, or choose another place."
            )
        before = path.resolve() if path.is_symlink() else None
        folder.mkdir(MODE_FOLDER)
        try:
            for file, content in files.items():
                _write(folder / file, content)
            _sync(folder)
            link.symlink_to(name)
            link.replace(path)
        except BaseException:
            link.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        _sync(path.parent)
        _remove_old(path, {folder, before})
    except OSError as error:
        raise PlaceUnavailable(f"{path}: {error.strerror or type(error).__name__}.") from None


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE_FILE)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_old(path: Path, keep: set[Path | None]) -> None:
    for old in path.parent.glob(f".{path.name}.????????????"):
        if old.is_dir() and not old.is_symlink() and old not in keep:
            shutil.rmtree(old, ignore_errors=True)
