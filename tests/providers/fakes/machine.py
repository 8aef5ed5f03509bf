"""The identity endpoint that Azure App Service gives to a machine (api-version 2019-08-01), in front of a fake vault."""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.providers.fakes.azure import FakeVault
from tests.providers.fakes.azure_crypto import same


@contextmanager
def machine_identity(fake: FakeVault) -> Iterator[tuple[str, str]]:
    """Yields the address and the header's value; tokens are good at the vault."""
    header = secrets.token_hex(16)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = same(self.headers.get("X-IDENTITY-HEADER", ""), header)
            token = secrets.token_urlsafe(40)
            if told:
                fake.tokens[token] = time.time() + 3600
            answer = {"access_token": token, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
            raw = json.dumps(answer if told else {}).encode()
            self.send_response(200 if told else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/msi/token", header
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
