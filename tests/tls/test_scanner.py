"""The scanner against the real servers, and against what only looks like one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from certificates.tls import hello
from certificates.tls.configuration import Configuration
from certificates.tls.drift import compare
from certificates.tls.generator import generate
from certificates.tls.grading import grade
from certificates.tls.profiles import ProfileName, ServerKind
from certificates.tls.scanner import scan
from certificates.tls.suites import HYBRID
from certificates.tls.wire import ScanEnded
from tests.ports import reserved_port
from tests.tls.authority import DAY, NOW, Hierarchy, subject
from tests.tls.test_matrix import OLD

pytestmark = pytest.mark.needs_haproxy
NAMED = "localhost"  # a name of the test's certificates, found on loopback


def scanned(asked: Configuration, **more: float):
    return scan(NAMED, asked.port, "127.0.0.1", **more)


@pytest.mark.parametrize("server", ServerKind)
@pytest.mark.parametrize("profile", ProfileName)
@pytest.mark.parametrize("mutual", [False, True])
def test_what_was_generated_is_what_is_found(server, profile, mutual, asks, run, hierarchy: Hierarchy):
    staple = hierarchy.path("ec.pem.ocsp")
    asked = asks(server, profile, mutual=mutual, names=(NAMED,), staple=staple)
    run(asked, generate(asked).text)
    report = scanned(asked)
    wanted = [difference for difference in compare(report, asked) if HYBRID not in difference.found]
    assert wanted == []
    assert (report.incomplete, report.staple, report.name_matches, report.chain_holds) == ("", "good", True, True)
    assert report.chain[0].pin == hierarchy_pin(hierarchy)
    # The nginx of the tests stands on an OpenSSL before 3.5: what the file offers there, the scan finds missing.
    assert (HYBRID in report.groups) == (server is ServerKind.ENVOY and profile is not ProfileName.SEED)
    assert grade(report).letter == ("A+" if HYBRID in report.groups else "A")


def hierarchy_pin(hierarchy: Hierarchy) -> str:
    from certificates.tls.report import spki_sha256

    return spki_sha256(hierarchy.leaves["ec"].certificate)


@pytest.mark.parametrize("server", ServerKind)
def test_drift_is_named_and_costs_the_grade(server, asks, run):
    asked = asks(server, ProfileName.INTERMEDIATE, names=(NAMED,), stapling=False, staple="")
    text = generate(asked).text
    for before, after in [*OLD[server], ("max-age=63072000", "max-age=60")]:
        text = text.replace(before, after)
    run(asked, text)
    report = scanned(asked)
    assert report.staple == (
        "good" if server is ServerKind.HAPROXY else ""
    )  # it staples what lies beside its certificate
    found = {difference.setting: difference for difference in compare(report, asked)}
    assert "OCSP staple" not in found
    assert {"Protocol versions", "TLS 1.2 suites", "Strict-Transport-Security"} <= set(found)
    assert "also TLSv1" in found["Protocol versions"].found
    got = grade(report)
    assert got.letter in {"C", "F"}
    assert any("RFC 8996" in reason.text for reason in got.reasons)


def test_a_server_that_refuses_us_still_shows_its_certificates(asks, run):
    """With TLS 1.2 the handshake ends for want of our certificate; what was sent before it stays."""
    asked = asks(ServerKind.HAPROXY, ProfileName.INTERMEDIATE, mutual=True, names=(NAMED,))
    run(asked, generate(asked).text.replace("ssl-min-ver TLSv1.2", "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2"))
    report = scanned(asked)
    assert report.versions == ("TLSv1.2",)
    assert len(report.chain) == 2
    assert report.asks_for_certificate


def test_another_certificate_is_seen(asks, run, hierarchy: Hierarchy):
    """Expired, for another name, without its intermediate, with a short key: each has its reason."""
    names: list[x509.GeneralName] = [x509.DNSName("elsewhere.example")]
    leaf = hierarchy.servers.issue(subject(cn="old"), names, begins=NOW - 5 * DAY, ends=NOW - DAY)
    hierarchy.write("old.pem", leaf.pem)
    hierarchy.write("old.pem.key", leaf.key_pem)
    asked = asks(ServerKind.NGINX, ProfileName.MODERN, "old", stapling=False)
    run(asked, generate(asked).text)
    texts = " ".join(reason.text for reason in grade(scanned(asked)).reasons)
    assert grade(scanned(asked)).letter == "F"
    for words in ("is not for localhost", "expired on", "intermediate certificate is not sent"):
        assert words in texts


def test_the_reasons_of_a_grade(asks, run):
    asked = asks(ServerKind.ENVOY, ProfileName.MODERN, names=(NAMED,))
    run(asked, generate(asked).text)
    good = scanned(asked)
    leaf = good.chain[0]
    cases = [
        (replace(good, versions=("TLSv1.2",)), "B"), (replace(good, ciphers=("RC4-SHA",)), "F"), (replace(good, ciphers=("AES256-SHA",)), "C"),
        (replace(good, ciphers=("ECDHE-RSA-AES128-SHA",)), "B"), (replace(good, hsts="max-age=5"), "A"), (replace(good, hsts="includeSubDomains"), "A"),
        (replace(good, groups=("X25519",)), "A"), (replace(good, staple="revoked"), "F"), (replace(good, staple="out of date"), "B"),
        (replace(good, incomplete="late"), "B"), (replace(good, chain=()), "F"), (replace(good, chain_holds=False), "F"),
        (replace(good, chain=(replace(leaf, key_kind="RSA", key_bits=1024),)), "F"), (replace(good, chain=(replace(leaf, signature_hash="sha1"),)), "F"),
        (replace(good, chain=(replace(leaf, not_after=good.at + timedelta(days=3)), good.chain[1])), "B"),
        (replace(good, chain=(replace(leaf, issuer=leaf.subject),)), "C"), (replace(good, chain=(replace(leaf, not_before=good.at + DAY),)), "F"),
        (good, "A+"),
    ]  # fmt: skip
    assert [grade(report).letter for report, _ in cases] == [letter for _, letter in cases]


@contextmanager
def listening(answer: bytes, *, drip: bool = False, forever: bool = False) -> Iterator[int]:
    """Something on a port that takes whatever is sent and answers with `answer`, byte by byte for ever if it drips."""
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not ended.is_set():
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=speak, args=(one,), daemon=True).start()

    def speak(one: socket.socket) -> None:
        with one:
            try:
                if not drip:
                    one.recv(10_000)
                while not ended.is_set():
                    for part in [answer[at : at + 1] for at in range(len(answer))] if drip else [answer]:
                        one.sendall(part)
                        if drip and ended.wait(0.05):
                            return
                    if not (drip or forever):
                        ended.wait(60 if not answer else 0)
                        return
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()


RECORD = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xff"  # the beginning of a handshake message that never ends


@pytest.mark.parametrize(
    ("answer", "more"),
    [(b"", {}), (RECORD + bytes(60), {"drip": True}), (b"HTTP/1.1 400 Bad Request\r\n\r\n", {}), (b"\x16\x03\x03\x00\x04\x02\x00\x00\x00", {})],
    ids=["silent", "dripping", "plain HTTP", "an empty ServerHello"],
)  # fmt: skip
def test_a_tarpit_ends_the_scan(answer, more):
    with listening(answer, **more) as port, pytest.raises(ScanEnded):
        scan(NAMED, port, "127.0.0.1", seconds=0.6)


def test_a_flood_ends_the_scan():
    flood = b"\x16\x03\x03\x3f\xfb" + b"\x02\xff\xff\xff" + bytes(16_375)
    with listening(flood, forever=True) as port, pytest.raises(ScanEnded, match="more than"):
        scan(NAMED, port, "127.0.0.1", seconds=30)


def test_nobody_there():
    with pytest.raises(OSError, match="refused"):
        scan(NAMED, reserved_port(), "127.0.0.1")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_no_tls(received):
    for content in (
        received,
        b"\x16\x03\x03" + len(received).to_bytes(2) + received,
        b"\x15\x03\x03\x00\x02" + received,
    ):
        try:
            found = hello.read_answer(content)
        except ValueError:
            continue
        assert found is None or isinstance(found, hello.Choice | hello.Refusal)
