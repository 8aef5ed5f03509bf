"""The shop: a database of its own with customers and orders, encrypted by the portal's services."""

import json
from collections.abc import Callable, Iterator

import psycopg
from django.conf import settings

from keys.crypto.envelope import context_aad
from keys.demo.organisation import Organisation
from keys.models import DataStore
from keys.services import materials, operations, stores
from keys.services.segments import SegmentWriter
from keyvault_portal import embedded, environment
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.errors import ValidationFailed

COLUMNS = ("email", "card_number", "tax_number")
BATCH = 2_000
CUSTOMERS_TEMPLATE = {"table": "customers", "column": "{column}", "id": "{pk}"}
_TABLES = """
    CREATE TABLE IF NOT EXISTS customers (
        id bigint PRIMARY KEY, name text NOT NULL, email bytea, card_number bytea, tax_number bytea, created_at timestamptz DEFAULT now()
    );
    ALTER TABLE customers ALTER email SET STORAGE EXTERNAL, ALTER card_number SET STORAGE EXTERNAL, ALTER tax_number SET STORAGE EXTERNAL;
    CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, note json);
"""
FIRST = ("Mika", "Aino", "Juan", "Lea", "Omar", "Ines", "Paul", "Nora", "Tariq", "Greta")
LAST = ("Aalto", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova", "Jansen")


def shop_url() -> str:
    """The shop's database: SHOP_DATABASE_URL, or one of its own on the embedded server."""
    if given := environment.database_url("SHOP_DATABASE_URL"):
        return given
    if not settings.EMBEDDED:
        raise ValidationFailed("Name an empty database for the shop.", hint="Set SHOP_DATABASE_URL=postgresql://...")
    return embedded.Services(settings.VAR_DIR).ensure_database("shop", "shop")


def customer(number: int) -> dict[str, str]:
    """What customer `number` is made of; the same each time, so that it can be compared later."""
    first, last = FIRST[number % 10], LAST[number // 10 % 10]
    return {
        "name": f"{first} {last}", "email": f"{first}.{last}.{number}@example.com".lower(),
        "card_number": f"4{number * 7919 % 10**15:015d}", "tax_number": f"FI{number * 104729 % 10**8:08d}",
    }  # fmt: skip


def fill(org: Organisation, url: str, customers: int, orders: int, step: Callable[[int], None]) -> None:
    """Insert what is missing up to these numbers; `step` is told how many rows were written."""
    with psycopg.connect(url) as shop:
        shop.execute(_TABLES)
        done = shop.execute("SELECT count(*), coalesce(max(id), 0) FROM customers").fetchone() or (0, 0)
        shop.commit()
        for rows in _customers(org, done[1] + 1, customers):
            with (
                shop.cursor() as cursor,
                cursor.copy("COPY customers (id, name, email, card_number, tax_number) FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            shop.commit()
            step(len(rows))
        count = (shop.execute("SELECT count(*) FROM orders").fetchone() or (0,))[0]
        for rows in _orders(org, count + 1, orders):
            with shop.cursor() as cursor:
                cursor.executemany("INSERT INTO orders (id, customer_id, note) VALUES (%s, %s, %s)", rows)
            shop.commit()
            step(len(rows))


def _customers(org: Organisation, first: int, last: int) -> Iterator[list[tuple[object, ...]]]:
    version = materials.active_version(org.keys["customer-pii"])
    with SegmentWriter(version, "shop customers") as writer:
        for start in range(first, last + 1, BATCH):
            rows: list[tuple[object, ...]] = []
            for number in range(start, min(start + BATCH, last + 1)):
                person = customer(number)
                cells = [
                    writer.seal(
                        person[column].encode(),
                        context_aad({"table": "customers", "column": column, "id": str(number)}),
                    )
                    for column in COLUMNS
                ]
                rows.append((number, person["name"], *cells))
            yield rows


def _orders(org: Organisation, first: int, last: int) -> Iterator[list[tuple[object, ...]]]:
    """Orders carry a data key each, as applications with a KMS write them."""
    actor = actor_for_person(org.people["shop"])
    for start in range(first, last + 1, BATCH):
        rows: list[tuple[object, ...]] = []
        for number in range(start, min(start + BATCH, last + 1)):
            context = {"table": "orders", "id": str(number)}
            envelope = operations.envelope_encrypt(
                actor, org.keys["orders-kek"].pk, f"Leave order {number} with the neighbour.".encode(), context
            )
            rows.append((number, number % 50_000 + 1, json.dumps(envelope.to_dict())))
        yield rows


def register(org: Organisation, url: str) -> None:
    """Register both tables as data stores, once."""
    ada = org.actor("ada")
    for name, title, key, table, columns, form, template in (
        ("shop-customers", "Shop customers", "customer-pii", "customers", list(COLUMNS), "compact", CUSTOMERS_TEMPLATE),
        (
            "shop-orders",
            "Shop orders",
            "orders-kek",
            "orders",
            ["note"],
            "envelope_json",
            {"table": "orders", "id": "{pk}"},
        ),
    ):
        if not DataStore.objects.filter(name=name).exists():
            stores.register_store(
                actor=ada, ring=org.rings["shop"], key=org.keys[key], name=name, title=title, dsn=url, schema_name="public", table_name=table,
                primary_key="id", columns=columns, format=form, context_template=template, rate_limit=None,
            )  # fmt: skip


def compare(
    url: str, read: Callable[[list[tuple[int, tuple[bytes, ...]]]], Iterator[tuple[int, tuple[bytes, ...]]]]
) -> tuple[int, list[int]]:
    """Read every customer back through `read` and compare; returns how many, and the ids that differ."""
    checked, wrong = 0, []
    with psycopg.connect(url) as shop, shop.cursor("compare", binary=True) as cursor:
        cursor.execute("SELECT id, email, card_number, tax_number FROM customers ORDER BY id")
        while batch := cursor.fetchmany(BATCH):
            for number, plain in read([(row[0], tuple(row[1:])) for row in batch]):
                person = customer(number)
                checked += 1
                if plain != tuple(person[column].encode() for column in COLUMNS):
                    wrong.append(number)
    return checked, wrong
