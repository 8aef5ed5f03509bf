"""Re-encryption of a table beside the usual ways to do it and the server's own limit; and work under a call budget."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import urandom
from typing import Any

import dj_database_url
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.apps.registry import Apps
from django.db import connections, models
from django.test import override_settings

from keys.benchmarks import Tell
from keys.benchmarks.scratch import Scratch, scratch
from keys.benchmarks.shop import Shop, all_rights, make_keys, open_shop, tidy
from keys.models import Key, ReEncryptionJob, Rotation
from keys.services import lifecycle, materials, reencryption
from keys.services.ratelimit import RateLimiter
from keys.services.segments import SEGMENT_RECORDS
from keys.states import RotationState
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.measure import Measurement, Rates, interleave

WORKERS = 2
MEMORY_MIB = 128
SAVE_SHARE, BULK_SHARE = 50, 20  # the peers are slower by about this much, so they get fewer rows for the same time
BUDGET = 100  # provider calls a second
BUDGET_SECONDS = 4


class Row(models.Model):
    """The peers' table as an application would declare it; in no app's registry.

    Our cells name their key themselves. An application that wants to go on after an interruption keeps the version of
    the key beside the cell, and writes both.
    """

    id = models.BigIntegerField(primary_key=True)
    body = models.BinaryField()
    key_version = models.IntegerField()

    objects: "models.Manager[Row]" = models.Manager()

    class Meta:
        app_label = "benchmark"
        apps = Apps()
        managed = False
        db_table = "peer"

    def __str__(self) -> str:
        return str(self.pk)


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """`size` rows a round by two worker processes, a `save()` loop, `bulk_update`, and an UPDATE in the server."""
    with scratch(tell) as place:
        tell(f"encrypting {size:,} rows")
        with open_shop(place, size) as shop, _workers(place) as workers, _django_alias(shop.url):
            memory: list[float] = []
            walks: list[float] = []  # rows a second until all had moved

            def ours() -> float:
                start = time.perf_counter()
                job = shop.rotate()
                peak, moved = _walk(workers, job)
                items = shop.finish(job)
                memory.append(peak)
                walks.append(items / (moved - start))
                return items

            jobs = {
                "ours": ours,
                "save": lambda: _save(shop, max(1, size // SAVE_SHARE)),
                "bulk": lambda: _bulk_update(shop, max(1, size // BULK_SHARE)),
                "limit": lambda: _in_server(shop.url),
            }
            tell("everything once, so that what is made at first use is there")
            interleave(jobs, rounds=1, before=lambda: tidy(shop.url))
            tell(f"{rounds} rounds")
            rates = interleave(jobs, rounds, before=lambda: tidy(shop.url))
            rates = Rates({**rates.rounds, "walk": walks[-rounds:]})
    ours_name, unit = f"Re-encryption, {WORKERS} workers", "rows/s"
    whole_name = "the same and the count that ends it"
    peak = max(memory)
    kept = "writes cell and key version, which an application keeps beside it to go on after an interruption"
    durable = "new version and plan included, until all is moved and durable, which pages become together; the peers count nothing"
    return [
        rates.against(
            "UPDATE in the server that moves no data (the limit)", unit, "limit", "bulk", against="bulk_update"
        ),
        Measurement("save() loop", rates["save"], unit, note=kept),
        Measurement("bulk_update(1000)", rates["bulk"], unit, note=kept),
        rates.against(ours_name, unit, "walk", "save", against="save() loop", goal=50, note=durable),
        rates.against(ours_name, unit, "walk", "bulk", against="bulk_update", goal=25),
        rates.against(ours_name, unit, "walk", "limit", against="the limit", goal=0.60),
        rates.against(whole_name, unit, "ours", "save", against="save() loop"),
        rates.against(whole_name, unit, "ours", "bulk", against="bulk_update"),
        rates.against(whole_name, unit, "ours", "limit", against="the limit"),
        Measurement("Memory of a worker", peak, "MiB", f"{MEMORY_MIB} MiB", peak / MEMORY_MIB, 1, at_most=True),
    ]


def provider_budget(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """`size` rows at 100 provider calls a second, beside a design with a data key for every record."""
    with scratch(tell) as place, override_settings(PROVIDER_BUDGETS={"local": BUDGET}):
        tell("a data key for every record")
        name = place.database_url.rsplit("/", 1)[1]  # limits are shared through Valkey: each run needs its own
        calls = BUDGET * BUDGET_SECONDS
        single = RateLimiter(f"{name}:full", BUDGET)
        full_peer = _rate(calls // 2, lambda: single.acquire(2))
        single = RateLimiter(f"{name}:rewrap", BUDGET)
        rewrap_peer = _rate(calls, lambda: single.acquire(1))
        tell("the whole budget, in every second")
        used, worst = _spend(name)
        tell("data keys for many records")
        with open_shop(place, size) as shop:
            job = shop.rotate()
            start = time.perf_counter()
            _work_off(job)
            full = shop.finish(job) / (time.perf_counter() - start)
            job.refresh_from_db()
        rewrapped, job_used = _rewrap(calls // 2)
    whole = f"at most {BUDGET} provider calls a second; {job.provider_calls} calls for {size:,} rows"
    note = f"counted in records: a data key serves {SEGMENT_RECORDS:,}"
    return [
        Measurement("A data key per record, re-encrypt", full_peer, "records/s"),
        Measurement("A data key per record, re-wrap", rewrap_peer, "records/s"),
        Measurement("Re-encryption", full, "records/s", "a data key per record", full / full_peer, 200, whole),
        Measurement("Re-wrap", rewrapped, "records/s", "a data key per record", rewrapped / rewrap_peer, 800, note),
        Measurement("Budget used by a re-wrap", job_used, "calls/s", f"{BUDGET} calls/s", job_used / BUDGET, 0.95),
        Measurement("Budget used by two workers", used, "calls/s", f"{BUDGET} calls/s", used / BUDGET, 0.95),
        Measurement("Most calls in any second", worst, "calls", f"{BUDGET} calls", worst / BUDGET, 1, at_most=True),
    ]


@contextmanager
def _workers(place: Scratch) -> Iterator[list["subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "keys.benchmarks.walker"]
    environment = place.environment() | {"DJANGO_SETTINGS_MODULE": "keyvault_portal.settings"}
    with (place.folder / "workers.log").open("ab") as log:
        started = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
            )
            for _ in range(WORKERS)
        ]
    try:
        for worker in started:
            if _line(worker) != "ready":
                raise RuntimeError("A worker did not start: " + (place.folder / "workers.log").read_text()[-500:])
        yield started
    finally:
        for worker in started:
            worker.terminate()
            worker.communicate()


def _line(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def _walk(workers: list["subprocess.Popen[str]"], job: ReEncryptionJob) -> tuple[float, float]:
    """Let all workers walk the job; the peak of a worker's memory in MiB, and when all rows had moved (`perf_counter`)."""
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(f"{job.pk}\n")
        worker.stdin.flush()
    answers = [_line(worker) for worker in workers]
    if not all(answers):
        raise RuntimeError("A worker ended before its job did.")
    peaks, ends = zip(*(map(float, answer.split()) for answer in answers), strict=True)
    return max(peaks), max(ends)


