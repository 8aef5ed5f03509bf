"""What the target database refuses: a row is set aside and the others go on, a whole table stops the job in words."""

import logging
from typing import Any

import pytest
from django.db import OperationalError
from psycopg import sql

from keys.datastores.base import StoreRefused, StoreUnavailable
from keys.datastores.postgresql import PostgresTable
from keys.models import FailedItem, Rotation
from keys.serializers import RotationSerializer
from keys.services import census, reencryption, rotation, unmovable
from keyvault_portal.celery import app
from keyvault_portal.errors import ApprovalRequired, Conflict
from tests.rotation.test_rotation import read_all
from tests.shop import register_customers, seal_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_eager")]

CHECK = "ALTER TABLE customers ADD CONSTRAINT frozen CHECK (id NOT IN ({})) NOT VALID"
REFUSE = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the row is frozen' USING ERRCODE = '{}', DETAIL = 'Failing row contains ' || NEW; END $$
"""
TRIGGER = (
    "CREATE TRIGGER frozen BEFORE UPDATE ON customers FOR EACH ROW WHEN (NEW.id IN ({})) EXECUTE FUNCTION refuse()"
)


def refuse(shop: Any, *numbers: int, code: str = "P0001") -> None:
    shop.connection.execute(REFUSE.format(code))
    shop.connection.execute(TRIGGER.format(", ".join(map(str, numbers))))


def rotate(organisation: Any) -> Rotation:
    found = rotation.request_rotation(
        actor=organisation.actor("ada"), key_id=organisation.keys["pii"].pk, reason="yearly"
    )
    found.refresh_from_db()
    return found


def retry(organisation: Any, found: Rotation) -> None:
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    found.refresh_from_db()


def compare(organisation: Any, store: Any, plain: Any, active: Any) -> None:
    """Every row there is, opened and compared, and all on the new version."""
    new = active(organisation.keys["pii"])
    assert new.key_version == 2
    assert census.count_store(store) == {("email", new.pk): len(plain), ("card", new.pk): len(plain)}
    assert read_all(store, new) == plain


def test_a_row_that_a_check_refuses_is_set_aside_and_the_others_move(organisation, customers, shop, active):
    store, plain = customers
    before = shop.cells()[100]
    shop.connection.execute(CHECK.format(100))

    found = rotate(organisation)

    assert found.state == "re_encrypted", found.last_error
    job, said = found.jobs.get(), 'refused: new row for relation "customers" violates check constraint "frozen"'
    assert set(job.failed_items.values_list("item", "column", "reason", "resolution")) == {
        ("100", "email", said, "open"),
        ("100", "card", said, "open"),
    }
    assert (job.passes, job.items_done, job.items_failed, job.items_changed_meanwhile) == (1, 4998, 2, 0)
    assert shop.cells()[100] == before
    assert read_all(store, active(organisation.keys["pii"])) == plain, "moved or not, every row opens"
    assert census.live_items(found.old_version) == 2
    with pytest.raises(Conflict, match="2 items set aside wait for a decision"):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="done")

    shop.connection.execute("ALTER TABLE customers DROP CONSTRAINT frozen")
    retry(organisation, found)
    assert (found.state, FailedItem.objects.count()) == ("re_encrypted", 0)
    compare(organisation, store, plain, active)


@pytest.mark.parametrize(
    ("numbers", "code"),
    [((1,), "P0001"), ((2500,), "23505"), ((1000, 1001), "23P01"), ((*range(40, 45), 1999, 2001), "22023")],
)
def test_rows_that_a_trigger_refuses_can_be_given_up(organisation, customers, shop, active, numbers, code):
    store, plain = customers
    before = shop.cells()
    refuse(shop, *numbers, code=code)

    found = rotate(organisation)

    assert found.state == "re_encrypted", found.last_error
    assert {int(row) for row in FailedItem.objects.values_list("item", flat=True)} == set(numbers)
    assert set(FailedItem.objects.values_list("reason", flat=True)) == {"refused: the row is frozen"}
    assert found.jobs.get().items_done == 5000 - 2 * len(numbers)
    after = shop.cells()
    assert {number for number in plain if after[number] == before[number]} == set(numbers)
    assert read_all(store, active(organisation.keys["pii"])) == plain

    for item in FailedItem.objects.all():
        rotation.decide_failed(actor=organisation.actor("ada"), rotation_id=found.pk, item_id=item.pk, reason="frozen")
    with pytest.raises(ApprovalRequired):
        rotation.request_decommission(actor=organisation.actor("ada"), rotation_id=found.pk, reason="done")


def test_what_is_refused_only_when_it_is_committed_is_set_aside_as_well(organisation, customers, shop, active):
    store, plain = customers
    shop.connection.execute(REFUSE.format("23503"))
    shop.connection.execute(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON customers DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW WHEN (NEW.id = 7) EXECUTE FUNCTION refuse()"
    )
    found = rotate(organisation)
    assert (found.state, set(FailedItem.objects.values_list("item", flat=True))) == ("re_encrypted", {"7"})
    shop.connection.execute("DROP TRIGGER late ON customers")
    retry(organisation, found)
    compare(organisation, store, plain, active)


def test_a_table_that_refuses_most_of_its_rows_stops_the_job(organisation, customers, shop, active, monkeypatch):
    store, plain = customers
    monkeypatch.setattr(unmovable, "MOST_REFUSED", 150)
    refuse(shop, *range(1, 2501))
    found = rotate(organisation)
    assert found.state == "failed"
    assert found.last_error == (
        "The database refuses more than 150 items (the row is frozen). Lift what refuses them, then try again."
    )
    shop.connection.execute("DROP TRIGGER frozen ON customers")
    retry(organisation, found)
    assert (found.state, FailedItem.objects.count()) == ("re_encrypted", 0)
    compare(organisation, store, plain, active)


def test_a_database_that_can_only_be_read_stops_the_job_in_words(organisation, customers, shop, active):
    store, plain = customers
    change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format
    name = sql.Identifier(shop.connection.info.dbname)
    shop.connection.execute(change(name, sql.Literal("on")))

    found = rotate(organisation)

    assert found.state == "failed"
    why = (
        "public.customers can only be read (cannot execute SELECT in a read-only transaction). "
        "Make it writable, then try again."
    )
    assert found.last_error == why
    (shown,) = RotationSerializer(found).data["jobs"]
    assert (shown["state"], shown["last_error"], shown["items_done"]) == ("failed", why, 0)
    shop.connection.execute(change(name, sql.Literal("off")))
    retry(organisation, found)
    assert found.state == "re_encrypted", found.last_error
    compare(organisation, store, plain, active)


def test_a_role_that_may_not_write_stops_the_job_until_it_may(organisation, customers, shop, active):
    store, plain = customers
    shop.connection.execute("REVOKE UPDATE ON customers FROM CURRENT_USER")
    found = rotate(organisation)
    assert (found.state, found.last_error) == (
        "failed",
        "public.customers cannot be used any more (permission denied for table customers). "
        "Grant the right, for row-level security BYPASSRLS, then try again.",
    )
    shop.connection.execute("GRANT UPDATE ON customers TO CURRENT_USER")
    retry(organisation, found)
    assert found.state == "re_encrypted", found.last_error
    compare(organisation, store, plain, active)


def test_a_full_disk_is_waited_out_and_said(organisation, customers, shop, active, settings):
    store, plain = customers
    settings.REENCRYPTION_WORKERS = 0
    refuse(shop, 1, code="53100")
    job = rotate(organisation).jobs.get()
    with pytest.raises(StoreUnavailable, match=r"public.customers has no room \(the row is frozen\)") as full:
        reencryption.work(job.pk, 5)
    reencryption.note_trouble(job.pk, full.value, fatal=False)
    job.refresh_from_db()
    assert (job.state, job.last_error) == (
        "running",
        "Waiting: The database of public.customers has no room (the row is frozen). Make room.",
    )
    shop.connection.execute("DROP TRIGGER frozen ON customers")
    while reencryption.work(job.pk, 5):
        pass
    job.refresh_from_db()
    assert (job.state, job.last_error) == ("done", "")
    compare(organisation, store, plain, active)


def test_what_nobody_foresaw_in_the_database_stops_the_job_without_quoting_a_row(
    organisation, customers, shop, active, caplog
):
    store, plain = customers
    refuse(shop, 1200, code="ZX001")
    found = rotate(organisation)
    assert (found.state, found.last_error) == (
        "failed",
        "public.customers cannot be used like this (the row is frozen). Put it right, then try again.",
    )
    assert "Failing row" not in caplog.text
    shop.connection.execute("DROP TRIGGER frozen ON customers")
    retry(organisation, found)
    compare(organisation, store, plain, active)


@pytest.mark.parametrize("unique", ["id bigint UNIQUE", "id bigint, UNIQUE (id)"])
def test_a_key_that_may_be_null_is_refused(organisation, shop, active, unique):
    shop.connection.execute(f"DROP TABLE customers; CREATE TABLE customers (email bytea, card bytea, {unique})")
    with pytest.raises(StoreRefused, match="id may be NULL: make it NOT NULL"):
        register_customers(organisation, shop)
    shop.connection.execute("INSERT INTO customers VALUES (NULL, NULL, NULL)")
    shop.connection.execute("ALTER TABLE customers ADD CONSTRAINT later NOT NULL id NOT VALID")
    with pytest.raises(StoreRefused, match="id may be NULL: make it NOT NULL"):
        register_customers(organisation, shop)


def test_a_key_that_came_to_be_null_stops_the_job_in_words(organisation, customers, shop, active):
    store, plain = customers
    shop.connection.execute("ALTER TABLE customers DROP CONSTRAINT customers_pkey, ADD UNIQUE (id)")
    shop.connection.execute("ALTER TABLE customers ALTER id DROP NOT NULL")
    shop.connection.execute("INSERT INTO customers SELECT NULL, email, card FROM customers WHERE id = 3")
    found = rotate(organisation)
    assert (found.state, found.last_error) == (
        "failed",
        "id may be NULL: make it NOT NULL, so that every row can be found by it.",
    )
    shop.connection.execute("DELETE FROM customers WHERE id IS NULL")
    shop.connection.execute("ALTER TABLE customers ALTER id SET NOT NULL")
    retry(organisation, found)
    compare(organisation, store, plain, active)


@pytest.mark.parametrize(("times", "state"), [(3, "re_encrypted"), (100, "failed")])
def test_an_error_nobody_foresaw_is_told_without_data_and_tried_again(
    organisation, customers, active, monkeypatch, caplog, times, state
):
    app.conf.task_eager_propagates = False  # it would stop at the first try; the fixture puts it back
    store, plain = customers
    ask_page, met = PostgresTable.ask_page, []

    def mistaken(self: PostgresTable, *bounds: Any) -> Any:
        if len(met) < times:
            met.append(1)
            raise TypeError(f"cannot read {plain[7][1]!r}")
        return ask_page(self, *bounds)

    monkeypatch.setattr(PostgresTable, "ask_page", mistaken)
    with caplog.at_level(logging.DEBUG):
        found = rotate(organisation)
    found.refresh_from_db()
    assert found.state == state
    assert plain[7][1].decode() not in caplog.text
    assert "met TypeError" in caplog.text
    assert "reencryption.py" in caplog.text, "where it happened is told"
    if state == "failed":
        assert (
            found.last_error
            == "The portal itself failed (TypeError); the log of the worker says where. Try again later."
        )
        monkeypatch.setattr(PostgresTable, "ask_page", ask_page)
        retry(organisation, found)
    assert found.state == "re_encrypted", found.last_error
    compare(organisation, store, plain, active)


@pytest.mark.parametrize("trouble", [OperationalError("the server is gone"), StoreUnavailable("The store is away.")])
def test_while_the_portal_s_own_database_is_away_a_job_waits(organisation, customers, active, monkeypatch, trouble):
    app.conf.task_eager_propagates = False
    store, plain = customers
    work, met = reencryption.work, []

    def away(*given: Any) -> bool:
        if len(met) < 10:  # more often than what nobody foresaw is tried
            met.append(1)
            raise trouble
        monkeypatch.undo()
        return work(*given)

    def not_kept(*given: Any, **more: Any) -> None:
        raise OperationalError("the server is gone")

    monkeypatch.setattr(reencryption, "work", away)
    monkeypatch.setattr(reencryption, "note_trouble", not_kept)
    found = rotate(organisation)
    assert (len(met), found.state, found.last_error) == (10, "re_encrypted", "")
    compare(organisation, store, plain, active)


def test_rows_are_refused_by_the_owner_s_words_and_not_by_his_details(organisation, shop, active):
    """A long complaint over several lines is one line, cut; what follows it under DETAIL is left out."""
    plain = seal_customers(shop, active(organisation.keys["pii"]), range(1, 4))
    register_customers(organisation, shop)
    said = "no,\n" + "never " * 200
    shop.connection.execute(REFUSE.format("P0001").replace("the row is frozen", said))
    shop.connection.execute(TRIGGER.format("2"))
    rotate(organisation)
    reasons = set(FailedItem.objects.values_list("reason", flat=True))
    assert reasons == {("refused: no, " + "never " * 200)[: len("refused: ") + 400]}
    assert len(plain) == 3


SKIP = """
    CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER skip BEFORE UPDATE ON customers FOR EACH ROW WHEN (NEW.id = 50) EXECUTE FUNCTION skip()
