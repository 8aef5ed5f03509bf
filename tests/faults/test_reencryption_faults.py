"""Workers killed, broker and databases gone, a table that disappears: at the end every row is compared."""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection as portal
from django.db import connections

from keys.crypto.aead import Aead
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.compact import seal_compact, segment_header
from keys.crypto.envelope import context_aad
from keys.models import KeyVersion, ReEncryptionRange, Rotation
from keys.services import census, materials, rotation
from keys.services.opening import open_store
from keys.services.recoding import recoder
from keys.tasks import sweep
from tests.faults.proxy import Proxy
from tests.shop import register_customers, seal_customers

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROWS = 12_000


class Application(threading.Thread):
    """Updates and inserts customers all the time, at first knowing the old version only, then both, then the new one only."""

    def __init__(self, dsn: str, plain: dict[int, tuple[bytes, bytes]], version: KeyVersion) -> None:
        super().__init__(daemon=True)
        self.dsn, self.plain, self.stopping, self.failure = dsn, plain, threading.Event(), None
        self.writers = [self._writer(version)]
        self.random, self.writes = random.Random(7), 0

    @staticmethod
    def _writer(version: KeyVersion) -> Callable[[bytes, str, int], bytes]:
        row, secret = materials.new_data_key(version, "application")
        algorithm = ALGORITHMS[version.key.algorithm]
        cipher, header = Aead(algorithm, secret), segment_header(algorithm, row.pk)

        def seal(value: bytes, column: str, number: int) -> bytes:
            context = {"table": "customers", "column": column, "id": str(number)}
            return seal_compact(cipher, header, value, context_aad(context))

        return seal

    def know(self, version: KeyVersion) -> None:
        self.writers.append(self._writer(version))

    def run(self) -> None:
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                while not self.stopping.is_set():
                    self._write(connection)
                    time.sleep(0.002)
        except Exception as error:
            self.failure = error

    def _write(self, connection: psycopg.Connection) -> None:
        seal = self.random.choice(self.writers)
        if self.random.random() < 0.1:
            number = max(self.plain) + 1
            values = (b"inserted %d" % number, b"card %d" % number)
            connection.execute(
                "INSERT INTO customers VALUES (%s, %s, %s)",
                [number, seal(values[0], "email", number), seal(values[1], "card", number)],
            )
            self.plain[number] = values
        else:
            number = self.random.choice(tuple(self.plain))
            value = b"write %d" % self.writes
            connection.execute("UPDATE customers SET email = %s WHERE id = %s", [seal(value, "email", number), number])
            self.plain[number] = (value, self.plain[number][1])
        self.writes += 1


PATIENCE = 240.0  # seconds, only there to end a hopeless run


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    swept = 0.0
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        if time.monotonic() - swept > 1:  # what the beat does
            sweep()
            swept = time.monotonic()
        time.sleep(0.1)


def state(found: Rotation) -> str:
    return Rotation.objects.values_list("state", flat=True).get(pk=found.pk)


def done(found: Rotation) -> int:
    return sum(job.items_done for job in found.jobs.all())


def compare(store: Any, new: KeyVersion, plain: dict[int, tuple[bytes, bytes]]) -> None:
    """Every row there is, opened and compared; every cell on the new version; the census equal to what is seen."""
    materials.forget()
    adapter, reader = open_store(store), recoder(store, new, new)
    try:
        rows = adapter.ask_page(None, None, 10_000_000)()
        assert len(rows) == len(plain)
        seen = {}
        for start in range(0, len(rows), 1000):
            part = rows[start : start + 1000]
            reader.prepare(part)
            for row in part:
                seen[int(row.pk)] = tuple(
                    reader.open(cell, context) for cell, context in zip(row.cells, row.contexts, strict=True)
                )
                # recode leaves what is not on the "old" version alone; here old is new, so each cell must be moved.
                assert all(
                    reader.recode(cell, context) is not cell
                    for cell, context in zip(row.cells, row.contexts, strict=True)
                )
        assert seen == plain
        assert census.count_store(store) == {("email", new.pk): len(plain), ("card", new.pk): len(plain)}
    finally:
        reader.close()
        adapter.close()


def hurry(organisation: Any, found: Rotation) -> None:
    """Take the brake off that held the walk until something had happened in the middle of it."""
    rotation.throttle(actor=organisation.actor("dana"), rotation_id=found.pk, rate_limit=None)


def kill(process: Any) -> None:
    os.killpg(process.pid, 9)
    process.wait()


def test_killed_workers_lose_no_row_while_an_application_writes(organisation, shop, active, start_worker):
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, ROWS + 1))
    store = register_customers(organisation, shop)
    application = Application(shop.dsn, plain, active(key))
    application.start()
    workers = [start_worker(), start_worker()]

    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="faults", rate_limit=2000)
    new = active(key)
    application.know(new)
    chance = random.Random(11)
    wait(lambda: done(found) > 0, "the first page")
    for _ in range(4):
        time.sleep(chance.uniform(0.3, 0.9))
        kill(workers.pop(chance.randrange(len(workers))))
        workers.append(start_worker())
    assert state(found) == "re_encrypting", "the walk was over before the last worker was killed: make it longer"

    application.writers = application.writers[1:]  # the application has been told of the new version everywhere
    hurry(organisation, found)
    wait(lambda: state(found) == "re_encrypted", f"the end of the walk ({state(found)})")
    application.stopping.set()
    application.join(60)
    assert not application.is_alive()
    assert application.failure is None
    assert application.writes > 200
    compare(store, new, plain)
    found.refresh_from_db()
    assert not found.jobs.get().failed_items.exists()


