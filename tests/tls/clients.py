"""Real clients: OpenSSL's own s_client, Python's ssl, and the newer OpenSSL that the cryptography package brings."""

import json
import re
import socket
import ssl
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL

HOST = "portal.example"
WEAK = "@SECLEVEL=0"


def accepts(port: int, *options: str) -> bool:
    """Whether `openssl s_client` with these options ends its handshake."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, *options],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return re.search(r"^(?:New|Reused), TLSv1\S*, Cipher is (?!\(NONE\))", done.stdout, re.M) is not None


def accepts_version(port: int, version: str) -> bool:
    """Whether a client that speaks this version alone, with the weakest suites there are, comes in."""
    flag = {"TLSv1": "-tls1", "TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}[version]
    return accepts(port, flag, "-cipher", "ALL" + WEAK)


def accepts_cipher(port: int, cipher: str) -> bool:
    """Whether a client that offers this TLS 1.2 suite alone comes in, by Python's ssl."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher + WEAK)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secure,
        ):
            found = secure.cipher()
            assert found is not None
            return found[0] == cipher
    except (ssl.SSLError, ConnectionError):
        return False


def is_given_a_ticket(port: int, version: str) -> bool:
    """Whether a TLS 1.2 client is handed a session ticket (TLS 1.3 has but one message for both kinds of resumption)."""
    if version != "TLSv1.2":
        return False
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as secure,
    ):
        return secure.session is not None and secure.session.has_ticket


@dataclass(frozen=True)
class Answer:
    """Status and headers, or status 0 when TLS refused; `seen` is what reached the back end."""

    status: int
    headers: dict[str, str]
    seen: list[tuple[str, str]]


def get(port: int, authorities: str, *, client: str = "", headers: dict[str, str] | None = None) -> Answer:
    """One request by HTTP/1.1 over verified TLS, with a client certificate (PEM with key) if there is one."""
    context = ssl.create_default_context(cafile=authorities)
    if client:
        context.load_cert_chain(client)
    lines = [f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    received = b""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secure,
        ):
            secure.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            while piece := secure.recv(65_536):
                received += piece
    except ssl.SSLCertVerificationError:
        raise
    except (ssl.SSLError, ConnectionError):
        pass
    if not received:
        return Answer(0, {}, [])
    head, _, body = received.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
    if found.get("transfer-encoding") == "chunked":
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    status = int(first.split()[1])
    return Answer(status, found, [tuple(pair) for pair in json.loads(body)] if status == 200 else [])


@dataclass(frozen=True)
class Shake:
    version: str
    group: str
    protocol: str
    staple: bytes


def shake(port: int, *, ask_staple: bool = True) -> Shake:
    """A handshake by the newest OpenSSL here, which knows hybrid groups and staples."""
    staples: list[bytes] = []

    def keep(_: Any, answer: bytes, __: Any) -> bool:
        staples.append(answer)
        return True

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_alpn_protos([b"h2", b"http/1.1"])
    context.set_ocsp_client_callback(keep)
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        plain.settimeout(None)
        connection = SSL.Connection(context, plain)
        connection.set_tlsext_host_name(HOST.encode())
        if ask_staple:
            connection.request_ocsp()
        connection.set_connect_state()
        connection.do_handshake()
        return Shake(
            connection.get_protocol_version_name(), connection.get_group_name() or "",
            connection.get_alpn_proto_negotiated().decode(), staples[0] if staples else b"",
        )  # fmt: skip


def is_valid_staple(staple: bytes, folder: Path, kind: str) -> str:
    """Empty when OpenSSL's ocsp command finds the answer good, current and signed by the issuer; else what it says."""
    path = folder / f"{kind}.received.ocsp"
    path.write_bytes(staple)
    leaf, issuers = folder / f"{kind}.pem", folder / "issuers.pem"
    done = subprocess.run(
        ["openssl", "ocsp", "-respin", str(path), "-issuer", str(issuers), "-cert", str(leaf), "-CAfile", str(issuers), "-no_nonce"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    return "" if done.returncode == 0 and "Response verify OK" in said and ": good" in said else said
