"""A portal with people, a real ceremony process on a socket of its own, and a cast that plays ceremonies through the services."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from tests.api.conftest import make_person
from tests.ceremonies.conftest import Running, start_process
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


@pytest.fixture
def process(start_process: Callable[..., Running], settings: Any) -> Running:
    """The real ceremony process over this test's database."""
    running = start_process()
    settings.CEREMONY_SOCKET = str(running.client.path)
    return running


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

    def make(cast: Cast, script: str = "recovery:1") -> Cast:
        made = Cast(planner, plan(planner, script, title="Recovery"), dict(cast.words))
        made.seat_staff()
        return made.open()

    return make
