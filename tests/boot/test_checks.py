"""Production refuses to start unsafe: each finding by itself, and all three kinds of process with the findings."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keyvault_portal import checks
from tests.boot.processes import ROOT, production_settings

SECRET = "k3Jt9wQzP1xVb7Lm5Rn8Ys2Du4Hf6Gc0AeTiOoUu-Kj_Zq"
PEPPER = "w7Xc1Nf5Vg3Bh9Kd0Lm2Qp4Rt6Sy8Uz-Ea_IoJjAbHnMkPqW"

SERVERS = ("DATABASE_URL", "CELERY_BROKER_URL")


@pytest.fixture
def production(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Settings with which production starts."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    for name in ("root.key", "audit.key"):
        (folder / name).touch(mode=0o600)
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("EMAIL_HOST", "mail.example.org")
    for name in SERVERS:
        monkeypatch.setenv(name, "not looked at")
    settings.PRODUCTION, settings.EMBEDDED, settings.DEBUG = True, False, False
    settings.SECRET_KEY, settings.TOKEN_PEPPER = SECRET, PEPPER
    settings.PORTAL_ORIGIN, settings.ALLOWED_HOSTS = "https://keys.example.org", ["keys.example.org"]
    settings.ROOT_KEY_FILE, settings.AUDIT_KEY_FILE = folder / "root.key", folder / "audit.key"
    return settings


def test_safe_settings_start(production: Any) -> None:
    assert list(checks.findings()) == []
    assert checks.check_production() == []
    checks.refuse_to_start()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"DEBUG": True}, "unset DEBUG"),
        ({"SECRET_KEY": "insecure-before-first-start"}, "SECRET_KEY is not set to a value of your own"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too short"),
        ({"SECRET_KEY": "ab" * 40}, "SECRET_KEY is too short or too regular"),
        ({"TOKEN_PEPPER": SECRET}, "TOKEN_PEPPER is missing or the same as SECRET_KEY"),
        ({"TOKEN_PEPPER": "pepper"}, "TOKEN_PEPPER is too short"),
        ({"PORTAL_ORIGIN": "http://keys.example.org"}, "PORTAL_ORIGIN does not start with https://"),
        ({"PORTAL_ORIGIN": "https://"}, "PORTAL_ORIGIN does not start with https://"),
        ({"ALLOWED_HOSTS": []}, "ALLOWED_HOSTS is empty"),
        ({"ALLOWED_HOSTS": ["keys.example.org", "*"]}, "ALLOWED_HOSTS allows every name"),
        ({"ALLOWED_HOSTS": ["localhost"]}, "ALLOWED_HOSTS does not hold keys.example.org"),
    ],
)
def test_each_unsafe_setting_is_one_finding(production: Any, change: dict[str, Any], said: str) -> None:
    for name, value in change.items():
        setattr(production, name, value)
    found = list(checks.findings())
    assert len(found) == 1
    assert said in found[0]
    with pytest.raises(SystemExit, match="Not started"):
        checks.refuse_to_start()
    assert [message.id for message in checks.check_production()] == ["portal.E001"]


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("value", [None, ""])
def test_production_without_servers_of_its_own_is_refused(
    production: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    assert [text.partition(":")[0] for text in checks.findings()] == [f"{name} is not set"]
    production.PRODUCTION = False
    assert list(checks.findings()) == []


@pytest.mark.parametrize("origin", ["https://keys.example.org/", "https://keys.example.org:8443"])
def test_origin_may_have_a_port_or_a_slash(production: Any, origin: str) -> None:
    production.PORTAL_ORIGIN = origin
    assert list(checks.findings()) == []


@pytest.mark.parametrize("name", ["ROOT_KEY_FILE", "AUDIT_KEY_FILE"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
@pytest.mark.parametrize("embedded", [True, False])
def test_key_file_open_to_others_is_refused_everywhere(production: Any, name: str, mode: int, embedded: bool) -> None:
    if embedded:
        production.PRODUCTION, production.EMBEDDED = False, True
    getattr(production, name).chmod(mode)
    found = list(checks.findings())
    assert len(found) == 1
    assert f"PORTAL_{name}" in found[0]
    assert f"{mode:04o}" in found[0]


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o700, False), (0o755, False), (0o1777, False), (0o770, True), (0o777, True)]
)
def test_folder_that_others_may_write_is_refused_in_production(production: Any, mode: int, refused: bool) -> None:
    production.ROOT_KEY_FILE.parent.chmod(mode)
    assert len(list(checks.findings())) == (2 if refused else 0)
    production.PRODUCTION = False
    assert list(checks.findings()) == []


def test_missing_key_file_matters_only_in_production(production: Any) -> None:
    production.AUDIT_KEY_FILE.unlink()
    checks.refuse_to_start(before_set_up=True)
    assert [text.partition(": ")[0] for text in checks.findings()] == [
        f"{production.AUDIT_KEY_FILE} (PORTAL_AUDIT_KEY_FILE) is missing"
    ]
    production.PRODUCTION = False
    assert list(checks.findings()) == []


@pytest.mark.parametrize("production_rules", [True, False])
def test_an_operation_to_be_signed_that_does_not_exist_is_refused(production: Any, production_rules: bool) -> None:
    production.PRODUCTION, production.APPROVALS_SIGNED = production_rules, ["ceremny.open", "key.rotate", "*"]
    (found,) = checks.findings()
    assert found.startswith("APPROVALS_SIGNED names ceremny.open, and no operation")


def test_missing_mail_server_is_a_warning(production: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMAIL_HOST")
    assert [message.id for message in checks.check_production()] == ["portal.W001"]
    assert list(checks.findings()) == []


COMMANDS = {
    "set_up": ["manage.py", "set_up"],
    "serve": ["manage.py", "serve", "--port", "1"],
    "wsgi": ["-c", "import keyvault_portal.wsgi"],
    "worker": ["-m", "celery", "-A", "keyvault_portal", "worker"],
    "beat": ["-m", "celery", "-A", "keyvault_portal", "beat"],
}


@pytest.mark.parametrize("process", COMMANDS)
def test_every_kind_of_process_refuses_with_the_sentences(process: str, tmp_path: Path) -> None:
    environment = production_settings(tmp_path, "postgresql://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1/0")
    environment |= {"DEBUG": "1", "TOKEN_PEPPER": environment["SECRET_KEY"], "CELERY_BROKER_URL": ""}
    done = subprocess.run(
        [sys.executable, *COMMANDS[process]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "unset DEBUG" in said
    assert "TOKEN_PEPPER is missing or the same" in said
    assert "CELERY_BROKER_URL is not set" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("**/*.key")) == []
    assert environment["SECRET_KEY"] not in said


def test_embedded_process_refuses_an_open_key_file(tmp_path: Path) -> None:
    root = tmp_path / "root.key"
    root.write_text("anything")
    root.chmod(0o644)
    environment = {
        name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "PORTAL_PRODUCTION"}
    }
    environment |= {"PORTAL_NO_BOOTSTRAP": "1", "PORTAL_VAR_DIR": str(tmp_path), "PORTAL_ROOT_KEY_FILE": str(root)}
    done = subprocess.run(
        [sys.executable, *COMMANDS["wsgi"]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "open to other users (mode 0644)" in done.stderr
