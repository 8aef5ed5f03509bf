"""`./manage.py benchmark` as the README prints it, with a tiny size: every job once, and nothing is left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from keys.benchmarks import JOBS, farplaces
from keyvault_portal.measure import Measurement
from tests.boot.processes import clean_environment
from tests.environment import ROOT, VAR
from tests.readme.readme import blocks, proves

# More keys than a page shows, so that its lists have a deep page; of each job what its test reads.
SMALL = ["--size", "60", "--rounds", "1"]


@pytest.fixture(scope="module")
@proves("Benchmarks")
def document(django_db_setup: None, django_db_blocker: Any) -> dict[str, Any]:
    """What the README's two commands say on the servers of this run, small; they leave no database behind."""
    (one, every), *more = (block.commands() for block in blocks("Benchmarks"))
    assert more == []
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = clean_environment(PORTAL_NO_BOOTSTRAP="1", PORTAL_VAR_DIR=str(VAR), PATH=path)
    with django_db_blocker.unblock():
        before = scratch_databases()
        said = []
        for words in (one, every):
            command = [*words, *SMALL]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            said.append(done.stdout)
        assert scratch_databases() == before
    assert "Envelope library" in said[0]
    return json.loads(said[1])


def test_places_that_only_tests_have_are_named_where_there_are_none(monkeypatch, tmp_path):
    """The program without its tests: every place is still a line, and says what it lacks."""
    monkeypatch.setitem(sys.modules, "tests.providers.place_kmip", None)
    with farplaces.kmip(tmp_path) as row:
        assert row.value is None
        assert row.note.startswith("not installed: the tests' pykmip-server")


@pytest.fixture
def benchmark(document):
    """The rows of a job by (name, against)."""
    return lambda job: by_name(document["jobs"][job])


def by_name(rows: list[dict]) -> dict[tuple[str, str], dict]:
    return {(row["name"], row["against"]): row for row in rows}


def scratch_databases() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'benchmark_%' ORDER BY 1")
        return [row[0] for row in cursor.fetchall()]


def test_every_job_is_measured(document):
    assert set(document["jobs"]) == set(JOBS)
    assert len(document["load_average"]) == 3


def test_lists_ask_the_same_number_of_queries_at_every_depth(benchmark):
    counts = {name: row for (name, _), row in benchmark("lists").items() if name.endswith(": queries")}
    assert len(counts) >= 6
    assert all(row["ratio"] == 1 and 0 < row["value"] < 30 for row in counts.values())


def test_certificates_are_measured_beside_both_peers_and_the_library(benchmark):
    rows = benchmark("certificates")
    assert all(row["ratio"] > 0 for (_, against), row in rows.items() if against)
    assert {"django-ca, one process", "OpenBao over HTTP, in memory", "django-ca, both over HTTP"} <= {
        against for _, against in rows
    }
    assert ("CRL of 20,000 with one new entry", "full rebuild by the builder's list") in rows
    assert 0 < rows["Expiry page over 20,000 certificates: queries", ""]["value"] < 30


def test_a_table_is_re_encrypted_whole_by_all_workers(benchmark):
    rows = benchmark("re-encryption")
    ratios = {against: row["goal"] for (name, against), row in rows.items() if name.startswith("Re-encryption")}
    assert ratios == {"save() loop": 50, "bulk_update": 25, "the limit": 0.6}
    for against in ratios:  # the count at the end takes time, and is shown
        whole, walk = (
            rows[name, against]["value"] for name in ("the same and the count that ends it", "Re-encryption, 2 workers")
        )
        assert 0 < whole < walk
    assert rows["Memory of a worker", "128 MiB"]["met"]


def test_the_budget_of_provider_calls_is_never_passed(benchmark):
    rows = benchmark("provider-budget")
    assert rows["Most calls in any second", "100 calls"]["met"]
    assert 0 < rows["Budget used by a re-wrap", "100 calls/s"]["value"] <= 100
    # One call opens the segment that was, one makes the segment to be: two data keys for 60 rows.
    assert "; 2 calls for 60 rows" in rows["Re-encryption", "a data key per record"]["note"]


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
    assert off["value"] == pytest.approx(1_000_000), "one call a record"
    assert on["value"] == pytest.approx(10), "ten data keys of 100,000 records each"
    assert "counted 10 requests at the server for 600 records at 60 a key" in on["note"]


def test_the_data_plane_records_every_request_it_answers(benchmark):
    rows = benchmark("data-plane")
    assert rows["Batch encrypt", "OpenBao"]["goal"] == 1.5
    assert rows["Single encrypt", "OpenBao"]["value"] > 0
    assert rows["Audit events", "requests sent"]["ratio"] == 1
    assert rows["Audit events", "requests sent"]["value"] == 60 * (2 + 2 * 20)


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
