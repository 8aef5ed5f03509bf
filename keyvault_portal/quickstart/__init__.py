"""Everything in one terminal: embedded servers, web, worker and beat, started and stopped together.

Nothing here imports Django before the settings may be read: they take the ports and passwords that `claim` chooses.
"""

import argparse
import fcntl
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from keyvault_portal import embedded

MAX_SOCKET_NAME = 100  # bytes; sockaddr_un holds 107
_claimed: dict[Path, IO[str]] = {}


def prepare(arguments: list[str]) -> None:
    """Claim the installation and choose its ports before Django reads its settings; exits with a sentence."""
    if "DATABASE_URL" in os.environ or {"-h", "--help"} & set(arguments):
        return
    parser = argparse.ArgumentParser(prog="manage.py quickstart", add_help=False, allow_abbrev=False)
    parser.add_argument("--port", type=port_number)
    port = parser.parse_known_args(arguments)[0].port
    root = embedded.installation_root()
    try:
        claim(root)
        embedded.ensure_config(root, web_port=port)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))
    os.environ["PORTAL_KEYHOLDER_SOCKET"] = str(_socket(root, "keyholder.sock"))
    os.environ["PORTAL_CEREMONY_SOCKET"] = str(_socket(root, "ceremony.sock"))


def _socket(root: Path, name: str) -> Path:
    """Where a process listens: below `root`, or where that name is too long for a socket, in a folder of ours in /tmp."""
    path = root / "run" / name
    if len(os.fsencode(path)) <= MAX_SOCKET_NAME:
        return path
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"keyvault-portal-{os.getuid()}-{digest}" / name


def port_number(text: str) -> int:
    """A port that an ordinary user may listen on; raises argparse's error otherwise."""
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port between 1024 and 65535")
    return int(text)


def row_count(text: str) -> int:
    """How many rows the demonstration makes, at least one; raises argparse's error otherwise."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def claim(root: Path) -> None:
    """One quickstart an installation, for as long as this process lives; raises EmbeddedError when one runs already."""
    if root in _claimed:
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / "quickstart.lock").open("a+")
    except OSError as error:
        raise embedded.EmbeddedError(f"{root} (PORTAL_VAR_DIR) cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        process = lock.read().strip()
        lock.close()
        raise embedded.EmbeddedError(
            f"Quickstart already runs in {root} (process {process}); stop it with Ctrl-C in its terminal, or use that one."
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    _claimed[root] = lock


def release() -> None:
    """Give up every claim of this process."""
    while _claimed:
        _claimed.popitem()[1].close()
