"""However an envelope is spelt, the census counts it on the version that the portal's own parser reads."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.conf import settings
from hypothesis import example, given
from hypothesis import strategies as st

from keys.crypto.envelope import Envelope
from keys.crypto.errors import MalformedEnvelope
from keys.datastores import postgresql
from keys.datastores.base import Counted, Locator
from keys.datastores.connecting import HostRule
from keys.datastores.formats import ContextTemplate, EnvelopeJsonFormat, located
from keys.datastores.postgresql import PostgresTable, TableSpec

ARNS = ["local:key/one/1", "local:key/one/2", 'odd "name\\ of/a küy', ""]
FIELDS = {
    "wrapped_dek": "d3JhcHBlZA==", "nonce": "AAAAAAAAAAAAAAAA", "ciphertext": "AAAAAAAAAAAAAAAAAAAAAA//",
    "algorithm": "AES-256-GCM",
}  # fmt: skip
COLUMNS = {"t": "text", "v": "varchar", "j": "json", "b": "jsonb"}


@pytest.fixture(scope="module")
def cells(django_db_setup: None, django_db_blocker: Any) -> Iterator[tuple[psycopg.Connection, PostgresTable]]:
    """A table with a column of each type, in a database of its own, and the adapter over it."""
    base, name = settings.DATABASES["default"], f"spellings_{os.getpid()}"
    server = f"postgresql://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}"
    spec = TableSpec("public", "cells", "id", tuple(COLUMNS), "envelope_json", ContextTemplate({}))
    adapter = PostgresTable(f"{server}/{name}", spec, HostRule(("127.0.0.1/32",)))
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with psycopg.connect(f"{server}/{name}", autocommit=True) as connection:
                columns = ", ".join(f"{column} {kind}" for column, kind in COLUMNS.items())
                connection.execute(f"CREATE TABLE cells (id serial PRIMARY KEY, {columns})")
                yield connection, adapter
        finally:
            adapter.close()
            admin.execute(f"DROP DATABASE {name}")


def write(connection: psycopg.Connection, texts: list[str]) -> None:
    """Put each text into every column whose type takes it."""
    connection.execute("TRUNCATE cells")
    for name, kind in COLUMNS.items():
        for text in texts:
            try:
                connection.execute(f"INSERT INTO cells ({name}) VALUES (%s)", [text])
            except (psycopg.DataError, psycopg.OperationalError):
                assert kind in {"json", "jsonb"}


def parsed(connection: psycopg.Connection) -> dict[str, Counter[Locator | None]]:
    """What Python reads in each column; and an envelope that the parser takes is located where it says."""
    read = {}
    for name in COLUMNS:
        texts = [row[0] for row in connection.execute(f"SELECT {name}::text FROM cells WHERE {name} IS NOT NULL")]
        for text in texts:
            with suppress(MalformedEnvelope):
                assert located("envelope_json", text) == Locator("envelope", arn=Envelope.from_json(text).kms_key_id)
        read[name] = Counter(located("envelope_json", text) for text in texts)
    return read


def counted(found: list[Counted]) -> dict[str, Counter[Locator | None]]:
    return {name: Counter({it.locator: it.items for it in found if it.column == name}) for name in COLUMNS}


class Spelling:
    """JSON written in one of the many ways that mean the same."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw

    def space(self) -> str:
        return self.draw(st.sampled_from(["", "", "", " ", "\n\t", "\r "]))

    def text(self, value: str) -> str:
        how = self.draw(st.sampled_from(["python", "php", "raw", "all"]))
        if how == "all":
            return '"' + "".join(f"\\u{ord(sign):04{self.draw(st.sampled_from('xX'))}}" for sign in value) + '"'
        written = json.dumps(value, ensure_ascii=how != "raw")
        return written.replace("/", "\\/") if how == "php" else written

    def value(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):  # of pairs: an object, whose names may come twice
            inside = f"{self.space()},{self.space()}".join(
                f"{self.text(name)}{self.space()}:{self.space()}{self.value(inner)}" for name, inner in value
            )
            return f"{{{self.space()}{inside}{self.space()}}}"
        return json.dumps(value)


