"""Proofs of control: found where the protocol says, refused anywhere else, and never a way into the network."""

import os
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certificates.acme import probes
from certificates.acme.errors import AcmeError
from certificates.acme.lookup import Lookup, parse_resolver
from certificates.acme.probes import Prober
from certificates.names import read as named
from certificates.names import to_general_name
from keys.hosts import HostRefused, HostRule
from tests.acme.conftest import web_server
from tests.ports import reserved_port

TOKEN, THUMB = "t" * 43, "h" * 43
AUTHORIZATION = f"{TOKEN}.{THUMB}"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
HERE = HostRule(("127.0.0.1/32",), public=True)


@pytest.fixture
def zone(dns_server):
    found, _ = dns_server
    found.clear()
    found.broken.clear()
    found[("a.example.org", "A")] = ["127.0.0.1"]
    return found


@pytest.fixture
def prober(dns_server, zone, web):
    return Prober(Lookup([dns_server[1]], seconds=5), HERE, web.port, reserved_port(), seconds=5)


def refused(prober, kind="http-01", host="a.example.org"):
    with pytest.raises(AcmeError) as error:
        prober.prove(kind, host, TOKEN, THUMB)
    return error.value.kind, error.value.detail


def test_http(prober, web, zone):
    web.pages[PATH] = AUTHORIZATION.encode() + b"\r\n"
    prober.prove("http-01", "a.example.org", TOKEN, THUMB)
    secret = b"the root password is swordfish"
    for body in (
        secret,
        b"",
        AUTHORIZATION.encode() + b"x",
        b" " + AUTHORIZATION.encode(),
        AUTHORIZATION.encode() + b" " * 5000 + b"x",
    ):
        web.pages[PATH] = body
        found = refused(prober)
        assert found[0] == "incorrectResponse"
        assert "swordfish" not in found[1]  # whatever is there, nobody reads it through us
    for status in (404, 500, 204, 401):
        web.pages[PATH] = (status, {}, AUTHORIZATION.encode())
        assert refused(prober) == ("unauthorized", f"The answer has the status {status}, not 200.")
    assert refused(prober, host="nowhere.example.org") == ("dns", "The name nowhere.example.org has no address.")
    zone.broken.add("b.example.org")
    assert refused(prober, host="b.example.org")[0] == "dns"


def test_http_follows_redirects_to_names_only(prober, web, zone):
    zone[("b.example.org", "A")] = ["127.0.0.1"]
    port = web.port
    web.pages["/elsewhere?a=b"] = AUTHORIZATION.encode()
    web.pages[PATH] = (302, {"Location": f"http://b.example.org:{port}/elsewhere?a=b"}, b"")
    prober.prove("http-01", "a.example.org", TOKEN, THUMB)
    web.pages[PATH] = (307, {"Location": "/elsewhere?a=b"}, b"")
    prober.prove("http-01", "a.example.org", TOKEN, THUMB)
    web.pages[PATH] = (301, {"Location": PATH}, b"")
    assert refused(prober) == ("connection", "More than 5 redirects.")
    for wrong in (
        f"http://127.0.0.1:{port}/elsewhere?a=b", f"http://[::1]:{port}/", "http://b.example.org:22/", f"https://b.example.org:{port}/",
        "ftp://b.example.org/", "file:///etc/passwd", f"http://user:pass@b.example.org:{port}/", "http://[", "gopher://b.example.org/",
        "http://169.254.169.254/latest/meta-data/",
    ):  # fmt: skip
        web.pages[PATH] = (302, {"Location": wrong}, b"")
        assert refused(prober)[0] in {"rejectedIdentifier", "connection"}, wrong