def test_the_target_database_away_for_a_while_is_waited_out(organisation, shop, active, start_worker):
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    base = portal.settings_dict
    proxy = Proxy((base["HOST"], int(base["PORT"])))
    store = register_customers(organisation, shop, dsn=shop.dsn.replace(f":{base['PORT']}/", f":{proxy.port}/"))
    start_worker()
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="outage", rate_limit=500)
    wait(lambda: done(found) > 0, "the first page")

    proxy.cut()
    wait(lambda: "does not answer" in found.jobs.get().last_error, "the complaint on the job")
    before = done(found)
    time.sleep(3)
    assert done(found) == before
    assert state(found) == "re_encrypting"
    proxy.mend()
    hurry(organisation, found)

    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    compare(store, active(key), plain)
    proxy.cut()


def test_a_table_that_disappears_stops_the_job_until_a_person_acts(organisation, shop, active, start_worker):
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    store = register_customers(organisation, shop)
    start_worker()
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="rename", rate_limit=500)
    wait(lambda: done(found) > 0, "the first page")

    shop.connection.execute("ALTER TABLE customers RENAME TO elsewhere")
    wait(lambda: state(found) == "failed", "the failure")
    found.refresh_from_db()
    assert "public.customers cannot be used any more" in found.last_error
    shop.connection.execute("ALTER TABLE elsewhere RENAME TO customers")
    hurry(organisation, found)

    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    compare(store, active(key), plain)


def test_rows_that_the_table_refuses_hold_up_no_other_and_come_into_no_log(
    organisation, shop, active, start_worker, tmp_path
):
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    store = register_customers(organisation, shop)
    before = shop.cells()
    shop.connection.execute("ALTER TABLE customers ADD note text DEFAULT 'a word of the customer'")
    shop.connection.execute("ALTER TABLE customers ADD CONSTRAINT frozen CHECK (id NOT IN (1500, 4000)) NOT VALID")
    shop.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'it is frozen' USING DETAIL = 'Failing row contains ' || NEW; END $$"
    )
    shop.connection.execute(
        "CREATE TRIGGER frozen BEFORE UPDATE ON customers FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION refuse()"
    )
    start_worker("--loglevel", "INFO")
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="refused")

    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    job = found.jobs.get()
    assert set(job.failed_items.values_list("item", flat=True)) == {"2", "1500", "4000"}
    assert (job.items_done, job.items_failed) == (7994, 6)
    after = shop.cells()
    assert {number for number in plain if after[number][:2] == before[number]} == {2, 1500, 4000}
    log = (tmp_path / "worker-0.log").read_text()
    assert "keys.reencrypt" in log
    for sign in ("Traceback", "DETAIL", "Failing row", "a word of the customer", before[1500][0].hex()):
        assert sign not in log

    shop.connection.execute("DROP TRIGGER frozen ON customers")
    shop.connection.execute("ALTER TABLE customers DROP CONSTRAINT frozen")
    rotation.retry_failed(actor=organisation.actor("dana"), rotation_id=found.pk)
    wait(lambda: state(found) == "re_encrypted", "the end of the second walk")
    assert not job.failed_items.exists()
    compare(store, active(key), plain)


def test_pause_holds_and_resume_goes_on(organisation, shop, active, start_worker):
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    store = register_customers(organisation, shop)
    start_worker()
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="pause", rate_limit=500)
    wait(lambda: done(found) > 0, "the first page")
    rotation.pause(actor=organisation.actor("dana"), rotation_id=found.pk)
    held = ReEncryptionRange.objects.filter(job__rotation=found, done=False, lease_until__isnull=False)
    wait(lambda: not held.exists(), "the end of the page under way")
    before = done(found)
    time.sleep(3)
    assert (state(found), done(found)) == ("paused", before)
    assert before < 8000
    hurry(organisation, found)
    rotation.resume(actor=organisation.actor("dana"), rotation_id=found.pk)
    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    compare(store, active(key), plain)


def test_a_restarted_broker_loses_nothing(organisation, shop, active, start_worker, embedded_services, tmp_path):
    """The worker, with messages of the walk in hand, lives on and takes the next task from the broker that came back."""
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    store = register_customers(organisation, shop)
    worker = start_worker("--loglevel", "INFO", "--concurrency", "3")
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="broker", rate_limit=500)
    wait(lambda: done(found) > 0, "the first page")
    embedded_services.valkey.stop()
    embedded_services.valkey.start()
    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    compare(store, active(key), plain)
    asked = str(sweep.delay().id)
    wait(lambda: f"{asked}] succeeded" in (tmp_path / "worker-0.log").read_text(), "the next task")
    assert worker.poll() is None
    log = (tmp_path / "worker-0.log").read_text()
    assert "WARNING celery.worker.request a task ended after the broker was lost" in log
    assert "Traceback" not in log


def test_a_restarted_database_loses_nothing(organisation, shop, active, start_worker, embedded_services):
    """The server of both databases, the portal's and the shop's, goes away and comes back."""
    key = organisation.keys["pii"]
    plain = seal_customers(shop, active(key), range(1, 4001))
    store = register_customers(organisation, shop)
    start_worker()
    found = rotation.request_rotation(actor=organisation.actor("dana"), key_id=key.pk, reason="restart", rate_limit=500)
    wait(lambda: done(found) > 0, "the first page")
    connections.close_all()
    embedded_services.postgresql.stop()
    embedded_services.postgresql.start()
    hurry(organisation, found)
    wait(lambda: state(found) == "re_encrypted", "the end of the walk")
    compare(store, active(key), plain)
