"""Pages of a table asked for ahead: what is written, what is left alone, what a crash could undo."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from keys.crypto.aead import Aead
from keys.datastores.base import Page, Row, StoreUnavailable
from keys.datastores.connecting import HostRule
from keys.datastores.formats import ContextTemplate
from keys.datastores.postgresql import PostgresTable, TableSpec
from keys.services import census, materials, rotation, segments
from keys.services.segments import SegmentWriter
from keyvault_portal.arrays import BYTEA, TEXT, UUID, pack
from tests.shop import register_customers

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def table(shop):
    shop.connection.execute("INSERT INTO customers SELECT i, 'old', NULL FROM generate_series(1, 3000) i")
    spec = TableSpec("public", "customers", "id", ("email", "card"), "compact", ContextTemplate({}))
    adapter = PostgresTable(shop.dsn, spec, HostRule(("127.0.0.1/32",)))
    yield adapter
    adapter.close()


def renewed(rows, value=b"new"):
    return rows, [[value] * len(rows), [None] * len(rows)]


def test_a_page_is_committed_before_anybody_asks_for_its_answer(table, shop):
    rows = table.ask_page(None, None, 10)()
    answer = table.ask_write(*renewed(rows))
    following = table.ask_page(rows[-1].pk, None, 10)
    assert len(following()) == 10  # has waited for all that was asked before
    assert shop.connection.execute("SELECT count(*) FROM customers WHERE email = 'new'").fetchone() == (10,)
    assert answer() == {row.pk for row in rows}


def test_rows_written_meanwhile_are_left_and_named(table, shop):
    rows = table.ask_page(None, None, 10)()
    shop.connection.execute("UPDATE customers SET email = 'theirs' WHERE id IN (3, 7)")
    assert table.ask_write(*renewed(rows))() == {row.pk for row in rows} - {"3", "7"}
    shop.connection.execute("UPDATE customers SET email = 'theirs' WHERE id <= 10")
    assert table.ask_write(*renewed(rows))() == set()
    assert shop.connection.execute("SELECT count(*) FROM customers WHERE email = 'theirs'").fetchone() == (10,)


def test_a_page_that_fails_leaves_an_adapter_that_still_works(table, shop):
    rows = table.ask_page(None, None, 10)()
    with shop.connection.transaction():
        shop.connection.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="busy"):
            table.ask_write(*renewed(rows))()
    assert len(table.ask_write(*renewed(rows))()) == 10


def test_what_was_written_is_flushed_once_settled(table, shop):
    name = shop.connection.info.dbname  # the test server is told not to wait for its disk; this database is
    shop.connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = on')
    rows = table.ask_page(None, None, 3000)()
    table.ask_write(*renewed(rows))()
    written = shop.connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    table.settle()
    flushed = "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn"
    assert shop.connection.execute(flushed, list(written)).fetchone() == (True,)


def test_a_big_table_is_cut_by_a_sample_of_its_blocks(table, shop):
    shop.connection.execute(
        "INSERT INTO customers SELECT i, convert_to(repeat('x', 1000), 'UTF8'), NULL FROM generate_series(3001, 30000) i"
    )
    marks = [int(mark) for mark in table.boundaries(8)]
    assert len(marks) == 8
    assert marks == sorted(set(marks))
    widths = [upper - lower for lower, upper in zip([0, *marks], [*marks, 30000], strict=False)]
    assert max(widths) < 15_000
    assert sum(map(len, table.sample(20))) == 20


def test_a_table_of_mostly_empty_blocks_is_still_cut(table, shop):
    shop.connection.execute("DELETE FROM customers WHERE id > 8")
    assert [int(mark) for mark in table.boundaries(4)] == [2, 4, 6, 8]


def test_a_row_of_a_page_read_ahead_keeps_what_the_application_wrote(
    organisation, customers, shop, active, monkeypatch, celery_eager
):
    """The second page is read while the first is written: an application may write in between."""
    store, _ = customers
    version = active(organisation.keys["pii"])
    write, raced = PostgresTable.ask_write, []

    def write_after_the_application(self, page, new):
        if not raced:
            raced.append(1)
            shop.connection.execute("UPDATE customers SET card = NULL WHERE id = 500")
        return write(self, page, new)

    monkeypatch.setattr(PostgresTable, "ask_write", write_after_the_application)
    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=version.key_id, reason="race")
    found.refresh_from_db()
    job = found.jobs.get(store=store)
    assert (found.state, job.items_changed_meanwhile, job.passes) == ("re_encrypted", 1, 2)
    assert shop.connection.execute("SELECT card FROM customers WHERE id = 500").fetchone() == (None,)


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))))
def test_packed_texts_are_what_the_server_reads(shop_connection, items):
    assert shop_connection.execute("SELECT %b::text[]", [pack(items, TEXT)]).fetchone() == (items,)


@given(st.lists(st.none() | st.binary(max_size=40)))
def test_packed_bytes_are_what_the_server_reads(shop_connection, items):
    assert shop_connection.execute("SELECT %b::bytea[]", [pack(items, BYTEA)]).fetchone() == (items,)


@given(st.lists(st.none() | st.uuids()))
def test_packed_uuids_are_what_the_server_reads(shop_connection, items):
    packed = pack([item and item.bytes for item in items], UUID)
    assert shop_connection.execute("SELECT %b::uuid[]", [packed]).fetchone() == (items,)


@pytest.fixture(scope="module")
def shop_connection(django_db_setup, django_db_blocker):
    import psycopg
    from django.conf import settings

    base = settings.DATABASES["default"]
    url = f"postgresql://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_cells_sealed_together_each_have_a_nonce_of_their_own():
    cipher = Aead("AES-256-GCM", bytes(32))
    plain, bound = [b"one", b"", b"three"], [b"a", b"b", b"c"]
    sealed = cipher.encrypt_all(plain, bound, b"head")
    assert [blob[:4] for blob in sealed] == [b"head"] * 3
    assert [cipher.decrypt_joined(blob[4:], aad) for blob, aad in zip(sealed, bound, strict=True)] == plain
    assert len({blob[4:16] for blob in sealed}) == 3
    assert cipher.encrypt_all([], []) == []


def test_cells_sealed_together_never_overfill_a_segment(organisation, active, monkeypatch):
    monkeypatch.setattr(segments, "SEGMENT_RECORDS", 4)
    with SegmentWriter(active(organisation.keys["pii"]), "customers") as writer:
        sealed = writer.seal_all([b"x"] * 3, [b""] * 3) + writer.seal_all([b"x"] * 6, [b""] * 6)
        used = [blob[2:18] for blob in sealed]
    assert [used.count(name) for name in dict.fromkeys(used)] == [4, 4, 1]
    rows = materials.DataKey.objects.filter(segment="customers").order_by("pk")
    assert sorted(row.records for row in rows) == [1, 4, 4]


def test_rows_that_moved_to_where_another_stood_are_left(table, shop):
    """Rows of one transaction share their xmin, and a table written anew has them in other places."""
    rows = table.ask_page(None, None, 20)()
    shop.connection.execute("DELETE FROM customers WHERE id <= 10")
    shop.connection.execute("VACUUM FULL customers")
    assert table.ask_write(*renewed(rows))() == set()
    assert shop.connection.execute("SELECT count(*) FROM customers WHERE email = 'new'").fetchone() == (0,)
    assert len(table.ask_write(*renewed(table.ask_page(None, None, 20)()))()) == 20


@pytest.mark.parametrize("kind", ["smallint", "integer", "uuid", "text", "character varying"])
def test_keys_of_every_type_are_written_back(table, shop, kind):
    keys = [f"{number:032x}" if kind == "uuid" else str(number) for number in (1, 2, 3)]
    keys += [" a  b ", "", "NULL", '{"x"}'] if kind in {"text", "character varying"} else []
    shop.connection.execute(f"CREATE TABLE others (id {kind} PRIMARY KEY, email bytea, card bytea)")
    for key in keys:
        shop.connection.execute(f"INSERT INTO others VALUES (%s::{kind}, 'old', NULL)", [key])
    spec = TableSpec("public", "others", "id", ("email", "card"), "compact", ContextTemplate({}))
    adapter = PostgresTable(shop.dsn, spec, HostRule(("127.0.0.1/32",)))
    try:
        rows = adapter.ask_page(None, None, 100)()
        assert adapter.ask_write(*renewed(rows))() == set(rows.keys)
        assert len(rows) == len(keys)
    finally:
        adapter.close()
    written = shop.connection.execute("SELECT count(*) FROM others WHERE email = 'new'").fetchone()
    assert written == (len(keys),)


def test_the_rows_of_a_partitioned_table_are_told_apart(table, shop):
    shop.connection.execute("CREATE TABLE parts (id int PRIMARY KEY, email bytea, card bytea) PARTITION BY HASH (id)")
    for number in range(3):
        shop.connection.execute(
            f"CREATE TABLE part{number} PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER {number})"
        )
    shop.connection.execute("INSERT INTO parts SELECT i, 'old', NULL FROM generate_series(1, 300) i")
    spec = TableSpec("public", "parts", "id", ("email", "card"), "compact", ContextTemplate({}))
    adapter = PostgresTable(shop.dsn, spec, HostRule(("127.0.0.1/32",)))
    try:
        page = adapter.ask_page("100", "200", 100)()
        assert len(adapter.ask_write(*renewed(page))()) == 100
    finally:
        adapter.close()
    written = "SELECT min(id), max(id), count(*) FROM parts WHERE email = 'new'"
    assert shop.connection.execute(written).fetchone() == (101, 200, 100)


def test_a_page_is_its_rows():
    rows = [Row(str(number), (b"a%d" % number, None), (None, b"aad")) for number in range(5)]
    page = Page.of(rows)
    assert list(page) == rows
    assert (page[1], page[-1], len(page)) == (rows[1], rows[-1], 5)
    assert list(page[1:3]) == rows[1:3]
    assert list(page.pick([True, False, False, True, False])) == [rows[0], rows[3]]
    assert list(Page.of([])) == []


def test_a_row_deleted_and_inserted_again_at_its_old_place_is_left(table, shop):
    rows = table.ask_page(None, None, 10)()
    place = "SELECT ctid::text FROM customers WHERE id = 3"
    before = shop.connection.execute(place).fetchone()
    shop.connection.execute("DELETE FROM customers WHERE id = 3")
    shop.connection.execute("VACUUM customers")
    shop.connection.execute("INSERT INTO customers VALUES (3, 'theirs', NULL)")
    assert shop.connection.execute(place).fetchone() == before
    assert table.ask_write(*renewed(rows))() == set(rows.keys) - {"3"}
    assert shop.connection.execute("SELECT email FROM customers WHERE id = 3").fetchone() == (b"theirs",)


def test_a_percent_sign_in_a_name_is_a_letter_like_others(organisation, shop, active, celery_eager):
    """`100%` and `100%%` are two tables."""
    names = ("100%%", "100%", "%s")
    for name in names:
        shop.connection.execute(f'CREATE TABLE "{name}" ("id%b" bigint PRIMARY KEY, "tax%" bytea, "a%s" bytea)')
    version = active(organisation.keys["pii"])
    with SegmentWriter(version, "taxes") as writer:
        cell = writer.seal(b"tax", b"")
    for rows, name in enumerate(names, start=1):
        statement = sql.SQL("INSERT INTO {} SELECT i, {cell}, {cell} FROM generate_series(1, {}) i")
        shop.connection.execute(statement.format(sql.Identifier(name), rows, cell=cell))
        store = register_customers(
            organisation, shop, name=f"store{rows}", table_name=name, primary_key="id%b", columns=["tax%", "a%s"],
            context_template={},
        )  # fmt: skip
        assert census.count_store(store) == {("tax%", version.pk): rows, ("a%s", version.pk): rows}
    found = rotation.request_rotation(actor=organisation.actor("ada"), key_id=version.key_id, reason="yearly")
    found.refresh_from_db()
    assert found.state == "re_encrypted", found.last_error
    assert census.live_items(version) == 0
