"""The first start on a bare machine: from the hashed lock, once for real; and what it says when it cannot."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

import psutil
import pytest

from tests.boot.checkout import Quickstart, clone
from tests.boot.processes import ROOT, clean_environment, wait_until

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
FIRST = ("__init__.py", "bootstrap.py", "bootstrap.lock")


@pytest.fixture
def home(open_folder: Path) -> Path:
    """As much of the tree as runs before there is a `.venv`."""
    for name in ("manage.py", "requirements.lock", *(f"keyvault_portal/{name}" for name in FIRST)):
        copy = open_folder / "portal" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    return open_folder / "portal"


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


def packages(home: Path) -> list[Path]:
    return list(home.glob(".venv/lib/python3.*/site-packages/*.dist-info"))


def end_when(begun: Callable[[], bool], end: Callable[[Quickstart], None], home: Path, **more: str) -> Quickstart:
    """A start that meets its end as soon as `begun`."""
    with Quickstart(home, [], clean_environment(**more), prefix=[sys._base_executable]) as run:  # type: ignore[attr-defined]
        wait_until(lambda: begun() or run.process.poll() is not None, "the start comes that far")
        assert run.process.poll() is None, run.output
        end(run)
    assert not (home / ".venv" / ".stamps").exists()
    return run


def group(sign: signal.Signals) -> Callable[[Quickstart], None]:
    """The signal as a terminal sends it, to all that run in it."""

    def end(run: Quickstart) -> None:
        os.killpg(run.process.pid, sign)
        run.end()

    return end


def kill_alone(run: Quickstart) -> None:
    """kill -9 of the start itself; its installer goes on, and the lock stays taken until that has ended."""
    family = run.look()
    run.kill()
    with (run.home / ".bootstrap-lock").open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A run in the background ignores SIGINT, and so would all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
def test_first_start_builds_the_locked_environment_whatever_was_interrupted(open_folder: Path, free_port: int) -> None:
    home = clone(open_folder)
    half = home / ".venv" / "bin"
    end_when((half / "python").exists, group(signal.SIGHUP), home)  # Python's own installer runs now
    end_when((half / "uv").exists, group(signal.SIGKILL), home)
    stopped = end_when(lambda: len(packages(home)) > 40, group(signal.SIGINT), home)
    assert stopped.process.returncode == 130
    assert "Interrupted before .venv was ready" in stopped.output
    assert "Traceback" not in stopped.output
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
    for package in distributions(path=[str(packages(home)[0].parent)]):
        assert [file for file in package.files or () if not file.locate().exists()] == []  # type: ignore[attr-defined]
    # More packages for a complete one: until they are there it is not complete.
    before = len(packages(home))
    end_when(lambda: len(packages(home)) > before, kill_alone, home, CI="true")


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.11"])
def test_old_python_explains_itself(home: Path, version: str) -> None:
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {version} below {PYENV}")
    environment = {"PATH": str(home / "nothing"), "HOME": str(home), "PYENV_ROOT": str(home)}
    done = manage(home, str(found[0]), environment, "quickstart")
    assert done.returncode == 1
    assert f"Python 3.12 or newer is needed and none was found (this is {version})" in done.stderr
    assert "python3 and python3-venv of Debian 13" in done.stderr
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


def test_python_without_ensurepip_is_refused_before_anything_is_made(home: Path) -> None:
    (home / "bare").mkdir()
    (home / "bare" / "ensurepip.py").write_text("raise ModuleNotFoundError")
    environment = {"PATH": str(home / "nothing"), "HOME": str(home), "PYTHONPATH": str(home / "bare")}
    done = manage(home, str(sys._base_executable), environment, "quickstart")  # type: ignore[attr-defined]
    assert done.returncode == 1
    assert "comes without its module ensurepip" in done.stderr
    assert "On Debian install the package python3-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / ".venv").exists()


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("exit 1", "does not run"),
        ("echo nonsense", "does not run"),
        ("echo 3.8.18; echo /usr/bin/python3.8", "is Python 3.8.18, which is too old"),
    ],
)
def test_named_python_that_does_not_fit_is_told(home: Path, script: str, fault: str) -> None:
    named = home / "named"
    named.write_text(f"#!/bin/sh\n{script}\n")
    named.chmod(0o755)
    (home / "requirements.lock").write_text("")
    (home / ".venv").write_text("")  # the end of it all, right after a Python was found
    environment = {"PATH": "/bin", "HOME": str(home), "PYTHON": str(named)}
    done = manage(home, str(sys._base_executable), environment, "quickstart")  # type: ignore[attr-defined]
    assert f"PYTHON={named} {fault}; looking for another one." in done.stderr
    assert "Preparing .venv with Python 3." in done.stderr
    assert "Traceback" not in done.stderr


def test_disk_full_while_the_environment_is_built(small_disk: Callable[[str], Path], free_port: int) -> None:
    home = clone(small_disk("60m"))
    done = manage(home, str(sys._base_executable), clean_environment(), "quickstart", "--port", str(free_port))  # type: ignore[attr-defined]
    assert done.returncode == 1
    assert "Preparing .venv" in done.stderr
    assert "The disk is full" in done.stderr
    assert "Traceback" not in done.stderr
