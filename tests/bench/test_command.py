"""`./manage.py benchmark` in a process of its own, with tiny sizes: nothing is left behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from keys.benchmarks import farplaces
from keyvault_portal.measure import Measurement
from tests.conftest import other_processes

ROOT = Path(__file__).resolve().parents[2]


# Of each job what its test reads; all in one process, so that its start and the making of a database are paid for once.
SIZES = {
    "re-encryption": 500, "provider-budget": 500, "providers": 5, "data-plane": 2, "audit-append": 500, "audit-verify": 500, "audit-export": 500,
}  # fmt: skip
ALL = """
import io, json, sys, django
django.setup()
from django.core.management import call_command
from keys.benchmarks.scratch import template
jobs = {}
with template():
    for job, size in json.loads(sys.argv[1]).items():
        said = io.StringIO()
        call_command("benchmark", job, size=size, rounds=1, json=True, stdout=said)
        jobs |= json.loads(said.getvalue())["jobs"]
print(json.dumps(jobs))
"""


def run(*command: str) -> str:
    """What the program says, over the tests' database; it leaves no database behind."""
    before = scratch_databases()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=other_processes() | {"DJANGO_SETTINGS_MODULE": "keyvault_portal.settings"}, capture_output=True, text=True, timeout=600, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert scratch_databases() == before
    return done.stdout


@pytest.fixture(scope="module")
def measured(django_db_setup, django_db_blocker):
    """The rows of each job in SIZES."""
    with django_db_blocker.unblock():
        return json.loads(run("-c", ALL, json.dumps(SIZES)))


def test_places_that_only_tests_have_are_named_where_there_are_none(monkeypatch, tmp_path):
    """The program without its tests: every place is still a line, and says what it lacks."""
    monkeypatch.setitem(sys.modules, "tests.providers.place_kmip", None)
    with farplaces.kmip(tmp_path) as row:
        assert row.value is None
        assert row.note.startswith("not installed: the tests' pykmip-server")


@pytest.fixture
def benchmark(measured):
    """The rows of a job by (name, against)."""
    return lambda job: by_name(measured[job])


def by_name(rows: list[dict]) -> dict[tuple[str, str], dict]:
    return {(row["name"], row["against"]): row for row in rows}


def scratch_databases() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'benchmark_%' ORDER BY 1")
        return [row[0] for row in cursor.fetchall()]


def test_lists_ask_the_same_number_of_queries_at_every_depth(db):
    """This one as a person runs it."""
    said = json.loads(run("manage.py", "benchmark", "lists", "--size", "300", "--rounds", "1", "--json"))
    assert len(said["load_average"]) == 3
    rows = by_name(said["jobs"]["lists"])
    counts = {name: row for (name, _), row in rows.items() if name.endswith(": queries")}
    assert len(counts) >= 6
    assert all(row["ratio"] == 1 and 0 < row["value"] < 30 for row in counts.values())


def test_a_table_is_re_encrypted_whole_by_all_workers(benchmark):
    rows = benchmark("re-encryption")
    ratios = {against: row["goal"] for (name, against), row in rows.items() if name.startswith("Re-encryption")}
    assert ratios == {"save() loop": 50, "bulk_update": 25, "the limit": 0.6}
    assert rows["Memory of a worker", "128 MiB"]["met"]


def test_the_budget_of_provider_calls_is_never_passed(benchmark):
    rows = benchmark("provider-budget")
    assert rows["Most calls in any second", "100 calls"]["met"]
    assert 0 < rows["Budget used by a re-wrap", "100 calls/s"]["value"] <= 100
    # One call opens the segment that was, one makes the segment to be: two data keys for 500 rows.
    assert "; 2 calls for 500 rows" in rows["Re-encryption", "a data key per record"]["note"]


def test_providers_are_called_beside_their_own_libraries(benchmark):
    rows = benchmark("providers")
    places = [name for name, against in rows if against == "its library alone"]
    assert places == [
        "This portal", "OpenBao transit", "AWS KMS (moto)", "HSM (SoftHSM), out of process", "Google Cloud KMS (contract fake)",
        "Azure Key Vault, signing (contract fake)", "Azure Managed HSM (contract fake)", "KMIP (pykmip-server)",
    ]  # fmt: skip
    for name in places:
        row = rows[name, "its library alone"]
        assert row["value"] > 0
        assert row["ratio"] > 0
        assert re.fullmatch(r"a call takes p50 [\d,]+, p95 [\d,]+, p99 [\d,]+ µs", row["note"])
    off, on = (
        next(row for (name, _), row in rows.items() if name == f"Provider calls per million records, {what}")
        for what in ("cache off", "cache on")
    )
    assert off["value"] == 1_000_000, "one call a record"
    assert on["value"] == 10, "ten data keys of 100,000 records each"
    assert "counted 10 requests at the server for 50 records at 5 a key" in on["note"]


def test_the_data_plane_records_every_request_it_answers(benchmark):
    rows = benchmark("data-plane")
    assert rows["Batch encrypt", "OpenBao"]["goal"] == 1.5
    assert rows["Single encrypt", "OpenBao"]["value"] > 0
    assert rows["Audit events", "requests sent"]["ratio"] == 1
    assert rows["Audit events", "requests sent"]["value"] == 84


@pytest.mark.parametrize(
    ("job", "row"),
    [
        ("audit-append", ("append, group commit", "SELECT FOR UPDATE")),
        ("audit-verify", ("verify, one process", "SQL sha256() over a window")),
        ("audit-export", ("export, JSON Lines", "cursor with json.dumps")),
    ],
)
def test_the_record_is_measured_and_thrown_away(benchmark, job, row):
    rows = benchmark(job)
    assert rows[row]["ratio"] > 0
    memory = [measured for (name, against), measured in rows.items() if against == "64 MiB"]
    assert [measured["met"] for measured in memory] == [True], "memory does not depend on the machine's load"


def test_a_table_names_goal_and_outcome(monkeypatch, capfd):
    rows = [
        Measurement("fast", 200.0, "items/s", "slow", 2.0, 1.5, "a note"),
        Measurement("deep", 9.0, "ms", "first", 2.0, 1.3, at_most=True),
        Measurement("peer", None, "", note="not installed: peer"),
    ]
    monkeypatch.setattr("keys.benchmarks.Job.run", lambda *args: rows)
    call_command("benchmark", "envelope")
    text = capfd.readouterr().out
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line and "What" not in line}
    assert "≥ 1.5" in lines["fast 1)"]
    assert "yes" in lines["fast 1)"]
    assert "≤ 1.3" in lines["deep"]
    assert "no" in lines["deep"].split("│")[-2]
    assert "not installed: peer" in text
    assert "Load average" in text


@pytest.mark.parametrize("arguments", [["nonsense"], ["envelope", "--size", "0"], ["envelope", "--rounds", "0"]])
def test_what_makes_no_sense_is_refused(arguments):
    with pytest.raises(CommandError):
        call_command("benchmark", *arguments)


def test_the_progress_never_mixes_with_the_result(monkeypatch, capfd):
    monkeypatch.setattr("keys.benchmarks.Job.run", lambda *args: [Measurement("x", 1.0, "s")])
    call_command("benchmark", "envelope", "--json")
    assert json.loads(capfd.readouterr().out)["jobs"]["envelope"][0]["met"] is None
