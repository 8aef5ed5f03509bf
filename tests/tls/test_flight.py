"""The promises of logs that a real TLS 1.3 server sends encrypted, and servers that only look like one."""

import base64
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import transparency
from certificates.tls import flight, hello
from certificates.tls.scanner import scan
from certificates.tls.suites import CIPHERS, GROUPS
from certificates.tls.wire import Budget, Line, ScanEnded
from tests.certificates.logs import SmallLog
from tests.ports import reserved_port
from tests.tls.authority import Authority, Issued, subject
from tests.tls.servers import DEADLINE

# In OpenSSL's SSL_CTX_add_custom_ext(3): ClientHello, the ServerHello of TLS 1.2, the Certificate message of TLS 1.3.
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE = 0x80, 0x100, 0x1000


@pytest.fixture(scope="module")
def shown() -> Issued:
    root = Authority.root("Flight Root")
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    return root.subordinate("Flight Servers").issue(subject(cn="localhost"), names)


@contextmanager
def served(folder: Path, shown: Issued, listed: bytes, *more: str) -> Iterator[int]:
    """OpenSSL's server on a port, with a list of SCTs where the versions of TLS have it."""
    content = struct.pack("!IHH", CLIENT_HELLO | SERVER_HELLO | CERTIFICATE, hello.TIMESTAMPS, len(listed)) + listed
    text = base64.b64encode(content).decode()
    (folder / "sct.pem").write_text(
        f"-----BEGIN SERVERINFOV2 FOR SCT-----\n{text}\n-----END SERVERINFOV2 FOR SCT-----\n"
    )
    (folder / "leaf.pem").write_bytes(shown.pem + shown.key_pem)
    assert shown.issuer is not None
    (folder / "above.pem").write_bytes(shown.issuer.pem)
    port = reserved_port()
    command = [
        "openssl",
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        "leaf.pem",
        "-cert_chain",
        "above.pem",
        "-www",
        "-quiet",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *(("-serverinfo", "sct.pem") if listed else ()), *more], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)


def listed(*timestamps: bytes) -> bytes:
    body = b"".join(len(item).to_bytes(2) + item for item in timestamps)
    return len(body).to_bytes(2) + body


def read(port: int) -> bytes:
    return flight.timestamps(Line("127.0.0.1", port, Budget.of(DEADLINE)), "localhost")


@pytest.mark.parametrize(
    ("suite", "group"),
    [
        ("TLS_AES_128_GCM_SHA256", "X25519"), ("TLS_AES_256_GCM_SHA384", "P-256"), ("TLS_CHACHA20_POLY1305_SHA256", "P-384"),
        ("TLS_AES_128_CCM_SHA256", "X25519"), ("TLS_AES_128_CCM_8_SHA256", "P-256"),
    ],
)  # fmt: skip
def test_a_scan_verifies_what_a_server_of_tls_1_3_promises(tmp_path, shown, suite, group):
    log = SmallLog()
    more = ("-tls1_3", "-ciphersuites", suite, "-groups", group)
    with served(tmp_path, shown, listed(log.add(shown.certificate)), *more) as port:
        report = scan("localhost", port, "127.0.0.1", seconds=DEADLINE)
    assert (report.versions, report.suites13, report.groups) == (("TLSv1.3",), (suite,), (group,))
    [(source, raw)] = report.timestamps
    logs = {log.log_id: transparency.Log(log.log_id, log.spki, "Small", "Us", "usable")}
    verdict = transparency.check(shown.certificate, None, transparency.read_timestamps(raw, source), logs)
    assert [(item.fault, item.timestamp.source) for item in verdict.checked] == [("", "tls")]


def test_every_suite_and_share_that_is_offered_is_known():
    assert set(flight._SUITES) == {CIPHERS[name] for name in CIPHERS if name.startswith("TLS_")}


def test_a_server_without_promises_or_with_a_group_that_is_not_offered(tmp_path, shown):
    with served(tmp_path, shown, b"", "-tls1_3") as port:
        assert read(port) == b""
    with served(tmp_path, shown, listed(b"x"), "-tls1_3", "-groups", "P-521") as port:
        assert read(port) == b""
        assert scan("localhost", port, "127.0.0.1", seconds=DEADLINE).timestamps == ()
    with served(tmp_path, shown, listed(b"x"), "-no_tls1_3") as port:
        assert read(port) == b""


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            one, _ = listener.accept()
            with one:
                one.recv(10_000)
                one.sendall(answer)

        thread = threading.Thread(target=speak, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE)


def _server_hello(group: int, share: bytes) -> bytes:
    extensions = struct.pack("!HHH", hello.SUPPORTED_VERSIONS, 2, hello.TLS13)
    extensions += struct.pack("!HHHH", hello.KEY_SHARE, 4 + len(share), group, len(share)) + share
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\x13\x01\0" + len(extensions).to_bytes(2) + extensions
    message = b"\x02" + len(body).to_bytes(3) + body
    return b"\x16\x03\x03" + len(message).to_bytes(2) + message


def test_tls_1_2_says_the_promises_in_the_open():
    extensions = b"".join(
        struct.pack("!HH", kind, len(value)) + value
        for kind, value in ((0xFF01, b"\0"), (hello.TIMESTAMPS, b"promises"), (23, b"none of it"))
    )
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\xc0\x2b\0" + len(extensions).to_bytes(2) + extensions
    message = b"\x02" + len(body).to_bytes(3) + body
    assert hello.read_answer(b"\x16\x03\x03" + len(message).to_bytes(2) + message) == hello.Choice(
        0x0303, CIPHERS["ECDHE-ECDSA-AES128-GCM-SHA256"], 0, b"promises"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\x00\x00", _server_hello(GROUPS["X25519"], bytes(32)),
        _server_hello(GROUPS["P-256"], b"\x04" + bytes(64)), _server_hello(GROUPS["X25519"], b"\x09" + bytes(31)) + b"\x17\x03\x03\x00\x20" + bytes(32),
        _server_hello(GROUPS["X25519"], b"\x09" + bytes(31)) + b"\x16\x03\x03\x00\x04\x0b\0\0\0", _server_hello(GROUPS["P-521"], bytes(5)),
    ],
    ids=["nothing", "HTTP", "an alert", "an empty record", "a share of nought", "no point", "not for our key", "not encrypted", "a group nobody offered"],
)  # fmt: skip
def test_what_only_looks_like_a_server_has_no_promises(answer):
    with saying(answer) as port:
        assert read(port) == b""


def test_a_flood_is_cut():
    with saying(b"\x14\x03\x03\x40\x00" + bytes(0x4000) * 6) as port:
        assert read(port) == b""
    with saying(b"\x14\x03\x03\x40\x00" + bytes(0x4000) * 6) as port, pytest.raises(ScanEnded):
        flight.timestamps(Line("127.0.0.1", port, Budget(time.monotonic() + DEADLINE, left=100)), "localhost")


@settings(max_examples=200)
@given(st.binary(max_size=120), st.integers(0, 2))
def test_any_certificate_message_is_read_or_refused(body, kind):
    for content in (
        body,
        b"\0" + len(body).to_bytes(3) + b"\0\0\0" + len(body).to_bytes(2) + body,
        bytes([kind]) + body,
    ):
        try:
            found = flight._listed(content)
        except (IndexError, struct.error):
            continue
        assert found in content
