"""Measuring the record beside its raw limit and a peer, interleaved in one run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from typing import Any

import psutil
import psycopg
from django.db import connection, transaction

from keyvault_portal.audit import committer, exports, ledger
from keyvault_portal.audit.access import system_actor
from keyvault_portal.audit.commands import connection_arguments, verification_settings
from keyvault_portal.audit.events import Event, PreparedEvent, prepare
from keyvault_portal.audit.models import AuditHead
from keyvault_portal.audit.verification import verify
from keyvault_portal.measure import Measurement, interleave

_ACTOR = system_actor("benchmark")
_CHAIN = "CREATE TABLE benchmark_chain (seq bigint PRIMARY KEY, payload bytea NOT NULL, hash bytea NOT NULL)"
_CHAIN_HEAD = "CREATE TABLE benchmark_chain_head (seq bigint NOT NULL, hash bytea NOT NULL)"
_SQL_VERIFY = """
SELECT count(*) FILTER (WHERE good AND (previous IS NULL OR previous = seq - 1)) FROM (
    SELECT seq, sha256('\\x00'::bytea || leaf) = leaf_hash AS good, lag(seq) OVER (ORDER BY seq) AS previous
    FROM audit_event
) checked
"""
# A process of its own shows the memory of the job alone, not of everything that a command line has loaded.
_MEMORY = """
import json, re, sys
from keyvault_portal.audit.verification import Settings, verify
given = json.load(sys.stdin)
verify(Settings(given["connection"], [bytes.fromhex(key) for key in given["keys"]]))
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""
MEMORY_MIB = 64


def _event(number: int) -> PreparedEvent:
    target = ("key", str(number % 997), f"key {number % 997}")
    return prepare(Event(_ACTOR, "key.encrypt", target, details={"items": 1, "version": 3, "context": "0" * 64}))


def _fill(count: int) -> int:
    """Bring the record to at least `count` events; returns how many it has."""
    have: int = AuditHead.objects.values_list("size", flat=True).get()
    for start in range(have, count, 1000):
        with transaction.atomic():
            ledger.append([_event(number) for number in range(start, min(start + 1000, count))])
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE audit_event, audit_checkpoint, audit_tile")
    return max(have, count)


