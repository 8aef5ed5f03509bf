"""Real PostgreSQL and Valkey for every test, key files of their own, and no network beyond loopback.

The services start before Django reads its settings, so that the tests meet the same configuration as a newcomer.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests import migrated, warm
from tests.environment import KEYS, ROOT, STARTED

django.setup()
if "PYTEST_XDIST_WORKER" not in os.environ:
    # Workers inherit this environment, and with that name in it pytest-django reads their settings before us.
    del os.environ["DJANGO_SETTINGS_MODULE"]

# A busy machine is slow, not wrong: an example that had to wait for a processor for 200 ms has found nothing.
hypothesis_settings.register_profile(
    "patient", hypothesis_settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")

# What a marked test needs from the system, and how a person gets it.
SYSTEM_PACKAGES = {
    "needs_chromium": ("chromium", "/usr/bin/chromium", "apt-get install chromium"),
    "needs_softhsm": ("softhsm2-util", "/usr/bin/softhsm2-util", "apt-get install softhsm2"),
    "needs_haproxy": ("haproxy", "/usr/sbin/haproxy", "apt-get install haproxy"),
    "needs_pebble": ("pebble", "/usr/bin/pebble", "apt-get install pebble"),
    "needs_dehydrated": ("dehydrated", "/usr/bin/dehydrated", "apt-get install dehydrated"),
    "needs_lego": ("lego", "/usr/bin/lego", "apt-get install lego"),
}


# What takes minutes begins first where files are shared out to several processes, so that all of them end together. Else
# they would come last, each alone: those without a database are sorted behind the others.
LONGEST = (
    "browser/test_pages.py", "boot/test_quickstart.py", "api/test_matrix.py", "readme/test_readme.py", "api/test_schema.py",
    "browser/test_ceremony.py", "bench/test_command.py", "moving/test_real.py", "boot/test_bootstrap.py",
    "readme/test_operating.py", "providers/test_contract.py", "keyholder/test_provider_seals.py",
    "boot/test_production.py", "provider_services/test_real.py", "room/test_bad_input.py",
    "room/test_refresh.py", "room/test_outside_acts.py", "browser/test_story.py", "browser/test_ways.py",
    "faults/test_reencryption_faults.py", "faults/test_move_faults.py", "ceremonies/test_process.py", "keyholder/test_process.py",
    "acme/test_clients.py", "provider_services/test_real_transfers.py", "tls/test_matrix.py",
)  # fmt: skip


def pytest_unconfigure() -> None:
    warm.stop()
    for services in STARTED:
        services.stop()
    KEYS.cleanup()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # of pytest-xdist
        places = {str(ROOT / "tests" / name): place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(str(item.path), len(places)))
    for item in items:
        for marker, (program, path, command) in SYSTEM_PACKAGES.items():
            if item.get_closest_marker(marker) and not (shutil.which(program) or Path(path).exists()):
                reason = f"{program} is not installed: {command}"
                if os.environ.get("CI") == "true":
                    pytest.exit(f"{item.nodeid}: {reason}", returncode=1)
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup() -> None:
    from pytest_socket import socket_allow_hosts

    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True, scope="session")
def _key_files() -> None:
    """Nothing can be recorded or sealed without the key files."""
    from keys.services.root_key import ensure_root_key
    from keyvault_portal.audit.signing import ensure_signing_key

    ensure_signing_key()
    ensure_root_key()


@pytest.fixture(autouse=True, scope="session")
def _test_settings() -> Iterator[None]:
    """Of the whole run, so that they hold for what a module builds once, too."""
    from django.test import override_settings

    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    with override_settings(PASSWORD_HASHERS=hashers, AUDIT_GROUP_COMMIT=False):
        yield


@pytest.fixture(scope="module")
def module_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The database for what all tests of a module share: theirs is undone with each of them, this with the module.

    Not for a module with transactional tests, whose flush would find the transaction open.
    """
    from django.db import transaction

    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, django_db_blocker: Any) -> None:
    """The migrations run once, not once a process."""
    from django.db import connection

    with django_db_blocker.unblock():
        connection.settings_dict["TEST"]["TEMPLATE"] = migrated.template()