@contextmanager
def _django_alias(url: str) -> Iterator[None]:
    connections.databases["benchmark_shop"] = connections.configure_settings(
        connections.databases | {"benchmark_shop": dict(dj_database_url.parse(url))}
    )["benchmark_shop"]
    try:
        yield
    finally:
        connections["benchmark_shop"].close()
        del connections["benchmark_shop"], connections.databases["benchmark_shop"]


def _reseal(cipher: AESGCM, row: Row) -> Row:
    body = bytes(row.body)
    nonce = urandom(12)
    row.body = nonce + cipher.encrypt(nonce, cipher.decrypt(body[:12], body[12:], None), None)
    row.key_version += 1
    return row


def _save(shop: Shop, count: int) -> float:
    cipher = AESGCM(shop.peer_key)
    for row in Row.objects.using("benchmark_shop").order_by("id")[:count]:
        _reseal(cipher, row).save(update_fields=["body", "key_version"])
    return count


def _bulk_update(shop: Shop, count: int) -> float:
    cipher = AESGCM(shop.peer_key)
    rows = Row.objects.using("benchmark_shop")
    changed = [_reseal(cipher, row) for row in rows.order_by("id")[:count]]
    rows.bulk_update(changed, ["body", "key_version"], batch_size=1000)
    return count


def _in_server(url: str) -> float:
    with psycopg.connect(url) as target:
        return float(target.execute("UPDATE peer SET body = body, key_version = key_version").rowcount)


def _rate(count: int, work: Any) -> float:
    start = time.perf_counter()
    for _ in range(count):
        work()
    return count / (time.perf_counter() - start)


def _spend(name: str) -> tuple[float, int]:
    """Calls a second of two workers that spend all they get, and the most in any one second."""
    times: list[float] = []
    start = time.perf_counter()
    end = start + BUDGET_SECONDS

    def worker() -> None:
        limiter = RateLimiter(f"{name}:spend", BUDGET)
        while time.perf_counter() < end:
            limiter.acquire(1)
            times.append(time.perf_counter())

    threads = [threading.Thread(target=worker) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    worst = max(sum(1 for other in times[at:] if other < moment + 1) for at, moment in enumerate(times))
    return (len(times) - 1) / (times[-1] - times[0]), worst


def _work_off(job: ReEncryptionJob) -> None:
    while ReEncryptionJob.objects.filter(pk=job.pk, state__in=("pending", "running")).exists():
        reencryption.work(job.pk, 60)


def _rewrap(data_keys: int) -> tuple[float, float]:
    """Records a second whose data keys are re-wrapped under a new version of their KEK, and provider calls a second."""
    actor = all_rights()
    keys = make_keys(actor, KeyRing.objects.create(name="rewrap", title="Re-wrap"))
    version = materials.active_version(keys["data"])
    for _ in range(data_keys):
        materials.new_data_key(version, "benchmark")
    kek = Key.objects.get(pk=keys["wrapping"].pk)
    old = materials.active_version(kek)
    new = lifecycle.introduce_version(actor=actor, key_id=kek.pk, activate=True)
    rotation = Rotation.objects.create(
        key=kek, old_version=old, new_version=new, reason="benchmark", requested_by="benchmark",
        state=RotationState.RE_ENCRYPTING.value,
    )  # fmt: skip
    job = ReEncryptionJob.objects.create(rotation=rotation, mode=ReEncryptionJob.Mode.REWRAP_KEYS.value)
    start = time.perf_counter()
    _work_off(job)
    seconds = time.perf_counter() - start
    job.refresh_from_db()
    if job.state != "done":
        raise RuntimeError(f"The job ended as {job.state}: {job.last_error}")
    return data_keys * SEGMENT_RECORDS / seconds, job.provider_calls / seconds
