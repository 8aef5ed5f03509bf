"""A worker's memory does not grow with the cells: large ones are read by pages of fewer rows."""

import os

import pytest

from keys.crypto.envelope import context_aad
from keys.datastores.base import Page, Row
from keys.datastores.connecting import HostRule
from keys.datastores.formats import ContextTemplate
from keys.datastores.page_size import FIRST_ROWS, MOST_BYTES, PageSize
from keys.datastores.postgresql import PostgresTable, TableSpec
from keys.models import FailedItem
from keys.services import reencryption, rotation
from keys.services.rotation.ending import verify
from keys.services.segments import SegmentWriter
from tests.shop import register_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]
ROWS, BYTES = 60, 256 << 10


def rotate(organisation):
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    found.refresh_from_db()
    return found


@pytest.fixture
def pages(monkeypatch):
    """Every page that is read: how many rows and how many bytes of cells."""
    read, page_of = [], PostgresTable._page

    def note(self, found):
        page = page_of(self, found)
        read.append((len(page), sum(len(cell) for row in page for cell in row.cells if cell is not None)))
        return page

    monkeypatch.setattr(PostgresTable, "_page", note)
    return read


def test_no_page_of_large_cells_is_larger_than_it_may_be(organisation, shop, active, pages):
    with SegmentWriter(active(organisation.keys["pii"]), "documents") as writer:
        for number in range(1, ROWS + 1):
            context = context_aad({"table": "customers", "column": "email", "id": str(number)})
            cell = writer.seal(os.urandom(BYTES), context)
            shop.connection.execute("INSERT INTO customers VALUES (%s, %s, NULL)", [number, cell])
    register_customers(organisation, shop)
    assert sum(rows for rows, _ in pages) >= 50, "the sample is no smaller"
    shop.connection.execute(
        "UPDATE customers SET email = set_byte(email, length(email) - 1, get_byte(email, length(email) - 1) # 1) WHERE id <= 30"
    )

    found = rotate(organisation)
    assert found.state == "re_encrypted", found.last_error
    assert found.jobs.get().items_done == ROWS - 30
    rotation.give_up_open(
        actor=organisation.actor("ada"), rotation_id=found.pk, items=FailedItem.objects.count(), reason="lost"
    )
    assert verify(found.pk) == ROWS - 30
    assert max(size for _, size in pages) <= MOST_BYTES


def test_small_cells_are_read_by_whole_pages_after_the_first(organisation, customers, monkeypatch):
    asked, ask_page = [], PostgresTable.ask_page

    def note(self, after, upto, limit):
        asked.append(limit)
        return ask_page(self, after, upto, limit)

    monkeypatch.setattr(PostgresTable, "ask_page", note)
    assert rotate(organisation).state == "re_encrypted"
    assert asked[0] == FIRST_ROWS
    assert set(asked[1:]) == {reencryption.PAGE_ROWS}


def test_a_page_without_cells_bounds_nothing_and_one_row_is_always_read():
    size = PageSize()
    size.learn(Page.of([Row("1", (b"x" * MOST_BYTES, b"x"), (None, None))]))
    assert size.at_most(1000) == 1
    size.learn(Page((), (), ()))
    assert size.at_most(1000) == 1
    size.learn(Page.of([Row("2", (None, None), (None, None))]))
    assert size.at_most(1000) == 1000


def test_no_page_is_too_large_where_cells_grow_in_the_midst_of_it(organisation, shop, active, pages):
    """The rows before said nothing of it: where cells may be so large the server cuts the page."""
    small, large = range(1, 601), range(601, 601 + ROWS)
    with SegmentWriter(active(organisation.keys["pii"]), "documents") as writer:
        for number in (*small, *large, 700):
            context = context_aad({"table": "customers", "column": "email", "id": str(number)})
            cell = writer.seal(os.urandom(BYTES if number in large else 10), context)
            shop.connection.execute("INSERT INTO customers VALUES (%s, %s, NULL)", [number, cell])
    register_customers(organisation, shop)
    pages.clear()

    found = rotate(organisation)

    assert found.state == "re_encrypted", found.last_error
    assert (found.jobs.get().items_done, found.jobs.get().passes) == (len(small) + ROWS + 1, 1)
    assert max(size for _, size in pages) <= MOST_BYTES
    assert max(rows for rows, _ in pages) >= 490, "what is small is read by whole pages all the same"


@pytest.mark.parametrize(
    ("kind", "form"), [("text", "vault_text"), ("json", "envelope_json"), ("jsonb", "envelope_json")]
)
def test_pages_that_were_cut_follow_each_other_without_a_gap(shop, kind, form):
    """In a table of parts whose keys are text, up to a bound and to the end; one row may be larger than a page."""
    shop.connection.execute(
        f"CREATE TABLE parts (id text COLLATE \"C\" PRIMARY KEY, \"a%s\" {kind}, b {kind}) PARTITION BY HASH (id);"
        "CREATE TABLE part0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE part1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    )  # fmt: skip
    values = {f"{n:03} ü": '"' + os.urandom(int(BYTES * (20 if n == 7 else n % 4)) // 2).hex() + '"' for n in range(40)}
    with shop.connection.cursor() as cursor:
        cursor.executemany("INSERT INTO parts VALUES (%s, %s, NULL)", values.items())
    spec = TableSpec("public", "parts", "id", ("a%s", "b"), form, ContextTemplate({}))
    adapter = PostgresTable(shop.dsn, spec, HostRule(("127.0.0.1/32",)))
    for upto in (None, "030 ü"):
        found, after, cut = {}, None, 0
        while True:
            page = adapter.ask_page(after, upto, 15)()
            found |= {row.pk: row.cells for row in page}
            assert len(page) <= 1 or sum(len(a) for a in page.columns[0]) <= MOST_BYTES * 1.01
            if len(page) < 15 and not page.cut:
                break
            cut, after = cut + page.cut, page.keys[-1]
        assert found == {pk: (value, None) for pk, value in values.items() if upto is None or pk <= upto}
        assert cut >= 2
    adapter.close()
