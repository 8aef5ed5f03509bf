"""Rows that are written by the very statement that records: with the event or not at all, once, and never before its time."""

import json
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.audit import ledger
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.commands import verification_settings
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.models import AuditEvent, AuditSigner, AuditTile
from keyvault_portal.audit.signing import ensure_signing_key, load_signer
from keyvault_portal.audit.verification import verify

from .conftest import ACTOR


def ring(name):
    row = KeyRing(name=name, title=name.title())
    values = {f.column: f.value_from_object(row) for f in KeyRing._meta.concrete_fields}
    values |= {"id": str(uuid4()), "created_at": "2026-11-26T00:00:00Z"}
    return audit.Rows(KeyRing._meta.db_table, json.dumps([values], default=str))


def write(name, action="ring.create"):
    with audit.atomic(actor=ACTOR, action=action) as act:
        act.record({"name": name})
        act.write(ring(name))


def written():
    return sorted(KeyRing.objects.filter(name__startswith="c-").values_list("name", flat=True))


@pytest.fixture
def hope(monkeypatch):
    """The hope of a process that has not appended yet."""
    fresh = ledger.Hope()
    monkeypatch.setattr(ledger, "_hope", fresh)
    return fresh


def refuse(*arguments):
    raise AssertionError("not by this way")


def test_a_silent_transaction_is_one_statement(record, hope, monkeypatch):
    write("c-first")
    monkeypatch.setattr(ledger, "append_locked", refuse)
    write("c-second")
    assert written() == ["c-first", "c-second"]
    assert connection.get_autocommit()
    assert connection.connection.autocommit
    assert AuditEvent.objects.filter(action="ring.create").count() == 2
    assert verify(verification_settings(every_signature=True)).finding is None


def test_what_runs_on_commit_runs_after_it(record, hope):
    write("c-first")
    seen = []
    with audit.atomic(actor=ACTOR, action="ring.create") as act:
        transaction.on_commit(lambda: seen.append(written()))
        act.record({})
        act.write(ring("c-second"))
    assert seen == [["c-first", "c-second"]]


@pytest.mark.parametrize("silent", [True, False])
def test_a_broken_constraint_leaves_neither_row_nor_event(record, hope, silent):
    write("c-first")
    with pytest.raises(IntegrityError), audit.atomic(actor=ACTOR, action="ring.create") as act:
        if not silent:
            KeyRing.objects.count()
        act.record({"name": "again"})
        act.write(ring("c-other"))
        act.write(ring("c-first"))
    assert connection.get_autocommit()
    assert written() == ["c-first"]
    assert AuditEvent.objects.count() == 1
    write("c-third")
    assert written() == ["c-first", "c-third"]
    assert verify(verification_settings(every_signature=True)).finding is None


def test_another_who_appended_in_between_makes_nothing_twice(record, hope, monkeypatch):
    write("c-first")
    monkeypatch.setattr(ledger, "_hope", ledger.Hope())
    write("c-by-another")
    monkeypatch.setattr(ledger, "_hope", hope)  # it believes that the record ends after the first
    write("c-second")
    assert written() == ["c-by-another", "c-first", "c-second"]
    assert AuditEvent.objects.count() == 3
    locked, real = [], ledger.append_locked
    monkeypatch.setattr(ledger, "append_locked", lambda *rest: locked.append(1) or real(*rest))
    for number in range(ledger.SHARED_APPENDS + 2):
        write(f"c-{number}")
    assert len(locked) == ledger.SHARED_APPENDS  # then it hopes again
    assert verify(verification_settings(every_signature=True)).finding is None


def test_nothing_is_durable_before_an_outer_transaction_is(record, hope):
    write("c-first")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        write("c-second")
        raise ZeroDivisionError
    with transaction.atomic(savepoint=False):
        transaction.set_rollback(True)
        write("c-third")
    with audit.atomic(actor=ACTOR, action="ring.create") as act:
        act.record({})
        act.write(ring("c-fourth"))
        transaction.set_rollback(True)
    assert written() == ["c-first"]
    assert AuditEvent.objects.count() == 1


