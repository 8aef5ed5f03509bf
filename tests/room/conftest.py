"""A portal with people, a real ceremony process on a socket of its own, and a cast that plays ceremonies through the services."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ceremonies.process.key_services import PortalKeyServices
from ceremonies.process.server import CeremonyServer
from ceremonies.process.sessions import Sessions
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from tests.api.conftest import make_person
from tests.keys.conftest import forget_all
from tests.room.cast import HOLDERS, Cast, plan

STAFF = (("lena", "leader", "security_officer"), ("otto", "operator", "operator"), ("wilma", "internal_witness", "auditor"))


@pytest.fixture(autouse=True)
def _quiet(settings: Any) -> Iterator[None]:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    forget_all()
    yield
    forget_all()


@dataclass
class Process:
    """The ceremony process of a test, and a way to lose what it holds."""

    sessions: Sessions

    def restart(self) -> None:
        self.sessions.destroy_all()


@pytest.fixture
def process(settings: Any) -> Iterator[Process]:
    with tempfile.TemporaryDirectory(prefix="ceremony-") as folder:
        path = Path(folder) / "c.sock"
        sessions = Sessions(PortalKeyServices())
        server = CeremonyServer(path, sessions, users={os.getuid()})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        settings.CEREMONY_SOCKET = str(path)
        yield Process(sessions)
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def people(db: None) -> dict[str, Person]:
    found = {name: make_person(name, role) for name, _, role in STAFF}
    for name in ("hana", "igor", "jane"):
        found[name] = make_person(name, "custodian", site=name.title())
    return found


@pytest.fixture
def planner(people: dict[str, Person]) -> Actor:
    return actor_for_person(people["lena"], second_factor=True)


@pytest.fixture
def cast(planner: Actor, process: Process) -> Cast:
    """A rehearsal of a 3-of-5 escrow whose room is open; two of the custodians are guests."""
    made = Cast(planner, plan(planner))
    made.seat_staff()
    made.seat_holders(*HOLDERS)
    return made.open()


@pytest.fixture
def recovery_of(planner: Actor) -> Callable[..., Cast]:
    """A rehearsal about the set that a cast put in escrow, its room open."""

    def make(cast: Cast, script: str = "recovery:1") -> Cast:
        made = Cast(planner, plan(planner, script, title="Recovery"), dict(cast.words))
        made.seat_staff()
        return made.open()

    return make
