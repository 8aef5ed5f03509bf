"""A real HTTP server that gives one sort of trouble: it throttles, fails, answers nonsense, or says nothing at all."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests


@contextmanager
def answering(status: int = 200, body: Any = None, *, silent: bool = False) -> Iterator["Troubled"]:
    """Answer every request with `status` and `body` as JSON; a silent one reads it and never answers."""
    server = Troubled(status, body, silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def failing(target: str, *operations: str) -> Iterator["Troubled"]:
    """Pass everything on to `target`, but answer 500 to the operations of AWS named so."""
    with answering(500, {"__type": "KMSInternalException"}) as server:
        server.target, server.failing = target, operations
        yield server


class Troubled(ThreadingHTTPServer):
    """Counts what it was asked, so that a test can see how often a library tried."""

    def __init__(self, status: int, body: Any, silent: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.silent = status, json.dumps(body or {}).encode(), silent
        self.ending = threading.Event()
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self.failing: tuple[str, ...] = ()
        self.target = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Troubled

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append(self.path)
        status, body = self.server.status, self.server.body
        if self.server.target and not self.headers.get("X-Amz-Target", "").endswith(self.server.failing):
            passed = requests.post(self.server.target, data=sent, headers=dict(self.headers), timeout=60)
            status, body = passed.status_code, passed.content
        if self.server.silent:
            self.server.ending.wait(30)
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_LIST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
