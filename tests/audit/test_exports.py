"""What leaves the portal: the stored bytes, tables that execute nothing, and nothing of other rings."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from keyvault_portal.accounts.actors import Actor, Grant, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import exports
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.exports import Filters, defuse, export
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import PermissionRefused, ValidationFailed
from tests.conftest import other_processes
from tests.environment import ROOT

AUDITOR = system_actor("auditor", Permission.AUDIT_EXPORT)
RED, BLUE = UUID(int=1, version=4), UUID(int=2, version=4)


@pytest.fixture
def events(record):
    for number in range(10):
        audit.record(
            actor=AUDITOR,
            action="key.rotate" if number % 2 else "key.view",
            target=("key", str(number), "=cmd|' /C calc'!A0" if number == 3 else f"key {number}, “quoted”\n"),
            ring_id=RED if number < 4 else BLUE,
            details={"n": number},
            outcome="refused" if number == 5 else "success",
        )


def numbers(filters):
    data = b"".join(exports.leaf_pages(filters, 1000))
    return [json.loads(line)["seq"] for line in data.splitlines()]


def test_json_lines_are_the_very_bytes(events, monkeypatch):
    monkeypatch.setattr(exports, "PAGE", 3)
    data = b"".join(export(AUDITOR, "jsonl", Filters()))
    assert data == b"".join(
        bytes(event.leaf) + b"\n" for event in AuditEvent.objects.filter(seq__lt=10).order_by("seq")
    )


def test_an_export_is_itself_recorded(events):
    export(AUDITOR, "csv", Filters(action="key.view"))
    last = AuditEvent.objects.first()
    assert last.action == "audit.export"
    assert json.loads(last.leaf)["details"] == {"format": "csv", "events_before": 10, "filters": {"action": "key.view"}}


def test_csv_is_rfc_4180_and_executes_nothing(events):
    data = b"".join(export(AUDITOR, "csv", Filters())).decode()
    assert data.startswith("seq,at,actor,")
    assert "\r\n" in data
    rows = list(csv.DictReader(io.StringIO(data, newline="")))
    assert [row["seq"] for row in rows] == [str(number) for number in range(10)]
    assert rows[3]["target"] == "'=cmd|' /C calc'!A0"
    assert rows[4]["target"] == "key 4, “quoted”\n"
    assert not [cell for row in rows for cell in row.values() if cell.startswith(exports.FORMULA)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_defused(text):
    assert defuse(text) == "'" + text


@pytest.mark.parametrize("value", ["plain", "a=b", "", 7])
def test_other_cells_stay(value):
    assert defuse(value) == str(value)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"action": "key.rotate"}, [1, 3, 5, 7, 9]),
        ({"outcome": "refused"}, [5]),
        ({"target_type": "key", "target_id": "7"}, [7]),
        ({"actor": "system:auditor", "ring": RED}, [0, 1, 2, 3]),
        ({"rings": frozenset({BLUE})}, [4, 5, 6, 7, 8, 9]),
        ({"rings": frozenset()}, []),
        ({"text": "KEY 8"}, [8]),
        ({"text": "100%"}, []),
        ({"actor": "nobody"}, []),
    ],
)
def test_filters(events, filters, expected):
    assert numbers(Filters(**filters)) == expected
    assert sorted(Filters(**filters).queryset().values_list("seq", flat=True)) == expected


def test_time_range(events):
    times = [event.at for event in AuditEvent.objects.order_by("seq")]
    assert numbers(Filters(since=times[3], until=times[6])) == [3, 4, 5]
    assert numbers(Filters(since=times[9])) == [9]
    assert numbers(Filters(until=times[0])) == []


def test_without_the_right_nothing_is_streamed(events):
    with pytest.raises(PermissionRefused):
        export(system_actor("curious"), "jsonl", Filters())
    assert AuditEvent.objects.first().outcome == "refused"


def test_an_unknown_format_is_refused(events):
    with pytest.raises(ValidationFailed):
        export(AUDITOR, "xlsx", Filters())


def test_command_writes_a_file_once(events, tmp_path):
    path = tmp_path / "record.jsonl"
    call_command("export_audit", "--format", "jsonl", "-o", str(path), "--action", "key.view")
    assert len(path.read_bytes().splitlines()) == 5
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_audit", "-o", str(path))


@pytest.mark.parametrize("given", ["banana", "2026-02-31T00:00:00Z", "2026-01-31T00:00:00", "2026-01-31"])
def test_command_says_how_a_time_is_written(db, given):
    with pytest.raises(CommandError, match=f"'{given}' is no time with its zone, such as 2026-01-31T00:00:00Z"):
        call_command("export_audit", "--since", given)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_command_ends_quietly_when_nobody_reads_on(events, kind):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "export_audit", "--format", kind],
        stdout=writer, stderr=subprocess.PIPE, env=other_processes(), text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_verify_command(events, tmp_path, capsys):
    from keyvault_portal.audit.models import AuditCheckpoint

    from .conftest import unguarded

    note = tmp_path / "kept.txt"
    note.write_text(AuditCheckpoint.objects.get(tree_size=8).note)
    call_command("verify_audit", "--checkpoint", str(note), "--every-signature")
    assert "10 events and 10 checkpoints verify" in capsys.readouterr().out
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET action = 'x' WHERE seq = 6")
    with pytest.raises(CommandError, match=r"event 6 .projection_differs.") as error:
        call_command("verify_audit")
    assert error.value.returncode == 1


def ring_reader(*rings):
    return Actor(None, "person", "reader", tuple(Grant(frozenset({Permission.AUDIT_EXPORT}), ring) for ring in rings))


def test_a_ring_limited_reader_cannot_take_the_whole_record(events, tmp_path):
    from keyvault_portal.audit.evidence.pack import write_pack

    with (tmp_path / "pack.zip").open("w+b") as file, pytest.raises(PermissionRefused):
        write_pack(ring_reader(RED), file)
