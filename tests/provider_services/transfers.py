"""Wrapping keys and check values as a person does it: with the commands that the pages show, run by a shell."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from keys.models import KeyImport
from keys.services import commands, imports
from keys.transfer_tasks import import_work
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Role
from tests.keys.conftest import actor_of


def run(script: str, folder: Path) -> str:
    """What a shell says to the commands of a page; the Python they name is this one."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", script], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wrap(row: KeyImport, key: bytes, folder: Path) -> tuple[bytes, str]:
    """The upload for an import, and the check value, as the page's commands make them."""
    folder = folder / str(uuid4())
    folder.mkdir()
    (folder / "key.bin").write_bytes(key)
    (folder / "wrapping.pem").write_text(commands.pem(bytes(row.public_key or b"")))
    run(commands.wrap_commands(row.wrap_method), folder)
    return (folder / "upload.bin").read_bytes(), run(commands.check_commands(row.key.algorithm), folder)


def upload(actor: Actor, row: KeyImport, wrapped: bytes, value: str, nonce: str | None = None) -> KeyImport:
    """Upload, and let a worker do the rest."""
    row.refresh_from_db()
    imports.receive_upload(
        actor=actor, import_id=row.pk, nonce=row.nonce if nonce is None else nonce, wrapped=wrapped, check_value=value
    )
    import_work(str(row.pk))
    row.refresh_from_db()
    return row


def custodian(name: str) -> Actor:
    return actor_of(Role.CUSTODIAN, name)
