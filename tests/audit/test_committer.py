"""Many writers, one order: threads, processes, a kill in the middle, and failures that nobody survives silently."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from django.db import connection, transaction

from keyvault_portal.audit import committer, ledger
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.events import Event, prepare
from keyvault_portal.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from keyvault_portal.audit.signing import load_signer
from keyvault_portal.audit.verification import verify

from .conftest import ACTOR, connect_arguments

WRITER = """
import os
import sys
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keyvault_portal.settings")
django.setup()
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from concurrent.futures import ThreadPoolExecutor
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.audit import services as audit

actor = system_actor("writer")

def write(number):
    seq = audit.append_group(audit.Event(actor, "key.encrypt", ("key", sys.argv[2], "k"), details={"n": number}))
    sys.stdout.write(f"{seq} {number}\\n")
    sys.stdout.flush()

with ThreadPoolExecutor(16) as pool:
    list(pool.map(write, range(int(sys.argv[3]))))
"""


@pytest.fixture(autouse=True)
def _grouped(settings):
    settings.AUDIT_GROUP_COMMIT = True


def writer(name, count):
    database = connection.settings_dict["NAME"]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, database, name, str(count)],
        stdout=subprocess.PIPE,
    )


def append(number):
    return audit.append_group(Event(ACTOR, "key.encrypt", ("key", "k", "k"), details={"n": number}))


def test_threads_share_groups_and_leave_no_gap(record):
    with ThreadPoolExecutor(32) as pool:
        seqs = list(pool.map(append, range(640)))
    assert sorted(seqs) == list(range(640))
    assert AuditEvent.objects.count() == AuditHead.objects.get().size == 640
    assert AuditCheckpoint.objects.count() < 640, "events shared transactions"
    assert verify(verification_settings(every_signature=True)).finding is None


def test_two_processes_and_a_transaction_side_by_side(record):
    writers = [writer(name, 200) for name in ("one", "two")]
    for number in range(20):
        with audit.atomic(actor=ACTOR, action="key.rotate") as act:
            act.record({"n": number})
    outputs = [process.communicate(timeout=60)[0] for process in writers]
    assert [process.returncode for process in writers] == [0, 0]
    seqs = [int(line.split()[0]) for output in outputs for line in output.splitlines()]
    assert len(set(seqs)) == 400
    assert list(AuditEvent.objects.order_by("seq").values_list("seq", flat=True)) == list(range(420))
    assert verify(verification_settings(every_signature=True)).finding is None


def test_what_was_acknowledged_survives_a_kill(record):
    process = writer("killed", 100_000)
    lines = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    lines += process.communicate(timeout=60)[0].splitlines(keepends=True)
    acknowledged = {tuple(map(int, line.split())) for line in lines if line.endswith(b"\n")}
    stored = {(event.seq, json.loads(event.leaf)["details"]["n"]) for event in AuditEvent.objects.all()}
    assert len(acknowledged) >= 300
    assert acknowledged <= stored
    assert verify(verification_settings()).finding is None


def test_every_waiter_fails_when_nothing_can_be_recorded(record, settings, tmp_path):
    settings.AUDIT_KEY_FILE = tmp_path / "absent"
    with ThreadPoolExecutor(8) as pool:
        failures = [future.exception() for future in [pool.submit(append, number) for number in range(8)]]
    assert {type(failure) for failure in failures} == {AuditUnavailable}
    assert len({id(failure) for failure in failures}) == 8, "each thread has its own traceback"
    assert AuditEvent.objects.count() == 0


def test_an_event_that_waited_too_long_is_refused_and_not_written_later(record):
    waiting = committer.Committer()
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(**connect_arguments()) as stuck:
            stuck.execute("SELECT 1 FROM audit_head FOR UPDATE")  # a writer that does not go on
            first = pool.submit(waiting.submit, prepare(Event(ACTOR, "first")), 60)
            wait_for_a_lock()
            with pytest.raises(AuditUnavailable, match="in time"):
                waiting.submit(prepare(Event(ACTOR, "second")), 0.05)
        assert first.result(60) == 0
    waiting.stop()
    assert [event.action for event in AuditEvent.objects.all()] == ["first"]


def wait_for_a_lock():
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(**connect_arguments(), autocommit=True) as observer:
        while not observer.execute(query).fetchone()[0]:
            time.sleep(0.01)


def test_a_full_queue_refuses_instead_of_promising(record, monkeypatch):
    monkeypatch.setattr(committer, "MAX_WAITING", 0)
    with pytest.raises(AuditUnavailable, match="Too many"):
        committer.Committer().submit(prepare(Event(ACTOR, "x")), 1)


def test_the_thread_ends_when_idle_and_starts_again(record, monkeypatch):
    monkeypatch.setattr(committer, "IDLE_SECONDS", 0.01)
    lazy = committer.Committer()
    for number in range(3):
        assert lazy.submit(prepare(Event(ACTOR, "x")), 30) == number
        for thread in threading.enumerate():
            if thread.name == "audit-committer":
                thread.join()


def test_a_forked_child_has_a_committer_of_its_own(record):
    before = committer._committer
    append(0)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if committer._committer is not before and committer._committer._thread is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_broken_connection_is_replaced(record):
    assert append(0) == 0
    with psycopg.connect(**connect_arguments(), autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        )
    connection.close()
    with contextlib.suppress(AuditUnavailable):  # the first to meet the dead connection may be refused
        append(1)
    assert append(2) >= 1
    assert verify(verification_settings()).finding is None


def test_appending_outside_a_transaction_is_a_mistake(record):
    with pytest.raises(AssertionError):
        ledger.append([prepare(Event(ACTOR, "x"))])


def test_alone_a_group_takes_no_lock_first(record, monkeypatch):
    alone = committer.Committer()
    monkeypatch.setattr(committer, "_committer", alone)
    append(0)

    def locked(*arguments):
        raise AssertionError("the head was where this process left it")

    monkeypatch.setattr(ledger, "append_locked", locked)
    assert [append(number) for number in range(1, 5)] == [1, 2, 3, 4]
    alone.stop()
    assert verify(verification_settings(every_signature=True)).finding is None


def test_what_others_append_in_between_is_noticed(record):
    numbers = []
    for number in range(6):
        numbers.append(append(number))
        with audit.atomic(actor=ACTOR, action="key.rotate") as act:
            act.record({"n": number})
    assert numbers == [0, 2, 4, 6, 8, 10]
    assert verify(verification_settings(every_signature=True)).finding is None


@pytest.mark.parametrize("what", ["root", "size"])
def test_an_end_that_is_not_the_records_writes_nothing(record, what):
    signer, event = load_signer(), prepare(Event(ACTOR, "key.encrypt"))
    with transaction.atomic():
        head = ledger.append_locked([event], signer)
    other = {"root": bytes(32)} if what == "root" else {"frontier": head.frontier.append([bytes(32)])[0]}
    stale = replace(head, **other)
    assert ledger.append_after(stale, [event], signer) is None
    assert AuditHead.objects.get().size == AuditEvent.objects.count() == AuditCheckpoint.objects.count() == 1
    assert ledger.append_after(head, [event], signer) is not None
    assert verify(verification_settings(every_signature=True)).finding is None
