"""A small fleet with real TLS on loopback: servers that present what the portal issued, clients that trust what they were told to."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certificates.models import Authority, Certificate
from certificates.rollover import parties
from certificates.services import issuing
from certificates.services.reading import pem
from tests.certificates.conftest import csr


@dataclass
class Server:
    """Serves TLS for one name; `renew` asks the portal for the next certificate, with a new key."""

    name: str
    folder: Path
    tree: Any
    certificate: Certificate | None = None
    context: ssl.SSLContext | None = None
    port: int = 0

    def issue(self, authority: Authority) -> None:
        private, request = self._request()
        order = issuing.order_from_csr(request, profile="server", names=[("dns", self.name)])
        self._serve(private, issuing.issue_certificate(actor=self.tree.officer, authority_id=authority.pk, order=order))

    def renew(self) -> None:
        assert self.certificate is not None
        private, request = self._request()
        made = issuing.renew_from_csr(actor=self.tree.officer, certificate_id=self.certificate.pk, raw=request)
        self._serve(private, made)

    def _request(self) -> tuple[Any, bytes]:
        private = ec.generate_private_key(ec.SECP256R1())
        return private, csr(self.name, key=private)

    def _serve(self, private: Any, made: Certificate) -> None:
        key, chain = self.folder / f"{self.name}.key", self.folder / f"{self.name}.pem"
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        chain.write_text(pem(made))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self.context, self.certificate = context, made

    @contextmanager
    def listening(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            assert self.context is not None
            raw.settimeout(60)
            try:
                with self.context.wrap_socket(raw, server_side=True) as secured:
                    secured.recv(1)
            except OSError:
                raw.close()


@dataclass
class Client:
    """Connects to every server, and reports its bundle whenever it changes."""

    name: str
    tree: Any
    bundle: list[Authority] = field(default_factory=list)

    def trust(self, *authorities: Authority) -> None:
        self.bundle = list(authorities)
        found = [row.certificate.fingerprint for row in authorities if row.certificate is not None]
        parties.report_bundle(actor=self.tree.officer, ring=self.tree.ring, name=self.name, fingerprints=found)

    def reaches(self, server: Server) -> bool:
        """One real handshake, names checked."""
        roots = "".join(pem(row.certificate) for row in self.bundle if row.certificate is not None)
        context = ssl.create_default_context(cadata=roots)
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
            try:
                with context.wrap_socket(raw, server_hostname=server.name) as secured:
                    secured.send(b"x")
            except ssl.SSLCertVerificationError:
                return False
        return True


@dataclass
class Fleet:
    servers: list[Server]
    clients: list[Client]

    def failures(self) -> int:
        """How many of all connections are refused now."""
        return sum(not client.reaches(server) for client in self.clients for server in self.servers)


@contextmanager
def fleet(tree: Any, folder: Path, authority: Authority) -> Iterator[Fleet]:
    """Three servers with certificates of `authority`, three clients that trust it."""
    servers = [Server(f"s{number}.example.org", folder, tree) for number in range(3)]
    clients = [Client(f"client-{number}", tree) for number in range(3)]
    with ExitStack() as stack:
        for server in servers:
            server.issue(authority)
            stack.enter_context(server.listening())
        for client in clients:
            client.trust(authority)
        yield Fleet(servers, clients)


def let_end(*rows: Certificate | None) -> None:
    """Time goes by: these have ended."""
    Certificate.objects.filter(pk__in=[row.pk for row in rows if row]).update(not_after=datetime.now(UTC))