odd_texts = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=8) | st.sampled_from(
    ["a\0b", "\ud800"]
)
contexts = st.lists(
    st.tuples(st.sampled_from(["table", "id", "kms_key_id"]) | odd_texts, st.sampled_from(ARNS) | odd_texts), max_size=4
)


@st.composite
def spellings(draw: Any) -> str:
    """Mostly envelopes; names that come twice, that are missing or not text, and what is no JSON at all among them."""
    pairs: list[tuple[str, Any]] = [
        *FIELDS.items(), ("encryption_context", draw(contexts)), ("kms_key_id", draw(st.sampled_from(ARNS))),
    ]  # fmt: skip
    twist = draw(st.sampled_from(["none"] * 6 + ["twice", "other", "without", "nested", "array"]))
    if twist == "twice":
        pairs.append((draw(st.sampled_from([name for name, _ in pairs])), draw(st.sampled_from(ARNS))))
    elif twist == "other":
        pairs[-1] = ("kms_key_id", draw(st.sampled_from([None, 1, True, [("kms_key_id", ARNS[0])]])))
    elif twist == "without":
        pairs.pop()
    spelt = Spelling(draw)
    text = spelt.value(draw(st.permutations(pairs)))
    if twist == "nested":
        return spelt.value([("envelope", [("kms_key_id", ARNS[0])]), ("kms_key_id", ARNS[1])])
    return f"[{text}]" if twist == "array" else text


BROKEN = [
    "", "null", '"kms_key_id"', '["kms_key_id"]', '{"kms_key_id": "local:key/one/1"', '{"kms_key_id": "local:key/one/1",}',
    '{"kms_key_id": "local:key/one/1", "n": NaN}', '{"kms_key_id": "local:key\n/one/1"}', "{'kms_key_id': 'local:key/one/1'}",
    '{"kms_key_id": "local:key/one/1"} {}', '\ufeff{"kms_key_id": "local:key/one/1"}', '{"kms_key_id": "\\x41"}',
    '{"a": ' * 150 + '{"kms_key_id": "local:key/one/1"}' + "}" * 150, "[" * 200_000, '{"a":' * 200_000,
]  # fmt: skip


@example(BROKEN)
@given(st.lists(spellings(), min_size=1, max_size=12))
def test_the_census_counts_what_the_parser_reads(cells, texts):
    connection, adapter = cells
    texts = [text for text in texts if "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)]
    write(connection, texts)
    assert counted(adapter.count_by_version()) == parsed(connection)


def test_a_server_that_cannot_tell_json_leaves_it_to_python(cells, monkeypatch):
    connection, adapter = cells
    texts = [json.dumps(FIELDS | {"encryption_context": {}, "kms_key_id": arn}) for arn in ARNS] * 60
    write(connection, [*texts, "no envelope"])
    expected = counted(adapter.count_by_version())
    assert expected == parsed(connection)
    assert expected["t"][Locator("envelope", arn=ARNS[0])] == 60
    inside, asked = EnvelopeJsonFormat.group_expression, []

    def on_an_old_one(self, column, column_type, server):
        asked.append(server)
        return inside(self, column, column_type, 150_004)

    monkeypatch.setattr(EnvelopeJsonFormat, "group_expression", on_an_old_one)
    assert counted(adapter.count_by_version()) == expected
    assert len(asked) == len(COLUMNS)


def test_what_the_server_tells_is_not_read(cells, monkeypatch):
    """Escapes, another order of names and a context with the same name are told by the server."""
    connection, adapter = cells
    envelope = json.dumps({"kms_key_id": ARNS[0], "encryption_context": {"kms_key_id": "no"}} | FIELDS, indent=1)
    write(connection, [envelope, envelope.replace("/", "\\/")])
    monkeypatch.setattr(postgresql, "located", lambda form, cell: pytest.fail("a cell was read"))
    assert counted(adapter.count_by_version()) == {name: {Locator("envelope", arn=ARNS[0]): 2} for name in COLUMNS}
