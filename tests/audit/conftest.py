"""A record of its own for tests that look at the whole of it, and the means to damage it as its owner could."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, transaction

from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.audit import committer, ledger
from keyvault_portal.audit.events import Event, prepare

TABLES = ("audit_event", "audit_tile", "audit_checkpoint", "audit_signer", "audit_head")
ACTOR = system_actor("tests")


@contextmanager
def unguarded() -> Iterator[psycopg.Connection]:
    """A connection of the tables' owner, with their triggers off."""
    with psycopg.connect(**connect_arguments()) as owner:
        for table in TABLES:
            owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield owner
        for table in TABLES:
            owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def connect_arguments() -> dict[str, object]:
    from keyvault_portal.audit.commands import connection_arguments

    return connection_arguments()


@pytest.fixture
def record(transactional_db) -> Iterator[None]:
    """An empty record, committed for real and seen by other processes."""
    _empty()
    yield
    committer.stop()
    committer._reset()  # the next one would sign for a second with the key that this one has read
    _empty()


def _empty() -> None:
    with unguarded() as owner:
        owner.execute("TRUNCATE audit_event, audit_tile, audit_checkpoint, audit_signer")
        owner.execute("UPDATE audit_head SET size = 0, frontier = '', root = sha256(''), at = 'epoch'")


@pytest.fixture
def fill(record) -> Callable[..., None]:
    """Append `count` events in groups of `group`."""

    def append(count: int, group: int = 10, label: str = "payroll") -> None:
        for start in range(0, count, group):
            events = [
                prepare(Event(ACTOR, "key.encrypt", ("key", str(number % 7), label), details={"n": number}))
                for number in range(start, min(start + group, count))
            ]
            with transaction.atomic():
                ledger.append(events)
        connection.close()

    return append
