"""A setting that cannot be what it says ends every process with one sentence, in which no URL is repeated."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from keyvault_portal import environment
from tests.boot.processes import ROOT, clean_environment, production_settings
from tests.boot.test_checks import COMMANDS

PASSWORD = "pa#ss-4711"


@pytest.mark.parametrize(
    ("value", "fits"), [("1", True), ("65535", True), ("0", False), ("65536", False), ("-1", False), ("abc", False), ("2.5", False)]
)  # fmt: skip
def test_whole_number(monkeypatch: pytest.MonkeyPatch, value: str, fits: bool) -> None:
    monkeypatch.setenv("WEB_PORT", value)
    if fits:
        assert environment.whole("WEB_PORT", 8000, most=65535) == int(value)
    else:
        with pytest.raises(SystemExit, match=f"WEB_PORT is '{value}': .* at least 1 and at most 65535"):
            environment.whole("WEB_PORT", 8000, most=65535)


@pytest.mark.parametrize(
    ("value", "says"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False), ("off", False), ("", True)]
)  # fmt: skip
def test_flag(monkeypatch: pytest.MonkeyPatch, value: str, says: bool) -> None:
    monkeypatch.setenv("PORTAL_PRODUCTION", value)
    assert environment.flag("PORTAL_PRODUCTION", True) is says


def test_a_flag_that_is_mistyped_turns_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_PRODUCTION", "onn")
    with pytest.raises(SystemExit, match="PORTAL_PRODUCTION is 'onn': it must be 1 or 0"):
        environment.flag("PORTAL_PRODUCTION", True)


@pytest.mark.parametrize(("value", "fits"), [("0.5", True), ("0", False), ("nan", False), ("inf", False), ("5 s", False)])  # fmt: skip
def test_seconds(monkeypatch: pytest.MonkeyPatch, value: str, fits: bool) -> None:
    monkeypatch.setenv("PROVIDER_TIMEOUT_SECONDS", value)
    if fits:
        assert environment.seconds("PROVIDER_TIMEOUT_SECONDS", 5) == float(value)
    else:
        with pytest.raises(SystemExit, match=f"PROVIDER_TIMEOUT_SECONDS is '{value}'"):
            environment.seconds("PROVIDER_TIMEOUT_SECONDS", 5)


def test_choice_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "warning")
    assert environment.choice("LOG_LEVEL", "INFO", ("INFO", "WARNING")) == "WARNING"
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(SystemExit, match="LOG_LEVEL is 'LOUD': it must be one of INFO, WARNING"):
        environment.choice("LOG_LEVEL", "INFO", ("INFO", "WARNING"))


def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_PORT", "LOG_LEVEL", "DATABASE_URL"):
        monkeypatch.setenv(name, "")
    assert environment.whole("WEB_PORT", 8000) == 8000
    assert environment.choice("LOG_LEVEL", "INFO", ("INFO",)) == "INFO"
    assert environment.url("DATABASE_URL", "postgresql") is None


@pytest.mark.parametrize(
    "value", [PASSWORD, "mysql://u:p@db/x", "postgresql:nothing", f"postgresql://u:{PASSWORD}@db/x", "postgresql://u:p@db:port/x"]
)  # fmt: skip
def test_url_is_refused_without_being_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DATABASE_URL", value)
    with pytest.raises(SystemExit) as refused:
        environment.url("DATABASE_URL", "postgresql", "postgres")
    said = str(refused.value)
    assert said.startswith("The setting DATABASE_URL cannot be read: it must be a URL that starts with postgresql://")
    assert value not in said
    assert PASSWORD not in said


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("postgresql://u:p@db/x?sslmode=require&currentSchema=portal", True), ("postgresql:///x?host=/run/postgresql", True),
        ("postgresql://u:p@db/x?conn_max_age=5", False), ("postgresql://u:1?secret=@db/x", False),
    ],
)  # fmt: skip
def test_a_database_with_options_that_no_client_knows_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str, fits: bool
) -> None:
    monkeypatch.setenv("DATABASE_URL", value)
    assert _taken(lambda: environment.database_url("DATABASE_URL")) == (value if fits else None)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("redis://:p@db:6379/0", True), ("redis://db", True), ("rediss://db:6380/1?ssl_cert_reqs=required", True),
        ("redis://db/one", False), ("redis://db/0?socket_timeout=5", False), ("redis://db/0?ssl_cert_reqs=required", False),
    ],
)  # fmt: skip
def test_a_broker_that_one_of_its_clients_would_not_take_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str, fits: bool
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", value)
    assert _taken(lambda: environment.broker_url("CELERY_BROKER_URL")) == (value if fits else None)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("https://keys.example.org", True), ("http://[::1]:8000/", True), ("keys.example.org", False), ("https://", False),
        ("https://keys.example.org:port", False), ("https://[::1", False), ("https://keys.example.org/portal", False),
        ("https://keys.example.org?x", False), ("ftp://keys.example.org", False),
    ],
)  # fmt: skip
def test_origin(monkeypatch: pytest.MonkeyPatch, value: str, fits: bool) -> None:
    monkeypatch.setenv("PORTAL_ORIGIN", value)
    assert _taken(lambda: environment.origin("PORTAL_ORIGIN", "")) == (value if fits else None)
    assert _taken(lambda: environment.origins("PORTAL_ORIGIN", "")) == ([value] if fits else None)


@pytest.mark.parametrize(
    ("value", "found"),
    [("", []), ("998, 999", [998, 999]), ("x", None), ("-5", None), ("4294967295", None), ("998;999", None)],
)
def test_users(monkeypatch: pytest.MonkeyPatch, value: str, found: list[int] | None) -> None:
    monkeypatch.setenv("PORTAL_KEYHOLDER_USERS", value)
    assert _taken(lambda: environment.users("PORTAL_KEYHOLDER_USERS")) == found


@pytest.mark.parametrize(
    ("value", "fits"), [("db.example.org,10.0.0.0/8,fc00::/7,10.1.1.1", True), ("10.0.0.0/99", False), ("10.0.0.1/8", False)]
)  # fmt: skip
def test_hosts(monkeypatch: pytest.MonkeyPatch, value: str, fits: bool) -> None:
    monkeypatch.setenv("STORE_ALLOWED_HOSTS", value)
    assert _taken(lambda: environment.hosts("STORE_ALLOWED_HOSTS")) == (value.split(",") if fits else None)


def test_what_a_path_an_address_and_a_line_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, read in (
        ("PORTAL_CEREMONY_SOCKET", "/run/" + "c" * 103, environment.socket_path),
        ("WEB_HOST", "localhost", lambda name: environment.ip(name, "127.0.0.1")),
        ("MINUTES_TSA_URL", "tsa.example.org", environment.web_address),
        ("PORTAL_AUDIT_ORIGIN", "first\nsecond", environment.line),
    ):
        monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit, match=f"The setting {name} .*: it must be "):
            read(name)


def _taken(read: Callable[[], object]) -> object:
    """What is read, or None where it is refused."""
    with suppress(SystemExit):
        return read()
    return None


@pytest.mark.parametrize(
    ("process", "name", "value"),
    [
        ("serve", "WEB_HOST", "localhost"),
        ("wsgi", "PORTAL_ORIGIN", "keys.example.org"),
        ("wsgi", "STORE_ALLOWED_HOSTS", "10.0.0.1/8"),
        ("worker", "CELERY_BROKER_URL", f"redis://:{PASSWORD.replace('#', '%23')}@db/one"),
        ("keyholder", "PORTAL_KEYHOLDER_USERS", "x"),
        ("ceremony_process", "PORTAL_KEYHOLDER_USERS", "x"),
        ("serve", "WEB_PORT", "abc"),
        ("serve", "LOG_LEVEL", "LOUD"),
        ("wsgi", "REENCRYPTION_WORKERS", "x"),
        ("worker", "DATABASE_URL", f"mysql://u:{PASSWORD}@db/x"),
        ("beat", "CELERY_BROKER_URL", f"amqp://u:{PASSWORD}@db/x"),
        ("set_up", "DATABASE_URL", PASSWORD),
    ],
)
def test_processes_end_with_the_sentence(process: str, name: str, value: str, tmp_path: Path) -> None:
    settings = production_settings(tmp_path, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0")
    words = COMMANDS.get(process, ["manage.py", process])
    command = [sys.executable, *(word for word in words if word not in {"--port", "1"})]
    done = subprocess.run(command, cwd=ROOT, env=settings | {name: value}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"The setting {name} ")
    assert done.stderr.count("\n") == 1
    assert PASSWORD.partition("#")[2] not in done.stderr


def test_a_socket_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = production_settings(tmp_path, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0")
    settings["PORTAL_CEREMONY_SOCKET"] = str(tmp_path / "file" / "ceremony.sock")
    command = [sys.executable, "manage.py", "ceremony_process"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "PORTAL_CEREMONY_SOCKET cannot be listened at" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = clean_environment(PORTAL_NO_BOOTSTRAP="1", PORTAL_VAR_DIR=str(tmp_path / "file"))
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / 'file'} (PORTAL_VAR_DIR) cannot be written: ")
    assert done.stderr.count("\n") == 1
