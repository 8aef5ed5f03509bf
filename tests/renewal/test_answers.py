"""Proofs: http-01 as pebble asks for it, past hosts and TLS redirects; dns-01 by dynamic update to a server that checks TSIG."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import dns.message
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.test import Client
from django.utils import timezone

from certificates.models import ChallengeAnswer, DnsHook, RenewalOrder
from certificates.renewal import dns01, ordering, sources
from certificates.renewal.dns01 import DnsRefused
from certificates.renewal.web import FarEndUnavailable
from keys.crypto.secret import SecretBytes
from keyvault_portal.errors import ValidationFailed
from tests.ports import reserved_port
from tests.renewal.conftest import ask, make_source

TSIG = "c2VjcmV0IG9mIGJvdGggZW5kcyBvZiB0aGUgem9uZQ=="


@contextmanager
def portal(port: int) -> Iterator[None]:
    """The portal's own WSGI application on the port where the CA looks."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            return

    application = get_wsgi_application()

    def answer(environ: Any, start_response: Any) -> Any:
        try:
            return [b"".join(application(environ, start_response))]
        finally:
            connection.close()

    server = make_server("127.0.0.1", port, answer, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(60)


@pytest.mark.needs_pebble
@pytest.mark.django_db(transaction=True)
def test_pebble_finds_the_answer_at_the_portal(home, pebble, settings):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["portal.example.org"], True
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    row = ask(home, make_source(home, pebble), None, "dns:www.example.org", "dns:shop.example.org", "ip:127.0.0.1")
    with portal(pebble.http_port):
        for _ in range(20):
            RenewalOrder.objects.filter(finished_at=None).update(next_try_at=timezone.now())
            order = ordering.carry_on(row.orders.get().pk)
            if order.finished_at:
                break
    assert (order.state, order.error) == ("issued", "")
    assert sorted(order.certificate.names) == ["dns:shop.example.org", "dns:www.example.org", "ip:127.0.0.1"]
    assert not ChallengeAnswer.objects.exists()


def test_only_what_is_asked_for_is_answered(db, settings, home):
    settings.ALLOWED_HOSTS = ["portal.example.org"]
    client = Client(headers={"Host": "www.elsewhere.example"})
    for path in ("nothing", "x" * 30, "x" * 300, "../etc/passwd", ""):
        answer = client.get(f"/.well-known/acme-challenge/{path}")
        assert (answer.status_code, answer["Content-Type"]) == (404, "text/plain")
    assert client.get("/keys/").status_code == 400  # any other path still knows its hosts
    assert client.post("/.well-known/acme-challenge/" + "x" * 30).status_code == 404


class Zone:
    """A DNS server for updates: checks TSIG, then answers with `rcode`."""

    def __init__(self) -> None:
        self.updates: list[str] = []
        self.rcode = dns.rcode.NOERROR
        self.keyring = dns.tsigkeyring.from_text({"portal": ("hmac-sha256", TSIG)})
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            with link:
                length = struct.unpack("!H", link.recv(2))[0]
                raw = b""
                while len(raw) < length:
                    raw += link.recv(length - len(raw))
                try:
                    asked = dns.message.from_wire(raw, keyring=self.keyring)
                except dns.tsig.BadSignature:
                    continue
                answer = dns.message.make_response(asked)
                answer.set_rcode(self.rcode)
                self.updates += [item.to_text() for item in asked.authority]
                wire = answer.to_wire()
                link.sendall(struct.pack("!H", len(wire)) + wire)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(60)


@pytest.fixture
def zone() -> Iterator[Zone]:
    found = Zone()
    yield found
    found.close()


def hook(home: Any, port: int, **more: Any) -> DnsHook:
    values: dict[str, Any] = {
        "name": "zone", "kind": "rfc2136", "address": f"127.0.0.1:{port}", "zone": "example.org", "key_name": "portal", "secret": SecretBytes(TSIG.encode()),
    } | more  # fmt: skip
    return sources.register_dns_hook(actor=home.officer, ring=home.ring, **values)


def test_a_record_is_added_and_exactly_it_is_removed(home, zone):
    row = hook(home, zone.port)
    dns01.present(row, "_acme-challenge.www.example.org", "one-value")
    dns01.clean_up(row, "_acme-challenge.www.example.org", "one-value")
    assert zone.updates == [
        '_acme-challenge.www.example.org. 60 IN TXT "one-value"', '_acme-challenge.www.example.org. 0 NONE TXT "one-value"',
    ]  # fmt: skip


def test_a_server_that_refuses_or_does_not_know_the_key_or_is_away(home, zone):
    row = hook(home, zone.port)
    zone.rcode = dns.rcode.REFUSED
    with pytest.raises(DnsRefused, match="REFUSED"):
        dns01.present(row, "_acme-challenge.www.example.org", "v")
    other = hook(home, zone.port, name="other", secret=SecretBytes(b"b3RoZXIgc2VjcmV0"))
    with pytest.raises((DnsRefused, FarEndUnavailable)):
        dns01.present(other, "_acme-challenge.www.example.org", "v")
    away = hook(home, reserved_port(), name="away")
    with pytest.raises(FarEndUnavailable):
        dns01.present(away, "_acme-challenge.www.example.org", "v")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Bad Name"}, "name"), ({"kind": "pigeon"}, "kind"), ({"zone": ""}, "zone"), ({"zone": "a b"}, "zone"),
        ({"key_algorithm": "hmac-md5"}, "key_algorithm"), ({"secret": SecretBytes(b"not base64!")}, "secret"), ({"address": "127.0.0.1:0"}, "address"),
        ({"address": ""}, "address"), ({"wait_seconds": 601}, "wait_seconds"),
    ],
)  # fmt: skip
def test_hooks_that_cannot_be(home, change, field):
    with pytest.raises(ValidationFailed) as refused:
        hook(home, 53, **change)
    assert field in refused.value.errors
