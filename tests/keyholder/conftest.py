"""A real keyholder process over the test's database, and the organisation that asks it."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from keys.keyholder.client import Keyholder
from keys.services import key_views, materials, seal_watch
from keys.services.providers import breaker
from keyvault_portal.errors import Sealed
from tests import warm
from tests.providers.grounds import KINDS, Ground, standing
from tests.shop import fresh_caches, organisation

__all__ = ["fresh_caches", "organisation"]


@pytest.fixture
def socket_path() -> Iterator[Path]:
    # A path of a Unix socket holds 107 bytes: pytest's own folders are too deep for it.
    with tempfile.TemporaryDirectory(prefix="kvp-", dir="/tmp") as folder:
        yield Path(folder) / "run" / "keyholder.sock"


@pytest.fixture
def start_keyholder(
    worker_environment: dict[str, str], socket_path: Path, tmp_path: Path
) -> Iterator[Callable[..., warm.Process]]:
    """start(NAME="value"): the real process, with more in its environment; returns once it answers."""
    running: list[warm.Process] = []

    def start(**extra: str) -> warm.Process:
        environment = worker_environment | {"PORTAL_KEYHOLDER_SOCKET": str(socket_path)} | extra
        log = (tmp_path / f"keyholder-{len(running)}.log").open("wb")
        with log:
            process = warm.start(["manage.py", "keyholder"], env=environment, output=log.fileno())
        running.append(process)
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                Keyholder(socket_path).status()
            except Sealed:
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.1)
            else:
                return process
        raise AssertionError(Path(log.name).read_text())

    yield start
    Keyholder(socket_path).close()
    for process in running:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


@pytest.fixture
def keyholder(start_keyholder: Callable[[], Any], socket_path: Path, settings: Any) -> Iterator[Keyholder]:
    """The running keyholder, asked by this process, too."""
    start_keyholder()
    settings.KEYHOLDER_SOCKET = str(socket_path)
    forget()
    yield Keyholder(socket_path)
    Keyholder(socket_path).close()
    settings.KEYHOLDER_SOCKET = ""
    forget()


def forget() -> None:
    """As in a process that has just started."""
    materials.forget()
    key_views.forget()
    seal_watch.forget()


@pytest.fixture
def user_nobody() -> int:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    return 65534


@pytest.fixture
def lay(places: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """lay(kind): that place, ready to be registered."""
    with ExitStack() as stack:

        def make(kind: str) -> Ground:
            return stack.enter_context(standing(kind, places, tmp_path, settings, monkeypatch))

        yield make
        for kind in KINDS:
            breaker.answered(kind.replace("_", "-"))


@pytest.fixture
def portal(organisation: Any, start_keyholder: Any, socket_path: Path, settings: Any) -> Iterator[Any]:
    """portal(ground, ...): a running keyholder that reaches these places; called again, it was restarted without its key file."""
    settings.KEYHOLDER_SOCKET = str(socket_path)
    running: list[Any] = []

    def start(*grounds: Ground) -> Keyholder:
        extra = {name: value for one in grounds for name, value in one.environment.items()}
        if running:
            running[-1].kill()
            running[-1].wait()
            socket_path.unlink(missing_ok=True)
            extra["PORTAL_ROOT_KEY_FILE"] = str(socket_path.parent / "no-such-file")
        running.append(start_keyholder(**extra))
        forget()
        return Keyholder(socket_path)

    yield start
    Keyholder(socket_path).close()
    settings.KEYHOLDER_SOCKET = ""
    forget()
