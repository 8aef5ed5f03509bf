"""A portal with people, a real ceremony process on a socket of its own, and a cast that plays ceremonies through the services."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from tests.api.conftest import make_person
from tests.ceremonies.conftest import Running, run_process, start_process
from tests.conftest import other_processes
from tests.keys.conftest import forget_all
from tests.room.cast import HOLDERS, Cast, plan

__all__ = ["start_process"]
STAFF = (
    ("lena", "leader", "security_officer"),
    ("otto", "operator", "operator"),
    ("wilma", "internal_witness", "auditor"),
)


@pytest.fixture(autouse=True)
def _quiet(settings: Any) -> Iterator[None]:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    forget_all()
    yield
    forget_all()


@pytest.fixture(scope="session")
def doorkeeper(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The real ceremony process of the whole run: each ceremony has a process of its own, forked from this one."""
    with tempfile.TemporaryDirectory(prefix="kvp-", dir="/tmp") as folder:  # a socket's path holds 107 bytes
        log = tmp_path_factory.mktemp("ceremonies") / "process.log"
        running = run_process(Path(folder), log, other_processes())
        yield running
        running.end()


@pytest.fixture
def process(transactional_db: None, doorkeeper: Running, settings: Any) -> Iterator[Running]:
    """The real ceremony process over this test's database, in which no ceremony is left when the test ends."""
    settings.CEREMONY_SOCKET = str(doorkeeper.client.path)
    yield doorkeeper
    for ceremony in psutil.Process(doorkeeper.process.pid).children():
        ceremony.kill()


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
def cast(planner: Actor, process: Running) -> Cast:
    """A rehearsal of a 3-of-5 escrow whose room is open; two of the custodians are guests."""
    made = Cast(planner, plan(planner))
    made.seat_staff()
    made.seat_holders(*HOLDERS)
    return made.open()


@pytest.fixture
def recovery_of(planner: Actor) -> Callable[..., Cast]:
    """A rehearsal about the set that a cast put in escrow, its room open."""

    def make(cast: Cast, script: str = "recovery:2") -> Cast:
        made = Cast(planner, plan(planner, script, title="Recovery"), dict(cast.words))
        made.seat_staff()
        return made.open()

    return make