def bench_append(n: int = 20_000, rounds: int = 3, producers: int = 64) -> list[Measurement]:
    """Durable appends by `producers` threads: group commit, a SELECT FOR UPDATE chain, and COPY as the limit."""
    with _chain_tables(), ThreadPoolExecutor(producers) as pool:

        def ours() -> float:
            list(pool.map(_append_ours, [range(start, n, producers) for start in range(producers)]))
            return n

        def chain() -> float:
            part = max(producers, n // 20)  # it is that much slower
            with _connections(producers) as connections:
                list(pool.map(_append_to_chain, connections, [range(at, part, producers) for at in range(producers)]))
            return part

        rates = interleave({"ours": ours, "SELECT FOR UPDATE": chain, "COPY": lambda: _copy(n)}, rounds)
        memory = _growth(ours)
    committer.stop()
    name, unit = "append, group commit", "events/s"
    return [
        rates.against(name, unit, "ours", "SELECT FOR UPDATE", against="SELECT FOR UPDATE", goal=20),
        rates.against(name, unit, "ours", "COPY", against="COPY"),
        _memory("append, memory added", memory),
        Measurement("append, SELECT FOR UPDATE", rates["SELECT FOR UPDATE"], "events/s"),
        Measurement("append, COPY", rates["COPY"], "rows/s", note="no chain, no tree, 1,000 rows a commit"),
    ]  # fmt: skip


def bench_verify(n: int = 1_000_000, rounds: int = 3) -> list[Measurement]:
    """The whole check by this many processes as there are cores, and by one, beside sha256() over a window in SQL."""
    size = _fill(n)
    settings = verification_settings()
    cores = os.cpu_count() or 1

    def run(processes: int) -> float:
        report = verify(settings, processes=processes)
        if report.finding:
            raise RuntimeError(f"The record does not verify: {report.finding.detail}")
        return size

    def in_sql() -> float:
        with psycopg.connect(**settings.connection) as other:
            row = other.execute(_SQL_VERIFY).fetchone()
        return float(row[0]) if row else 0.0

    names = {"one process": lambda: run(1), "all cores": lambda: run(cores), "SQL": in_sql}
    rates = interleave(names, rounds)
    given = {"connection": connection_arguments(), "keys": [key.hex() for key in settings.keys]}
    memory = subprocess.run(
        [sys.executable, "-c", _MEMORY], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    peer, unit, note = "SQL sha256() over a window", "events/s", "hashes, tree, columns, tiles, checkpoints"
    return [
        rates.against(f"verify, {cores} processes", unit, "all cores", "SQL", against=peer, goal=1.0, note=note),
        rates.against("verify, one process", unit, "one process", "SQL", against=peer),
        Measurement("verify, SQL", rates["SQL"], "events/s", note="hashes and order only"),
        _memory("verify, memory of a process", float(memory.stdout)),
    ]  # fmt: skip


def bench_export(n: int = 1_000_000, rounds: int = 3) -> list[Measurement]:
    """JSON Lines: stored blocks, a cursor with json.dumps as the peer, COPY TO as the limit."""
    size = _fill(n)

    def ours() -> float:
        with open(os.devnull, "wb") as sink:
            for page in exports.leaf_pages(exports.Filters(), size):
                sink.write(page)
        return size

    def copy() -> float:
        query = "COPY (SELECT leaf FROM audit_event ORDER BY seq) TO STDOUT (FORMAT binary)"
        with (
            psycopg.connect(**connection_arguments()) as other,
            open(os.devnull, "wb") as sink,
            other.cursor().copy(query) as stream,
        ):
            sink.writelines(stream)
        return size

    rates = interleave({"ours": ours, "cursor": lambda: _cursor_export(size), "COPY": copy}, rounds)
    memory = _growth(ours)
    table = interleave({"csv": lambda: _csv(size)}, rounds=1)["csv"]
    return [
        rates.against("export, JSON Lines", "events/s", "ours", "cursor", against="cursor with json.dumps", goal=5),
        rates.against("export, JSON Lines", "events/s", "ours", "COPY", against="COPY TO"),
        _memory("export, memory added", memory),
        Measurement("export, CSV", table, "events/s", "cursor with json.dumps", table / rates["cursor"]),
    ]  # fmt: skip


def _growth(job: Callable[[], float]) -> float:
    """MiB by which the resident memory of this process grows at most while `job` runs."""
    process, peak, over = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not over.wait(0.01):
            peak.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        job()
    finally:
        over.set()
        watcher.join()
    return float(max(0, max(peak) - before) / 2**20)


def _memory(name: str, mebibytes: float) -> Measurement:
    return Measurement(name, mebibytes, "MiB", f"{MEMORY_MIB} MiB", mebibytes / MEMORY_MIB, 1, at_most=True)


def _cursor_export(size: int) -> float:
    columns = (
        "seq, at, actor_id, actor_label, action, target_type, target_id, ring_id, outcome, convert_from(leaf, 'UTF8')"
    )
    with (
        psycopg.connect(**connection_arguments()) as other,
        other.cursor("peer") as cursor,
        open(os.devnull, "w") as sink,
    ):
        cursor.itersize = 10_000
        cursor.execute(f"SELECT {columns} FROM audit_event ORDER BY seq")  # noqa: S608
        names = [column.name for column in cursor.description or ()]
        for row in cursor:
            record = dict(zip(names, row, strict=True))
            record["convert_from"] = json.loads(record["convert_from"])["details"]
            sink.write(json.dumps(record, default=str) + "\n")
    return size


def _csv(size: int) -> float:
    with open(os.devnull, "wb") as sink:
        for page in exports.csv_pages(exports.leaf_pages(exports.Filters(), size)):
            sink.write(page)
    return size


@contextmanager
def _chain_tables() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS benchmark_chain, benchmark_chain_head")
        cursor.execute(_CHAIN)
        cursor.execute(_CHAIN_HEAD)
        cursor.execute("INSERT INTO benchmark_chain_head VALUES (0, '')")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE benchmark_chain, benchmark_chain_head")


@contextmanager
def _connections(count: int) -> Iterator[list[psycopg.Connection[Any]]]:
    opened = [psycopg.connect(**connection_arguments()) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def _append_ours(numbers: range) -> None:
    for number in numbers:
        committer.submit(_event(number))


def _append_to_chain(own: psycopg.Connection[Any], numbers: range) -> None:
    for number in numbers:
        with own.transaction():
            row = own.execute("SELECT seq, hash FROM benchmark_chain_head FOR UPDATE").fetchone()
            assert row is not None, "the head was inserted"
            seq, leaf = row[0] + 1, _event(number).leaf(row[0] + 1, "2026-01-01T00:00:00.000000Z")
            digest = sha256(row[1] + leaf).digest()
            own.execute("INSERT INTO benchmark_chain VALUES (%s, %s, %s)", [seq, leaf, digest])
            own.execute("UPDATE benchmark_chain_head SET seq = %s, hash = %s", [seq, digest])


def _copy(count: int) -> float:
    numbers = iter(range(count))
    with psycopg.connect(**connection_arguments()) as own:
        own.execute("CREATE TEMP TABLE benchmark_copy (LIKE benchmark_chain INCLUDING ALL)")
        own.commit()
        while part := list(islice(numbers, 1000)):
            with own.cursor().copy("COPY benchmark_copy FROM STDIN") as stream:
                for number in part:
                    stream.write_row((number, _event(number).leaf(number, ""), bytes(32)))
            own.commit()
    return count
