"""Real operation: web, worker and beat as processes of their own, by production's rules, on servers of one's own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from keyvault_portal import embedded
from tests.boot.processes import ROOT, get, production_settings, stop, wait_until

ROTATE = """
from keys.demo.organisation import STORY_KEY, agree, load
from keys.services import rotation
from keyvault_portal.errors import ApprovalRequired
org = load()
try:
    rotation.request_rotation(actor=org.actor("ada"), key_id=org.keys[STORY_KEY].pk, reason="The cryptoperiod ends.")
except ApprovalRequired as waiting:
    print(agree(org, waiting.request_id, "boris", "chen").state)
"""


@dataclass
class Installation:
    """Servers that know nothing of the portal, and the portal's environment."""

    folder: Path
    environment: dict[str, str]
    port: int
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.port}{path}", **headers)


@pytest.fixture
def installation(open_folder: Path, free_port: int) -> Iterator[Installation]:
    services = embedded.Services(open_folder / "own", durable=False)
    services.start()
    try:
        environment = production_settings(
            open_folder / "portal", services.ensure_database("portal", "portal"), services.config.broker_url()
        )
        environment["SHOP_DATABASE_URL"] = services.ensure_database("shop", "shop")
        found = Installation(open_folder, environment, free_port)
        (open_folder / "portal" / "keys").mkdir(parents=True, mode=0o700)
        yield found
        for process in found.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    finally:
        services.stop()


BEHIND_PROXY = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.9", "Host": "keys.example.org"}


@pytest.mark.slow
def test_separate_processes_serve_and_rotate(installation: Installation) -> None:
    portal = installation
    said = portal.run("set_up")
    link = re.search(r"https://keys\.example\.org(/set-up/([0-9a-f]{32})-(\S{43})/)", said)
    assert link
    for name in ("root.key", "audit.key"):
        assert (portal.folder / "portal" / "keys" / name).stat().st_mode & 0o777 == 0o600
    assert "portal.E001" not in portal.run("check", "--deploy", "--tag", "security")
    bare = portal.environment | {"DATABASE_URL": portal.environment["SHOP_DATABASE_URL"]}
    for command in ("verify_audit", "demo"):
        done = subprocess.run(
            [sys.executable, "manage.py", command], cwd=ROOT, env=bare, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "run ./manage.py set_up" in done.stderr
        assert "Traceback" not in done.stderr
    portal.run("collectstatic", "--noinput", "--verbosity", "0")

    portal.start("web", "manage.py", "serve", "--port", str(portal.port), "--workers", "2", "--threads", "4")
    portal.start(
        "worker", "-m", "celery", "-A", "keyvault_portal", "worker", "--concurrency", "3", "--loglevel", "INFO"
    )
    portal.start("beat", "-m", "celery", "-A", "keyvault_portal", "beat", "--loglevel", "INFO")
    wait_until(lambda: portal.get("/healthz")[0] == 200, "the web server answers")
    assert '"status": "ok"' in portal.get("/healthz")[1]
    assert portal.get(f"{link[1]}?from=mail-4711", **BEHIND_PROXY)[0] == 200
    assert portal.get("/", Host="elsewhere.example.org", X_Forwarded_Proto="https")[0] == 400
    status, page = portal.get("/account/login/", **BEHIND_PROXY)
    assert status == 200
    styles = re.findall(r'href="(/static/[^"]+\.css)"', page)
    assert styles
    assert [portal.get(path, **BEHIND_PROXY)[0] for path in styles] == [200] * len(styles)

    assert "There is a security officer already" not in portal.run("set_up")
    portal.run("demo", "--seed-only", "--customers", "300", "--orders", "20")
    assert "There is a security officer already" in portal.run("set_up")
    assert portal.run("shell", "--no-imports", "--command", ROTATE).strip() == "executed"
    with psycopg.connect(portal.environment["DATABASE_URL"], autocommit=True) as database:
        rotation = "SELECT state FROM keys_rotation"
        wait_until(lambda: database.execute(rotation).fetchall() == [("re_encrypted",)], "the worker moved all items")
        moved = database.execute("SELECT sum(items_done) FROM re_encryption_jobs").fetchone()
    assert moved == (900,)
    # The rows are there before the task has ended and said so.
    wait_until(
        lambda: bool(re.search(r"Task keys\.reencrypt\[.*\] succeeded", portal.log("worker"))), "the walk is told"
    )
    wait_until(lambda: "Task keys.sweep" in portal.log("worker"), "beat's ticks reach the worker")
    assert "Sending due task" in portal.log("beat")

    assert [stop(process) for process in portal.running.values()] == [0, 0, 0]
    web = portal.log("web")
    assert f'203.0.113.9 "GET /set-up/{link[2]}-.../ HTTP/1.1" 200' in web
    assert "mail-4711" not in web
    for name in portal.running:
        text = portal.log(name)
        assert link[3] not in text
        for secret in ("SECRET_KEY", "TOKEN_PEPPER", "DATABASE_URL"):
            assert portal.environment[secret] not in text
        assert "Traceback" not in text


def test_serve_without_collected_styles_says_so(open_folder: Path) -> None:
    environment = production_settings(open_folder, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0")
    (open_folder / "keys").mkdir(mode=0o700)
    for name in ("root.key", "audit.key"):
        (open_folder / "keys" / name).touch(mode=0o600)
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run ./manage.py collectstatic first" in done.stderr
