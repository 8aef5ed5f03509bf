"""An organisation with officers who really exist, a small hierarchy, and a second database with a table of cells."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from psycopg import sql

from keys.crypto.envelope import context_aad
from keys.models import DataStore, Key, KeyVersion
from keys.services import budget, creation, key_views, materials, stores
from keys.services.segments import SegmentWriter
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from tests.remembered import remembered

TEMPLATE = {"table": "customers", "column": "{column}", "id": "{pk}"}


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    materials.forget()
    budget.forget()
    key_views.forget()
    yield
    materials.forget()
    budget.forget()
    key_views.forget()


@dataclass
class Organisation:
    ring: KeyRing
    people: dict[str, Person] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)

    def actor(self, name: str) -> Actor:
        return actor_for_person(self.people[name], second_factor=True)

    def add(self, name: str, role: Role) -> Person:
        person = Person.objects.create_person(email=f"{name}@example.org", name=name.title())
        RoleBinding.objects.create(person=person, role=role, created_by="test")
        self.people[name] = person
        return person

    def key(self, name: str, kind: str, parent: str | None = None, algorithm: str = "AES-256-GCM", **more: Any) -> Key:
        self.keys[name] = creation.create_key(
            actor=self.actor("ada"), ring=self.ring, name=name, title=name.title(), kind=kind, algorithm=algorithm,
            parent=self.keys[parent] if parent else None, **more,
        )  # fmt: skip
        return self.keys[name]


@pytest.fixture
def organisation(transactional_db: None) -> Organisation:
    return remembered("organisation", _organisation)


def _organisation() -> Organisation:
    org = Organisation(KeyRing.objects.create(name="shop", title="Shop"))
    for name in ("ada", "boris", "chen"):
        org.add(name, Role.SECURITY_OFFICER)
    org.add("dana", Role.OPERATOR)
    org.add("fay", Role.AUDITOR)
    org.key("root", "master")
    org.key("kek", "kek", "root")
    org.key("pii", "dek", "kek")
    org.key("portal", "dek", "kek")
    stores.register_sealed_values(actor=org.actor("ada"), key=org.keys["portal"])
    return org


@dataclass
class Shop:
    """The second database, seen by its owner."""

    dsn: str
    connection: psycopg.Connection

    def cells(self, table: str = "customers") -> dict[int, tuple[Any, ...]]:
        rows = self.connection.execute(sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(table)))
        return {row[0]: tuple(row[1:]) for row in rows}


@contextmanager
def opened_shop() -> Iterator[Shop]:
    """A scratch database on the same server, dropped at the end."""
    name = f"shop_{os.getpid()}_{secrets.token_hex(4)}"
    base = django_settings.DATABASES["default"]
    server = f"postgresql://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection = psycopg.connect(f"{server}/{name}", autocommit=True)
    try:
        connection.execute("CREATE TABLE customers (id bigint PRIMARY KEY, email bytea, card bytea)")
        yield Shop(f"{server}/{name}", connection)
    finally:
        connection.close()
        # A connection of its own: a test may have restarted the server meanwhile.
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            # Not WITH (FORCE): that asks for the right to end autovacuum too, which a plain DROP ends by itself.
            ours = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"
            )
            admin.execute(ours, [name])
            admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture
def shop(transactional_db: None) -> Iterator[Shop]:
    with opened_shop() as opened:
        yield opened


def seal_customers(shop: Shop, version: KeyVersion, numbers: range) -> dict[int, tuple[bytes, bytes]]:
    """Insert customers whose two cells stand on segments of `version`; returns the plaintexts."""
    plain = {number: (f"customer{number}@example.org".encode(), f"4111-{number:012d}".encode()) for number in numbers}
    with SegmentWriter(version, "customers") as writer, shop.connection.cursor() as cursor:
        rows = [
            (number, *[
                writer.seal(value, context_aad({"table": "customers", "column": column, "id": str(number)}))
                for column, value in zip(("email", "card"), values, strict=True)
            ])
            for number, values in plain.items()
        ]  # fmt: skip
        cursor.executemany("INSERT INTO customers VALUES (%s, %s, %s)", rows)
    return plain


@pytest.fixture
def active() -> Any:
    """The active version of a key, freshly read."""
    return lambda key: materials.active_version(Key.objects.get(pk=key.pk))


@pytest.fixture
def customers(organisation: Organisation, shop: Shop, active: Any) -> tuple[DataStore, dict[int, tuple[bytes, bytes]]]:
    """2,500 customers registered as a store."""
    plain = seal_customers(shop, active(organisation.keys["pii"]), range(1, 2501))
    return register_customers(organisation, shop), plain


def register_customers(organisation: Organisation, shop: Shop, **changes: Any) -> DataStore:
    values = {
        "name": "customers", "title": "Customers", "dsn": shop.dsn, "schema_name": "public", "table_name": "customers", "primary_key": "id",
        "columns": ["email", "card"], "format": "compact", "context_template": TEMPLATE, "rate_limit": None,
    } | changes  # fmt: skip
    return stores.register_store(
        actor=organisation.actor("ada"),
        ring=organisation.ring,
        key=values.pop("key", organisation.keys["pii"]),
        **values,
    )
