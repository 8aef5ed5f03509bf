"""Let's Encrypt's test CA (pebble), its DNS, and a door in front of it that can be shut, slowed down or taught RFC 9773.

The pebble of Debian knows no renewal information (RFC 9773): where a test needs that, the door answers in its place. Our
client asks a real server for it in tests/acme/test_clients.py: our own.
"""

import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.ports import reserved_port

DEADLINE = 60
EAB_KID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1)).add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, private = folder / "tls.pem", folder / "tls.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, private


@dataclass
class Door:
    """What stands between the portal and pebble; `answers` are given instead of asking it, by part of the path, in order."""

    port: int
    bundle: str
    pebble_port: int
    window: tuple[datetime, datetime] | None = None
    shut: bool = False
    answers: list[tuple[str, int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # where a nonce was, of which pebble refuses one in five

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    def reset(self) -> None:
        self.window, self.shut = None, False
        self.answers.clear()
        self.seen.clear()
        self.bodies.clear()
        self.refused.clear()


class _Handler(BaseHTTPRequestHandler):
    door: Door

    def _serve(self) -> None:
        door = self.door
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        door.seen.append((self.command, self.path))
        door.bodies.append(body)
        if door.shut:
            self.close_connection = True
            return
        for index, (part, status, headers, answer) in enumerate(door.answers):
            if part in self.path:
                del door.answers[index]
                self._send(status, headers, json.dumps(answer).encode())
                return
        if self.path.startswith("/renewal-info/"):
            assert door.window is not None
            window = {"start": door.window[0].isoformat(), "end": door.window[1].isoformat()}
            body = {"suggestedWindow": window, "explanationURL": "https://ca.example/why"}
            self._send(200, {"Content-Type": "application/json", "Retry-After": "21600"}, json.dumps(body).encode())
            return
        context = ssl.create_default_context(cadata=door.bundle)
        upstream = HTTPSConnection("127.0.0.1", door.pebble_port, context=context, timeout=DEADLINE)
        kept = {
            name: value for name, value in self.headers.items() if name.lower() not in {"connection", "accept-encoding"}
        }
        upstream.request(self.command, self.path, body or None, kept)
        answer = upstream.getresponse()
        content = answer.read()
        if b"error:badNonce" in content:
            door.refused.append(self.path)
        if self.path == "/dir" and door.window is not None:
            found = json.loads(content) | {"renewalInfo": f"https://127.0.0.1:{door.port}/renewal-info"}
            content = json.dumps(found).encode()
        wanted = {"content-type", "location", "link", "replay-nonce", "retry-after"}
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() in wanted]
        upstream.close()
        self._send(answer.status, headers, content)

    def _send(self, status: int, headers: Any, content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_HEAD = _serve

    def log_message(self, *arguments: Any) -> None:
        return


@dataclass
class Pebble:
    door: Door
    bundle: str
    http_port: int
    management: int
    dns_management: int

    def txt(self, name: str, value: str) -> None:
        self._dns("set-txt", {"host": f"{name}.", "value": value})

    def clear_txt(self, name: str) -> None:
        self._dns("clear-txt", {"host": f"{name}."})

    def _dns(self, act: str, body: dict[str, str]) -> None:
        with urlopen(f"http://127.0.0.1:{self.dns_management}/{act}", json.dumps(body).encode(), timeout=60):
            pass

    def root(self) -> bytes:
        return self._managed("roots/0")

    def status(self, serial: str) -> dict[str, Any]:
        """What the CA says of a certificate: `Status` Valid or Revoked, and then `Reason` and `RevokedAt`."""
        found: dict[str, Any] = json.loads(self._managed(f"cert-status-by-serial/{serial}"))
        return found

    def _managed(self, what: str) -> bytes:
        context = ssl.create_default_context(cadata=self.bundle)
        with urlopen(f"https://127.0.0.1:{self.management}/{what}", context=context, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def running(folder: Path, *, binding: bool = False, days: int = 90) -> Iterator[Pebble]:
    """pebble with its own configuration, validating for real against the names' answers on loopback."""
    certificate, private = self_signed(folder)
    ports = [reserved_port() for _ in range(6)]
    acme, management, http, tls, dns, dns_management = ports
    values: dict[str, Any] = {
        "listenAddress": f"127.0.0.1:{acme}", "managementListenAddress": f"127.0.0.1:{management}", "certificate": str(certificate),
        "privateKey": str(private), "httpPort": http, "tlsPort": tls, "ocspResponderURL": "", "externalAccountBindingRequired": binding,
        "certificateValidityPeriod": days * 86_400,
    }  # fmt: skip
    if binding:
        values["externalAccountMACKeys"] = {EAB_KID: EAB_KEY}
    (folder / "pebble.json").write_text(json.dumps({"pebble": values}))
    environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20", "PEBBLE_AUTHZREUSE": "0"}
    environment.pop("PEBBLE_VA_ALWAYS_VALID", None)
    bundle = certificate.read_text()
    with ExitStack() as stack:
        stack.enter_context(_process(folder, environment, "pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-management",
                                     f"127.0.0.1:{dns_management}", "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""))  # fmt: skip
        stack.enter_context(
            _process(
                folder, environment, "pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"
            )
        )
        for port in (acme, dns_management):
            _await_port(port)
        door = stack.enter_context(_door(certificate, private, bundle, acme))
        yield Pebble(door, bundle, http, management, dns_management)


@contextmanager
def _process(folder: Path, environment: dict[str, str], *command: str) -> Iterator[None]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            yield
        finally:
            process.terminate()
            process.wait(DEADLINE)


def _await_port(port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextmanager
def _door(certificate: Path, private: Path, bundle: str, pebble_port: int) -> Iterator[Door]:
    door = Door(0, bundle, pebble_port)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"door": door}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    door.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield door
    finally:
        server.shutdown()
        server.server_close()
        thread.join(DEADLINE)
