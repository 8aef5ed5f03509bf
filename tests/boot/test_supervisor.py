"""What the supervisor does with a server that ends, and ends again while it is started."""

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from keyvault_portal.embedded import EmbeddedError
from keyvault_portal.quickstart import supervisor
from keyvault_portal.quickstart.supervisor import CRASHES, Supervisor


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE", 0)


class Server:
    """Ended, and ends so many more times before it has started."""

    def __init__(self, times: int) -> None:
        self.left, self.starts = times, 0
        self.process: Any = SimpleNamespace(poll=lambda: 1)

    def start(self) -> None:
        self.starts += 1
        if self.left:
            self.left -= 1
            raise EmbeddedError("The server did not start.")
        self.process = SimpleNamespace(poll=lambda: None)


def watched(server: Server) -> Supervisor:
    made = Supervisor.__new__(Supervisor)
    made.console, made.children = Console(quiet=True), {}
    made.services = SimpleNamespace(valkey=SimpleNamespace(process=None), postgresql=server)  # type: ignore[assignment]
    return made


def test_a_server_that_is_ended_while_it_starts_is_started_again() -> None:
    server = Server(CRASHES)
    watched(server).watch_once()
    assert (server.starts, server.process.poll()) == (CRASHES + 1, None)


def test_a_server_that_keeps_ending_ends_the_rest_in_words() -> None:
    server = Server(100)
    with pytest.raises(EmbeddedError, match="did not start"):
        watched(server).watch_once()
    assert server.starts == CRASHES + 1