@pytest.fixture(autouse=True, scope="session")
def _emptied_by_deletion() -> Iterator[None]:
    """Between transactional tests Django would truncate every table with all its indexes, and few of them have rows."""
    from django.core.management.commands import flush
    from django.db import connections

    handle = flush.Command.handle
    flush.Command.handle = lambda self, **options: _empty(connections[options["database"]])  # type: ignore[method-assign]
    yield
    flush.Command.handle = handle  # type: ignore[method-assign]


# What a migration wrote and a flush would write again.
_KEPT = ("django_migrations", "django_content_type", "auth_permission", "django_site")
_TABLES = """
SELECT oid::regclass::text, EXISTS (SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal)
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> ALL(%s)
"""
_HEAD_ROW = "INSERT INTO audit_head (id, size, frontier, root, at) VALUES (1, 0, '', sha256(''), 'epoch')"


def _empty(connection: Any) -> None:
    """Delete all rows there are; only here the triggers that forbid it step aside. The record's head is as it began."""
    from django.db import transaction

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_TABLES, [list(_KEPT)])
        guarded = dict(cursor.fetchall())
        cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT FROM {table})" for table in guarded))
        full = [table for table, rows in zip(guarded, cursor.fetchone(), strict=True) if rows]
        watched = [table for table in full if guarded[table]]
        for table in watched:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for table in full:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks to come cannot be altered
        for table in watched:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        cursor.execute(_HEAD_ROW)


@pytest.fixture(scope="session")
def places() -> Iterator[Any]:
    """Where keys can live, by kind: one of each for the whole run, whichever folder asks."""
    from tests.providers.place import Places

    with ExitStack() as stack:
        yield Places(stack)


@pytest.fixture
def embedded_services() -> Any:
    """The servers these tests run on, for tests that restart one."""
    if not STARTED:
        pytest.skip("the servers are the user's own: they are not ours to restart")
    return STARTED[0]


@pytest.fixture
def celery_eager(settings: Any) -> Iterator[None]:
    """Tasks run at once in this process."""
    from keyvault_portal.celery import app

    before = app.conf.task_always_eager, app.conf.task_eager_propagates
    app.conf.task_always_eager, app.conf.task_eager_propagates = True, True
    yield
    app.conf.task_always_eager, app.conf.task_eager_propagates = before


def other_processes() -> dict[str, str]:
    """The environment in which another process of ours meets the tests' database, broker and key files."""
    from django.conf import settings
    from django.db import connection

    if STARTED:
        config = STARTED[0].config
        database = config.database_url(str(connection.settings_dict["NAME"]))
    else:
        database = os.environ["DATABASE_URL"].rsplit("/", 1)[0] + f"/{connection.settings_dict['NAME']}"
    return os.environ | {
        "DATABASE_URL": database, "CELERY_BROKER_URL": settings.BROKER_URL, "PORTAL_PRODUCTION": "0", "SECRET_KEY": settings.SECRET_KEY,
        "TOKEN_PEPPER": settings.TOKEN_PEPPER, "PORTAL_NO_BOOTSTRAP": "1", "C_FORCE_ROOT": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip


@pytest.fixture
def worker_environment(transactional_db: None, settings: Any) -> dict[str, str]:
    """That of a worker, which finds the broker empty."""
    with Redis.from_url(settings.BROKER_URL) as broker:
        broker.flushdb()  # messages of earlier tests are about rows that are gone
    return other_processes()


@pytest.fixture
def start_worker(worker_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., warm.Process]]:
    """Start real Celery worker processes; each is stopped, by its own process group, when the test ends."""
    running: list[warm.Process] = []

    def start(*arguments: str) -> warm.Process:
        log = (tmp_path / f"worker-{len(running)}.log").open("wb")
        command = [
            "-m",
            "celery",
            "-A",
            "keyvault_portal",
            "worker",
            "--concurrency",
            "1",
            "--without-gossip",
            "--without-mingle",
            "-n",
            f"test{len(running)}-{os.getpid()}@%h",
            *arguments,
        ]
        with log:
            process = warm.start(command, env=worker_environment, output=log.fileno(), session=True)
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, 15)
    deadline = time.monotonic() + 60
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
