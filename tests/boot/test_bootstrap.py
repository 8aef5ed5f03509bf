"""The first start on a bare machine: from the hashed lock, once for real; and what it says when it cannot."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.boot.checkout import Quickstart, clone
from tests.boot.processes import clean_environment

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"


@pytest.fixture
def home(open_folder: Path) -> Path:
    return clone(open_folder)


def manage(home: Path, program: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [program, "manage.py", *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


def programs(run: Quickstart) -> set[str]:
    """What its processes run; one that ends just now (a migration, a server's first try) has no answer."""
    found = set()
    for member in run.family:
        with contextlib.suppress(psutil.Error):
            found.add(member.exe())
    return found


@pytest.mark.slow
def test_first_start_builds_the_locked_environment_once(home: Path, free_port: int) -> None:
    half = home / ".venv" / "bin"  # what a start that was interrupted early has left
    half.mkdir(parents=True)
    (half / "python").symlink_to("nowhere")
    first = Quickstart(home, ["--port", str(free_port)], clean_environment(), prefix=[sys._base_executable]).start()  # type: ignore[attr-defined]
    try:
        first.ready()
        assert "Preparing .venv with Python 3." in first.output
        assert os.path.realpath(half / "python") in programs(first)
        assert first.interrupt() == 0
        assert first.alive() == []
    finally:
        first.clean_up()
    again = manage(home, str(sys._base_executable), clean_environment(), "version")  # type: ignore[attr-defined]
    assert again.returncode == 0
    assert "Preparing" not in again.stderr
    # Only what the lock names is installed, with the tests' packages nowhere.
    listed = subprocess.run(
        [str(half / "uv"), "pip", "freeze", "--python", str(half / "python")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    installed = {line.partition("==")[0].lower() for line in listed.splitlines() if "==" in line}
    locked = {
        line.partition("==")[0].lower()
        for line in (home / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    assert installed - locked <= {"uv", "pip", "setuptools"}
    assert "pytest" not in installed


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.11"])
def test_old_python_explains_itself(home: Path, version: str) -> None:
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {version} below {PYENV}")
    environment = {"PATH": str(home / "nothing"), "HOME": str(home), "PYENV_ROOT": str(home)}
    done = manage(home, str(found[0]), environment, "quickstart")
    assert done.returncode == 1
    assert f"Python 3.12 or newer is needed and none was found (this is {version})" in done.stderr
    assert "PYTHON=/path/to/python3.13 ./manage.py" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / ".venv").exists()


def test_old_python_finds_a_newer_one(home: Path) -> None:
    found = sorted(PYENV.glob("3.8.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python 3.8 below {PYENV}")
    environment = {
        "PATH": str(home / "nothing"),
        "HOME": str(home),
        "PYENV_ROOT": str(home),
        "PYTHON": sys._base_executable,
    }  # type: ignore[attr-defined]
    (home / "requirements.lock").write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    done = manage(home, str(found[0]), environment, "quickstart")
    assert done.returncode == 1
    assert "Preparing .venv with Python 3." in done.stderr
    assert "The packages cannot be installed" in done.stderr
    assert "Traceback" not in done.stderr


def test_disk_full_while_the_environment_is_built(small_disk: Callable[[str], Path], free_port: int) -> None:
    home = clone(small_disk("60m"))
    done = manage(home, str(sys._base_executable), clean_environment(), "quickstart", "--port", str(free_port))  # type: ignore[attr-defined]
    assert done.returncode == 1
    assert "Preparing .venv" in done.stderr
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
