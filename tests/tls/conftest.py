"""One hierarchy, one responder and one back end for all servers of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates.tls.configuration import ClientCertificates, Configuration
from certificates.tls.profiles import ProfileName, ServerKind
from tests.ports import reserved_port
from tests.tls import servers
from tests.tls.authority import Hierarchy

type Asks = Callable[..., Configuration]


@pytest.fixture(scope="module")
def hierarchy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hierarchy]:
    answers: dict[str, bytes] = {}
    with servers.responder(answers) as port:
        made = Hierarchy(tmp_path_factory.mktemp("pki"), f"http://127.0.0.1:{port}")
        answers.update({kind: made.servers.answer(leaf) for kind, leaf in made.leaves.items()})
        yield made


@pytest.fixture(scope="module")
def backend() -> Iterator[int]:
    with servers.echo() as port:
        yield port


@pytest.fixture(scope="module")
def asks(hierarchy: Hierarchy, backend: int) -> Asks:
    """A configuration on a free port, with the files of the hierarchy."""

    def ask(
        server: ServerKind, profile: ProfileName, kind: str = "ec", *, mutual: bool = False, **more: Any
    ) -> Configuration:
        names = ("service-payments",)
        clients = ClientCertificates(
            authorities=hierarchy.path("authorities.pem"), revocations=hierarchy.path("revoked.pem"), names=names
        )
        return Configuration(**{
            "server": server, "profile": profile, "names": ("portal.example",), "address": "127.0.0.1", "port": reserved_port(),
            "certificate": hierarchy.path(f"{kind}.pem"), "key": hierarchy.path(f"{kind}.pem.key"), "chain": hierarchy.path("issuers.pem"),
            "backend": f"127.0.0.1:{backend}", "staple": "" if server is ServerKind.NGINX else hierarchy.path(f"{kind}.pem.ocsp"),
            "clients": clients if mutual else None,
        } | more)  # fmt: skip

    return ask


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    """Starts servers that end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(asked: Configuration, text: str, **more: Any) -> servers.Running:
            return stack.enter_context(servers.serving(asked, text, tmp_path / str(asked.port), **more))

        yield start
