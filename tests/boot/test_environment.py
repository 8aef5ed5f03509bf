"""A setting that cannot be what it says ends every process with one sentence, in which no URL is repeated."""

import subprocess
import sys
from pathlib import Path

import pytest

from keyvault_portal import environment
from tests.boot.processes import ROOT, production_settings
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
    ("process", "name", "value"),
    [
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
    command = [sys.executable, *(word for word in COMMANDS[process] if word not in {"--port", "1"})]
    done = subprocess.run(command, cwd=ROOT, env=settings | {name: value}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"The setting {name} ")
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr
