"""The load generator sends as often as it says and stops at the first answer that is not one."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from keys.benchmarks import httpload
from keys.benchmarks.httpload import LoadError, Request


class Server(ThreadingHTTPServer):
    """Counts what it is asked, and how many connections asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.bodies, self.connections = Lock(), [], 0  # type: ignore[var-annotated]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.bodies.append((self.path, self.headers["X-Token"], body))
        answer = json.dumps({"echo": json.loads(body), "long": "0" * 5000}).encode()
        if self.path == "/broken":
            self.send_error(500)
            return
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in (answer[:7], answer[7:4000], answer[4000:]):
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def request(server: Server, path: str) -> Request:
    return Request(server.server_address[1], path, b'{"a":1}', {"X-Token": "secret"})


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_sends_exactly_so_many_over_kept_connections(server, path):
    assert httpload.send(request(server, path), 50, 4) == 50
    assert server.bodies == [(path, "secret", b'{"a":1}')] * 50
    assert server.connections == 4


@pytest.mark.parametrize("path", ["/plain", "/chunked"])
def test_one_answer_is_read_whole(server, path):
    assert httpload.once(request(server, path)) == {"echo": {"a": 1}, "long": "0" * 5000}


def test_never_opens_more_connections_than_requests(server):
    httpload.send(request(server, "/plain"), 2, 16)
    assert server.connections == 2


def test_an_error_ends_the_run(server):
    with pytest.raises(LoadError, match="500"):
        httpload.send(request(server, "/broken"), 10, 2)


def test_sends_for_a_while_and_says_how_often(server, monkeypatch):
    hundredths = count()
    monkeypatch.setattr(httpload, "time", SimpleNamespace(perf_counter=lambda: next(hundredths) / 100))
    assert httpload.send_for(request(server, "/plain"), 0.2, 3) == 20
    assert len(server.bodies) == 20
    assert server.connections == 3
