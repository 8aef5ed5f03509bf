"""TLS servers on loopback for scans: plain Python, with a certificate that can be replaced while they run."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.tls.authority import Issued


class Endpoint:
    """A server at `port`; `show` puts another certificate in place for the next handshake."""

    def __init__(self, folder: Path, shown: Issued) -> None:
        self._folder = folder
        self._context = self._of(shown, shown.chain_pem)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _of(self, shown: Issued, chain: bytes) -> ssl.SSLContext:
        path = self._folder / "chain.pem"
        path.write_bytes(chain + shown.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def show(self, shown: Issued, *, chain: bytes | None = None) -> None:
        self._context = self._of(shown, shown.chain_pem if chain is None else chain)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        client.settimeout(60)
        with suppress(OSError, ValueError), self._context.wrap_socket(client, server_side=True) as line:
            line.recv(1_000)
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(60)


@contextmanager
def endpoint(shown: Issued) -> Iterator[Endpoint]:
    with TemporaryDirectory() as folder:
        server = Endpoint(Path(folder), shown)
        try:
            yield server
        finally:
            with suppress(OSError):
                server.close()
