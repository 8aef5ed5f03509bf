"""A worker's memory does not grow with the cells: large ones are read by pages of fewer rows."""

import os

import pytest

from keys.crypto.envelope import context_aad
from keys.datastores.base import Page, Row
from keys.datastores.page_size import FIRST_ROWS, MOST_BYTES, PageSize
from keys.datastores.postgresql import PostgresTable
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
