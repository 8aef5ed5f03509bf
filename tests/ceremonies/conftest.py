"""People, a set of their shares, and a session they can hold it in."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519

from ceremonies import offline, packages
from ceremonies.errors import ProcessUnavailable
from ceremonies.packages import MasterKey
from ceremonies.process import sealing
from ceremonies.process.client import CeremonyProcess
from ceremonies.process.contract import HandedOver, HolderGroup, RecipientKind
from ceremonies.process.session import Session
from keys.crypto import receiving
from keys.crypto.hpke import X25519_SUITE
from keys.crypto.secret import SecretBytes
from tests import warm

SCRIPT = "ab" * 32
MASTER = bytes(range(100, 132))
KEY_ID = UUID("6f1c2f0e-3b0d-4a53-9c5b-0f4f0a8b8a11")
MADE = {"made_by": "Olga Officer", "made_at": "2026-11-25T20:00:00Z"}


class Clock:
    """Time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class OneKey:
    """The keys services of an organisation with one master key; the real ones are met in test_process.py."""

    handed: list[tuple[str, bytes]] = field(default_factory=list)
    refuses: Exception | None = None

    def export(self, *, version_id: int, person_id: UUID, approval_id: UUID | None, escrow_key: SecretBytes) -> Any:
        key = MasterKey(KEY_ID, version_id, "root", "AES-256-GCM", "local", offline.check_value(MASTER, "AES-256-GCM"))
        return key, packages.wrap_master(escrow_key, SecretBytes(MASTER))

    def hand_over(self, *, key: MasterKey, material: SecretBytes, provider: str, **rest: Any) -> HandedOver:
        if self.refuses:
            raise self.refuses
        self.handed.append((provider, material.reveal()))
        return HandedOver(key.key_id, 7, None)


@dataclass
class Room:
    """One session and its custodians, who do what a browser does."""

    session: Session
    services: OneKey
    clock: Clock
    cards: dict[str, str] = field(default_factory=dict)

    def sealed(self, who: str, text: str, *, step: str = "give", **other: Any) -> bytes:
        """What the browser of `who` makes of `text`; `other` overrides what it is bound to."""
        values = {
            "ceremony_id": self.session.ceremony_id,
            "script_hash": SCRIPT,
            "step": step,
            "custodian_id": who,
            **other,
        }
        public = x25519.X25519PublicKey.from_public_bytes(other.get("public") or self.session.public_key)
        values.pop("public", None)
        return bytes(X25519_SUITE.encrypt(public, text.encode(), sealing.context(**values)))

    def escrow(self, groups: list[HolderGroup] | None = None, generation: int = 1, **more: Any) -> Any:
        """A whole handing out: make, wrap, split, show, confirm. Returns the set's record."""
        self.session.make_escrow_key()
        self.session.wrap_master_key(version_id=3, person_id=uuid4())
        groups = groups or [HolderGroup(3, ("ann", "ben", "cleo", "dan", "eva"))]
        values = {"group_threshold": 1, "iteration_exponent": 0, "extendable": True, "avoid": (), **more}
        record = self.session.split(generation=generation, groups=groups, **values)
        for index, who in enumerate([who for group in groups for who in group.custodians], 1):
            words, _, _ = self.see(index, who)
            self.cards[who] = words
            assert self.confirm(who, words) == index
        return record

    def see(self, index: int, who: str) -> tuple[str, tuple[int, ...], str]:
        """What the page of `who` shows of a share, the words to type back, and its check value."""
        mine = receiving.ReceivingKey()
        ciphertext, positions, check = self.session.sealed_share_for(
            index=index, custodian_id=who, step="show", kind=RecipientKind.PAGE, key=mine.public
        )
        bound = sealing.context(ceremony_id=self.session.ceremony_id, script_hash=SCRIPT, step="show", custodian_id=who)
        return mine.open(ciphertext, bound).reveal().decode().splitlines()[0], positions, check

    def confirm(self, who: str, text: str) -> int:
        """Type back."""
        ciphertext = self.sealed(who, text, step="show")
        return self.session.confirm(custodian_id=who, step="show", ciphertext=ciphertext)

    def give(self, attempt: str, who: str, text: str | None = None, **other: Any) -> Any:
        """Hand in a card."""
        ciphertext = self.sealed(who, self.cards[who] if text is None else text, **other)
        return self.session.take_share(attempt=attempt, custodian_id=who, step="give", ciphertext=ciphertext)

    def next_session(self, *, practice: bool = False) -> "Room":
        """Another ceremony of the same people."""
        session = Session(uuid4(), SCRIPT, self.services, practice=practice, clock=self.clock)
        return Room(session, self.services, self.clock, dict(self.cards))


@pytest.fixture
def room() -> Room:
    clock, services = Clock(), OneKey()
    return Room(Session(uuid4(), SCRIPT, services, clock=clock), services, clock)


@pytest.fixture
def escrowed(room: Room) -> Any:
    """A finished 3-of-5 escrow: the room of the recovery to come, the record of the set, the package."""
    record = room.escrow()
    package = room.session.package(**MADE)
    room.session.destroy()
    return room.next_session(), record, package


HOLDERS = dict(enumerate(("ann", "ben", "cleo", "dan", "eva"), 1))


@dataclass
class Running:
    """A real ceremony process, its log, and where it may put temporary files."""

    process: warm.Process
    client: CeremonyProcess
    log: Path
    temporary: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


def run_process(folder: Path, log: Path, environment: dict[str, str]) -> Running:
    """The real process, listening below `folder`; returns once it answers."""
    path, temporary = folder / "run" / "ceremony.sock", folder / "temporary"
    temporary.mkdir(exist_ok=True)
    own = {"PORTAL_CEREMONY_SOCKET": str(path), "TMPDIR": str(temporary), "LOG_LEVEL": "DEBUG"}
    with log.open("wb") as output:
        process = warm.start(["manage.py", "ceremony_process"], env=environment | own, output=output.fileno())
    deadline = time.monotonic() + 60
    client = CeremonyProcess(path)
    while time.monotonic() < deadline:
        try:
            client.status(ceremony_id=uuid4())
        except ProcessUnavailable:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        else:
            return Running(process, client, log, temporary)
    process.kill()
    raise AssertionError(log.read_text())


@pytest.fixture
def start_process(worker_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start the real process over the test's database; returns once it answers."""
    running: list[Running] = []
    with tempfile.TemporaryDirectory(prefix="kvp-", dir="/tmp") as folder:  # a socket's path holds 107 bytes

        def start(**more: str) -> Running:
            log = tmp_path / f"ceremonies-{len(running)}.log"
            running.append(run_process(Path(folder), log, worker_environment | more))
            return running[-1]

        yield start
        for one in running:
            one.end()


def recovered(room, record, package, givers=("eva", "ann", "cleo"), **more):
    """The master key out of the package, by the shares of these people."""
    attempt = room.session.open_attempt(record=record, holders=HOLDERS, **more)
    for who in givers:
        progress = room.give(attempt, who)
    assert progress.missing == 0
    check = packages.read(package).escrow_check
    assert room.session.reconstruct(attempt=attempt, escrow_check=check) == check
    return room.session.unwrap(package=package)