"""


def assert_row_50_is_set_aside(found, *, passes):
    assert found.state == "re_encrypted", found.last_error
    job, said = found.jobs.get(), "refused: the table did not take the new value"
    assert set(job.failed_items.values_list("item", "column", "reason", "resolution")) == {
        ("50", "email", said, "open"),
        ("50", "card", said, "open"),
    }
    assert (job.passes, job.items_done, job.items_failed) == (passes, 4998, 2)


def test_a_row_that_the_table_leaves_as_it_is_without_a_word_is_set_aside(organisation, customers, shop, active):
    store, plain = customers
    before = shop.cells()[50]
    shop.connection.execute(SKIP)

    found = rotate(organisation)

    assert_row_50_is_set_aside(found, passes=3)
    assert shop.cells()[50] == before

    shop.connection.execute("DROP TRIGGER skip ON customers")
    retry(organisation, found)
    assert (found.state, FailedItem.objects.count()) == ("re_encrypted", 0)
    compare(organisation, store, plain, active)


@pytest.mark.parametrize("put", ["OLD.email", "'mangled'", "NULL"])
def test_a_row_in_which_the_table_puts_another_value_is_set_aside_as_it_was(organisation, customers, shop, active, put):
    """A trigger that guards a column puts the old value back; one that changes it would leave what no key opens."""
    store, plain = customers
    before = shop.cells()[50]
    shop.connection.execute(
        f"CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.email := {put}; RETURN NEW; END $$;"
        "CREATE TRIGGER put BEFORE UPDATE ON customers FOR EACH ROW WHEN (NEW.id = 50) EXECUTE FUNCTION put()"
    )
    found = rotate(organisation)

    assert_row_50_is_set_aside(found, passes=1)
    assert shop.cells()[50] == before

    shop.connection.execute("DROP TRIGGER put ON customers")
    retry(organisation, found)
    assert (found.state, FailedItem.objects.count()) == ("re_encrypted", 0)
    compare(organisation, store, plain, active)


def test_a_row_that_is_written_all_the_time_is_not_taken_for_a_refused_one(
    organisation, customers, shop, active, monkeypatch
):
    store, plain = customers
    seen: list[int] = []

    def meanwhile(write: Any) -> Any:
        def written(self: PostgresTable, page: Any, new: Any) -> Any:
            if "50" in page.keys and len(seen) < 5:
                seen.append(1)
                shop.connection.execute("UPDATE customers SET email = email WHERE id = 50")
            return write(self, page, new)

        return written

    for name in ("ask_write", "write"):
        monkeypatch.setattr(PostgresTable, name, meanwhile(getattr(PostgresTable, name)))
    found = rotate(organisation)
    assert (found.state, found.jobs.get().passes) == ("re_encrypted", 6), found.last_error
    assert not FailedItem.objects.exists()
    compare(organisation, store, plain, active)