def test_a_frame_that_fails_takes_its_rows_with_it(record, hope):
    with audit.atomic(actor=ACTOR, action="ring.create") as outer:
        outer.record({})
        outer.write(ring("c-outer"))
        with pytest.raises(ZeroDivisionError), audit.atomic() as inner:
            inner.write(ring("c-inner"))
            raise ZeroDivisionError
    assert written() == ["c-outer"]


def test_rows_want_an_event(record, hope):
    with pytest.raises(ValueError, match="with an event"), audit.atomic(actor=ACTOR, action="ring.create") as act:
        act.write(ring("c-first"))
    assert written() == []


def test_a_record_that_cannot_be_written_writes_no_rows(record, hope, monkeypatch):
    write("c-first")
    monkeypatch.setattr(ledger, "_APPEND", ledger._APPEND.replace("audit_checkpoint", "audit_gone"))
    ledger._statement.cache_clear()
    try:
        with pytest.raises(AuditUnavailable):
            write("c-second")
    finally:
        monkeypatch.undo()
        ledger._statement.cache_clear()
    assert written() == ["c-first"]


NAMED = "EXISTS (SELECT FROM accounts_keyring WHERE name = {})"


@pytest.mark.parametrize("silent", [True, False])
def test_without_what_it_requires_nothing_is_written(record, hope, silent):
    write("c-first")

    def write_if(name, wanted):
        with audit.atomic(actor=ACTOR, action="ring.create") as act:
            if not silent:
                KeyRing.objects.count()
            act.record({"name": name})
            act.write(ring(name))
            act.require(audit.Guard(NAMED, ("c-first",)))
            act.require(audit.Guard(NAMED, (wanted,)))

    write_if("c-second", "c-first")
    with pytest.raises(audit.Overtaken):
        write_if("c-third", "c-nowhere")
    assert connection.get_autocommit()
    write_if("c-fourth", "c-second")
    assert written() == ["c-first", "c-fourth", "c-second"]
    assert AuditEvent.objects.count() == 3
    assert verify(verification_settings(every_signature=True)).finding is None


def test_a_guard_that_failed_says_nothing_of_other_writers(record, hope, monkeypatch):
    write("c-first")
    with pytest.raises(audit.Overtaken), audit.atomic(actor=ACTOR, action="ring.create") as act:
        act.record({})
        act.require(audit.Guard(NAMED, ("c-nowhere",)))
    write("c-second")  # takes the lock once, to see where the record ends
    monkeypatch.setattr(ledger, "append_locked", refuse)
    write("c-third")
    assert written() == ["c-first", "c-second", "c-third"]


def test_a_frame_that_fails_takes_its_guards_with_it(record, hope):
    with audit.atomic(actor=ACTOR, action="ring.create") as outer:
        outer.record({})
        with pytest.raises(ZeroDivisionError), audit.atomic() as inner:
            inner.require(audit.Guard(NAMED, ("c-nowhere",)))
            raise ZeroDivisionError
    assert AuditEvent.objects.count() == 1


def test_a_guard_wants_an_event(record, hope):
    with pytest.raises(ValueError, match="with an event"), audit.atomic(actor=ACTOR, action="ring.create") as act:
        act.require(audit.Guard("true", ()))


def test_tiles_and_signers_are_written_when_they_are_new(record, hope, monkeypatch, tmp_path, settings):
    """The statement names their tables only then, whichever way it takes."""
    for number in range(257):
        with audit.atomic(actor=ACTOR, action="x") as act:
            act.record({"number": number})
    assert AuditTile.objects.count() == 1
    assert AuditSigner.objects.count() == 1
    earlier = load_signer().public_key
    settings.AUDIT_KEY_FILE = tmp_path / "another.key"
    ensure_signing_key()
    write("c-by-another-key")
    assert AuditSigner.objects.count() == 2
    assert verify(verification_settings(every_signature=True, trusted=[earlier])).finding is None
