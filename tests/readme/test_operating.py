"""The README's way to operate the portal: its environment file, commands and units, on servers of the tests' own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ceremonies.errors import ProcessUnavailable
from ceremonies.process.client import CeremonyProcess
from keys.keyholder.client import Keyholder
from keyvault_portal import embedded
from keyvault_portal.embedded.placement import place
from keyvault_portal.errors import Sealed
from tests.boot.checkout import clone
from tests.boot.processes import clean_environment, get, stop, wait_until
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
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Operator"]:
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
        values |= {
            "DATABASE_URL": services.ensure_database("portal", "portal"),
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
def test_the_units_operate_the_portal(portal: Operator, free_port: int) -> None:
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?\s*", portal.run(portal.build))
    assert "https://keys.example.org/set-up/" in portal.run(portal.set_up)
    units = _units()
    assert sorted(units) == [f"keyvault-{name}.service" for name in ("beat", "ceremonies", "keyholder", "web", "worker")]
    running = {}
    try:
        for name, text in units.items():
            (command,) = re.findall(r"^ExecStart=/opt/keyvault-portal/\.venv/bin/(.*)$", text, flags=re.MULTILINE)
            assert "WorkingDirectory=/opt/keyvault-portal\n" in text
            assert "EnvironmentFile=/etc/keyvault-portal/portal.env\n" in text
            with (portal.folder / f"{name}.log").open("wb") as log:
                running[name] = subprocess.Popen(
                    [str(BIN / command.split()[0]), *command.split()[1:]], cwd=portal.home, stdout=log, stderr=log,
                    env=portal.environment | {"WEB_PORT": str(free_port)}, start_new_session=True,
                )  # fmt: skip
        wait_until(lambda: get(f"http://127.0.0.1:{free_port}/healthz")[0] == 200, "the web server answers")
        assert ":8000/" in portal.health
        assert '"status": "ok"' in portal.run(portal.health.replace(":8000/", f":{free_port}/"))
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


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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


@proves("A proxy in front", "nginx")
def test_proxy_speaks_to_the_default_port(portal: Operator) -> None:
    text = "\n".join(block.text for block in blocks("A proxy in front", "nginx"))
    assert text.count("{") == text.count("}")
    assert "proxy_pass http://127.0.0.1:8000;" in text
    assert "X-Forwarded-Proto https;" in text
    assert portal.environment["TRUST_PROXY"] == "1"