INSIDE = [
    "10.0.0.1", "192.168.1.1", "172.16.0.1", "127.0.0.2", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_inside_is_ever_asked(prober, web, zone, address, monkeypatch):
    def connect(*_args, **_more):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(probes.socket, "create_connection", connect)
    zone[("c.example.org", "AAAA" if ":" in address else "A")] = [address]
    for kind in ("http-01", "tls-alpn-01"):
        found = refused(prober, kind, "c.example.org")
        assert found[0] == "rejectedIdentifier"
        assert address not in found[1]
        assert refused(prober, kind, address)[0] == "rejectedIdentifier"  # nor where it is the identifier itself
    # One address that is allowed excuses none that is not.
    zone.setdefault(("c.example.org", "A"), []).append("127.0.0.1")
    assert refused(prober, host="c.example.org")[0] == "rejectedIdentifier"


@pytest.mark.parametrize("address", INSIDE)
def test_nor_after_a_redirect(prober, web, zone, address, monkeypatch):
    zone[("c.example.org", "AAAA" if ":" in address else "A")] = [address]
    web.pages[PATH] = (302, {"Location": f"http://c.example.org:{web.port}/"}, b"")
    assert refused(prober)[0] == "rejectedIdentifier"


def test_public_addresses_are_open_and_one_s_own_by_decision():
    public, own = HostRule((), public=True), HostRule(("10.1.0.0/16",), public=True)
    # The last one is what an IPv6-only network makes of the first (NAT64).
    for address in ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"):
        public.check_address("x", ip_address(address))
        with pytest.raises(HostRefused):
            HostRule(()).check_address("x", ip_address(address))
    for address in ("10.1.2.3", "64:ff9b::a01:203", "::ffff:10.1.2.3"):
        own.check_address("x", ip_address(address))
    for address in ("10.2.0.1", "64:ff9b::a02:1"):
        with pytest.raises(HostRefused):
            own.check_address("x", ip_address(address))


@contextmanager
def listening(act):
    """A server of one connection after the other, each given to `act`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve():
            while not ended.is_set():
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    try:
                        act(line, ended)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def _drip(line, ended):
    line.sendall(b"HTTP/1.1 200 OK\r\n")
    while not ended.wait(0.05):
        line.sendall(b"X-A: b\r\n")


def _flood(line, ended):
    line.recv(4096)
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not ended.is_set():
        line.sendall(b"x" * 65536)


def _mute(line, ended):
    ended.wait(60)


def _noise(line, ended):
    line.recv(4096)
    line.sendall(os.urandom(200) + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("act", "kinds", "seconds"),
    [
        (_drip, {"connection"}, 0.5), (_flood, {"incorrectResponse"}, 60), (_mute, {"connection"}, 0.5), (_noise, {"connection"}, 60),
    ],
)  # fmt: skip
def test_servers_that_take_their_time(dns_server, zone, act, kinds, seconds):
    with listening(act) as port:
        slow = Prober(Lookup([dns_server[1]]), HERE, port, port, seconds=seconds)
        assert refused(slow)[0] in kinds


@pytest.mark.parametrize("act", [_drip, _mute, _noise])
def test_and_those_that_speak_no_tls(dns_server, zone, act):
    with listening(act) as port:
        slow = Prober(Lookup([dns_server[1]]), HERE, port, port, seconds=0.5)
        assert refused(slow, "tls-alpn-01")[0] in {"tls", "connection"}
    assert (
        refused(Prober(Lookup([dns_server[1]]), HERE, 1, reserved_port(), seconds=2), "tls-alpn-01")[0] == "connection"
    )


def test_dns(prober, zone):
    assert refused(prober, "dns-01")[0] == "dns"
    zone[("_acme-challenge.a.example.org", "TXT")] = ['"of another order"']
    assert refused(prober, "dns-01")[0] == "unauthorized"
    from keys.crypto.jwk import b64url

    value = b64url(sha256(AUTHORIZATION.encode()).digest())
    zone[("_acme-challenge.a.example.org", "TXT")].append(f'"{value[:20]}" "{value[20:]}"')
    prober.prove("dns-01", "a.example.org", TOKEN, THUMB)


def alpn_certificate(host="a.example.org", authorization=AUTHORIZATION, *, critical=True, names=None):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    oid = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
    value = b"\x04\x20" + sha256(authorization.encode()).digest()
    made = (
        x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([to_general_name(named(name)) for name in names or [host]]), False)
        .add_extension(x509.UnrecognizedExtension(oid, value), critical).sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("made", "protocol", "wanted"),
    [
        ({}, "acme-tls/1", ""),
        ({}, "http/1.1", "tls"),
        ({"authorization": "another"}, "acme-tls/1", "unauthorized"),
        ({"critical": False}, "acme-tls/1", "unauthorized"),
        ({"names": ["b.example.org"]}, "acme-tls/1", "unauthorized"),
        ({"names": ["a.example.org", "b.example.org"]}, "acme-tls/1", "unauthorized"),
    ],
)
def test_tls_alpn(dns_server, zone, tmp_path, made, protocol, wanted):
    (tmp_path / "pem").write_bytes(alpn_certificate(**made))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    context.set_alpn_protocols([protocol])

    def act(line, ended):
        with context.wrap_socket(line, server_side=True):
            pass

    with listening(act) as port:
        prober = Prober(Lookup([dns_server[1]]), HERE, 1, port, seconds=10)
        if not wanted:
            prober.prove("tls-alpn-01", "a.example.org", TOKEN, THUMB)
        else:
            assert refused(prober, "tls-alpn-01")[0] == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [(["127.0.0.1"], ""), (["1.0.0.127.in-addr.arpa"], "unauthorized"), (["127.0.0.2"], "unauthorized")],
)
def test_tls_alpn_of_an_address(tmp_path, names, wanted):
    """RFC 8738, 6: asked for by its name in the reverse tree, answered with a certificate for the address."""
    (tmp_path / "pem").write_bytes(alpn_certificate(names=names))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    context.set_alpn_protocols(["acme-tls/1"])
    asked: list[str | None] = []
    context.sni_callback = lambda line, name, _: asked.append(name)

    def act(line, ended):
        with context.wrap_socket(line, server_side=True):
            pass

    with listening(act) as port:
        prober = Prober(Lookup(), HERE, 1, port, seconds=10)
        if wanted:
            assert refused(prober, "tls-alpn-01", "127.0.0.1")[0] == wanted
        else:
            prober.prove("tls-alpn-01", "127.0.0.1", TOKEN, THUMB)
    assert asked == ["1.0.0.127.in-addr.arpa"]


@pytest.mark.parametrize(
    ("text", "found"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("2001:db8::1", ("2001:db8::1", 53)), ("[2001:db8::1]:54", ("2001:db8::1", 54))],
)  # fmt: skip
def test_resolvers(text, found):
    assert parse_resolver(text) == found


@pytest.mark.parametrize(
    "text", ["", "ns.example.org", "192.0.2.1:0", "192.0.2.1:x", "[::1", "192.0.2.1:70000", "1:2:3"]
)
def test_what_is_no_resolver(text):
    with pytest.raises(ValueError):  # noqa: PT011  of several libraries
        parse_resolver(text)


def test_a_second_web_server_is_not_asked(prober, zone):
    with web_server() as other:
        refused(prober)
        assert not other.asked
