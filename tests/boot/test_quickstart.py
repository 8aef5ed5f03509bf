"""`./manage.py quickstart` as a newcomer meets it: real processes in a fresh clone, stopped, killed, and hindered."""

import contextlib
import http.server
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import psutil
import psycopg
import pytest
from django.core.management import CommandError, get_commands, load_command_class

from tests.boot.checkout import Browser, Quickstart, clone, migrated_before
from tests.boot.processes import clean_environment, get, wait_until

Start = Callable[..., Quickstart]
OFFICER = {"email": "ada@example.org", "name": "Ada Berg"}
PASSWORD = "a fine long phrase for tests"


@pytest.fixture
def home(open_folder: Path) -> Path:
    return clone(open_folder)


@pytest.fixture
def start(home: Path, free_port: int) -> Iterator[Start]:
    """Start quickstart in the clone, with the packages of this test run; everything is gone at the end."""
    runs: list[Quickstart] = []

    def begin(*arguments: str, **more: str) -> Quickstart:
        run = Quickstart(
            home, ["--port", str(free_port), *arguments], clean_environment(PORTAL_NO_BOOTSTRAP="1", **more)
        )
        runs.append(run.start())
        return run

    yield begin
    for run in runs:
        run.clean_up()


@pytest.fixture
def bystander() -> Iterator[psutil.Process]:
    """A process of somebody else's, which looks much like one of ours."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", "granian", "celery", "postgres"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def ports(home: Path) -> list[int]:
    config = json.loads((home / "var" / "embedded.json").read_text())
    return [config["web_port"], config["postgres_port"], config["valkey_port"]]


def listening(numbers: list[int]) -> list[int]:
    from keyvault_portal.embedded.config import answers

    return [number for number in numbers if answers(number)]


@pytest.mark.slow
def test_the_life_of_an_installation(home: Path, start: Start, bystander: psutil.Process, free_port: int) -> None:
    """In one story, because every start makes seven processes: interrupted, begun, killed, used, stopped, and begun again."""
    _killed_while_it_initialises(home, start())

    first = start().ready()
    assert not (home / "var" / "postgres.unfinished").exists()
    assert first.address.startswith(f"http://localhost:{free_port}/set-up/")
    assert first.output.count("://") == 1
    assert get(f"http://localhost:{free_port}/healthz")[0] == 200
    other = start()
    assert other.end() == 1
    assert f"Quickstart already runs in {home / 'var'} (process {first.process.pid})" in other.output
    assert get(first.address)[0] == 200
    numbers = ports(home)
    first.kill()
    assert len(first.alive()) >= 5

    second = start().ready()
    left = r"Stopped what an interrupted start had left: (postgresql|valkey|web|worker|beat), "
    assert re.search(left, second.output)
    assert first.alive() == []
    assert bystander.is_running()
    assert second.address != first.address
    assert ports(home) == numbers
    assert len(listening(numbers)) == 3
    browser = Browser()
    address, page = browser.send(second.address, password=PASSWORD, password_again=PASSWORD, **OFFICER)
    assert "/account/2fa" in address
    with pytest.raises(HTTPError) as refused:
        Browser().get(second.address)
    assert refused.value.code == 404
    second.look()
    names = " ".join(" ".join(words) for words in second.each(psutil.Process.cmdline))
    for part in (
        "bin/postgres",
        "valkey",
        "manage.py serve",
        "keyvault_portal worker",
        "keyvault_portal beat",
        "manage.py ceremony_process",
    ):
        assert part in names
    assert second.interrupt() == 0
    assert second.alive() == []
    assert listening(numbers) == []
    assert bystander.is_running()
    secrets = [run.address.rstrip("/")[-43:] for run in (first, second)]
    for log in (home / "var" / "log").iterdir():
        assert [secret for secret in secrets if secret in log.read_text()] == [], log
    mode = {path.name: path.stat().st_mode & 0o777 for path in (home / "var").glob("*.key")}
    assert mode == {"root.key": 0o600, "audit-signing.key": 0o600}

    third = start().ready()
    assert third.address == f"http://localhost:{free_port}/"
    assert "up to date" in third.output
    assert ports(home) == numbers
    _, page = Browser().send(f"{third.address}account/login/", login=OFFICER["email"], password=PASSWORD)
    assert "second factor" in page.lower() or "two-factor" in page.lower()
    assert third.interrupt() == 0
    assert third.alive() == []


def _killed_while_it_initialises(home: Path, run: Quickstart) -> None:
    unfinished = home / "var" / "postgres.unfinished"
    wait_until(lambda: unfinished.exists() or (home / "var" / "postgres").exists(), "the database is being initialised")
    run.look()
    os.killpg(run.process.pid, 9)
    run.end()
    for member in run.alive():
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()  # initdb; its folder stays half made
    shutil.rmtree(home / "var" / "postgres", ignore_errors=True)  # where it was done before it was killed
    shutil.copytree(home / "keys", unfinished, dirs_exist_ok=True)


def test_port_in_use(home: Path, start: Start, free_port: int) -> None:
    server = http.server.HTTPServer(("127.0.0.1", free_port), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        run = start()
        assert run.end() == 1
        assert (
            f"Port {free_port} is taken by another program; choose another: ./manage.py quickstart --port" in run.output
        )
        assert "Traceback" not in run.output
        assert not (home / "var" / "postgres").exists()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_damaged_passwords_file(home: Path, start: Start) -> None:
    (home / "var").mkdir()
    (home / "var" / "embedded.json").write_text('{"postgres_port": 54')
    run = start()
    assert run.end() == 1
    assert "embedded.json is damaged; restore it" in run.output
    assert "Traceback" not in run.output


def test_key_file_open_to_others(home: Path, start: Start) -> None:
    (home / "var").mkdir()
    (home / "var" / "root.key").write_text("anything")
    (home / "var" / "root.key").chmod(0o644)
    run = start()
    assert run.end() == 1
    assert "root.key (PORTAL_ROOT_KEY_FILE) is open to other users (mode 0644)" in run.output
    assert "Traceback" not in run.output


def test_disk_nearly_full(start: Start, small_disk: Callable[[str], Path]) -> None:
    run = start(PORTAL_VAR_DIR=str(small_disk("60m")))
    assert run.end() == 1
    assert "The disk is nearly full: fewer than 300 MB are free" in run.output
    assert "Traceback" not in run.output
    assert run.alive() == []


@pytest.mark.slow
def test_disk_full_at_every_later_moment(start: Start, small_disk: Callable[[str], Path]) -> None:
    """The disk fills up right after the first look at it, so that the database meets the end of it."""
    disk = small_disk("330m")
    filler = disk / "filler"
    filler.write_bytes(bytes(20 * 2**20))
    run = start(PORTAL_VAR_DIR=str(disk))
    wait_until(lambda: (disk / "valkey").exists() or run.process.poll() is not None, "the services are being started")
    with filler.open("ab") as file:
        try:
            while True:
                file.write(bytes(2**20))
                file.flush()
        except OSError:
            pass
    wait_until(lambda: run.process.poll() is not None, "quickstart gave up")
    assert run.end() == 1
    assert re.search(r"full|No space left", run.output)
    assert "Traceback" not in run.output
    assert run.alive() == []


def test_folder_that_cannot_be_written(start: Start, open_folder: Path) -> None:
    (open_folder / "file").write_text("not a folder")
    run = start(PORTAL_VAR_DIR=str(open_folder / "file" / "var"))
    assert run.end() == 1
    assert "cannot be written" in run.output
    assert "Traceback" not in run.output


@pytest.fixture
def ordinary(home: Path, django_db_setup: None) -> Callable[..., Quickstart]:
    """Start it as an ordinary user; these tests may be one already."""
    migrated_before(home)
    if os.geteuid() != 0:
        return lambda *arguments: Quickstart(home, list(arguments), clean_environment(PORTAL_NO_BOOTSTRAP="1"))
    user = pwd.getpwnam("nobody")
    # This interpreter may lie where only root may enter; its packages come by PYTHONPATH.
    python = home.parent / "python"
    ignored = shutil.ignore_patterns("test", "__pycache__", "*.a", "site-packages", "share")
    shutil.copytree(sys.base_prefix, python, symlinks=True, ignore=ignored)
    for path in (home, *home.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
    program = python / "bin" / f"python3.{sys.version_info.minor}"
    prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", str(program)]
    environment = clean_environment(PORTAL_NO_BOOTSTRAP="1", HOME=str(home), PYTHONPATH=sysconfig.get_path("purelib"))
    environment["LD_LIBRARY_PATH"] = str(python / "lib")
    return lambda *arguments: Quickstart(home, list(arguments), environment, prefix)


@pytest.mark.parametrize("words", [("quickstart", "--customers"), ("demo", "--customers"), ("demo", "--orders")])
@pytest.mark.parametrize("count", ["-5", "0", "many"])
def test_demo_of_no_rows_is_refused(words: tuple[str, str], count: str) -> None:
    name, option = words
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    assert vars(parser.parse_args([option, "1"]))[option[2:]] == 1
    with pytest.raises(CommandError, match=f"argument {option}: '{count}' is no whole number of at least 1"):
        parser.parse_args([option, count])


@pytest.mark.slow
def test_demo_makes_everything_once_for_an_ordinary_user(
    home: Path, ordinary: Callable[..., Quickstart], free_port: int
) -> None:
    words = ("--port", str(free_port), "--demo", "--customers", "400")
    people = ("Ada Berg", "Boris Lind", "Chen Wu", "Dana Ruiz", "Emil Novak", "Fay Okafor")
    with ordinary(*words) as first:
        first.ready()
        assert set(first.each(lambda member: member.uids().real)) == {home.stat().st_uid} != {0}
        links = _sign_in_links(first.output)
        assert len(links) == len(set(links)) == len(people)
        for name in people:
            assert name in first.output
        address, _ = Browser().send(links[-1])
        assert "/account/" in address or address.endswith("/")
        counts = _counts(home)
        assert counts["keys"] == 22
        assert counts["customers"] == 400
        assert first.interrupt() == 0
        assert first.alive() == []
    with ordinary(*words) as second:
        second.ready()
        assert _counts(home) == counts
        assert len(set(_sign_in_links(second.output)) - set(links)) == len(people)
        assert second.interrupt() == 0
        assert second.alive() == []


def _sign_in_links(output: str) -> list[str]:
    return re.findall(r"^ *(http://localhost:\d+/sign-in/\S+/)$", output, flags=re.MULTILINE)


def _counts(home: Path) -> dict[str, int]:
    from keyvault_portal.embedded import load_config

    config = load_config(home / "var")
    assert config is not None
    found = {}
    for url, tables in (
        (config.database_url(), {"keys": "keys_key", "people": "accounts_person", "stores": "keys_datastore"}),
        (config.further_url("shop", "shop"), {"customers": "customers", "orders": "orders"}),
    ):
        with psycopg.connect(url) as connection:
            for name, table in tables.items():
                row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert row is not None
                found[name] = row[0]
    return found
