"""Our own server as a customer runs it: granian in processes of its own, a key, and a token that may use it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from keys.benchmarks.httpload import free_port
from keys.benchmarks.scratch import Scratch
from keys.models import Key
from keys.services.creation import create_key
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.accounts.services.tokens import create_token

WORKERS = 2
THREADS = 16  # each waits for its group's commit, so they are many and mostly asleep


@dataclass(frozen=True, slots=True)
class Account:
    """A data key of AES-256-GCM and the text of a token that may encrypt and decrypt with it, and nothing else."""

    key: Key
    token: str


def make_account() -> Account:
    """A ring with master key, KEK and data key, and a service account with a token on that ring."""
    system = system_actor("benchmark", Permission.KEY_CREATE, Permission.KEY_VIEW, Permission.TOKEN_MANAGE)
    ring = KeyRing.objects.create(name="benchmark", title="Benchmark")
    parent: Key | None = None
    for name, kind in (("root", "master"), ("wrapping", "kek"), ("data", "dek")):
        parent = create_key(
            actor=system, ring=ring, name=name, title=name.title(), kind=kind, algorithm="AES-256-GCM",
            parent=parent,
        )  # fmt: skip
    assert parent is not None
    service = Person.objects.create_person(email="service@localhost", name="Service", kind=Person.Kind.SERVICE)
    RoleBinding.objects.create(person=service, role=Role.SERVICE, ring=ring, created_by="benchmark")
    scopes = [Permission.KEY_ENCRYPT.value, Permission.KEY_DECRYPT.value]
    _, text = create_token(actor=system, owner=service, name="benchmark", scopes=scopes, rings=[ring])
    return Account(parent, text)


@contextmanager
def running(scratch: Scratch) -> Iterator[int]:
    """The port of our server over the scratch database; it ends with the block."""
    command = [sys.executable, "-m", "granian", "keyvault_portal.wsgi:application"]
    with serving(command, scratch.environment(), scratch.folder / "portal.log") as port:
        yield port


@contextmanager
def serving(granian: list[str], environment: dict[str, str], log_path: Path) -> Iterator[int]:
    """The port at which granian serves a WSGI program: as many processes and threads for ours as for a peer's."""
    port = free_port()
    command = [
        *granian, "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS),
        "--blocking-threads", str(THREADS), "--http", "1", "--no-ws", "--log-level", "warning",
    ]  # fmt: skip
    with log_path.open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The server did not start: " + log_path.read_text()[-500:])
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:  # a machine so busy that it has not begun yet: nobody stays behind
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except HTTPError:
        return True
    except (URLError, ConnectionError, TimeoutError):
        return False
