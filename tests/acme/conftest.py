"""An authority that serves ACME, a small client that signs by itself, and a real name server to be told what to answer."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.cache import cache
from django.test import Client

from certificates.acme.services import challenges, serving
from certificates.models import AcmeChallenge, AcmeOrder, AcmeServer, Authority
from keys.crypto.jwk import b64url, public_jwk, thumbprint
from keys.services import stores
from tests.certificates.conftest import make_authority
from tests.certificates.requests import csr
from tests.keys.conftest import auditor, fresh_caches, officer, tree
from tests.remembered import remembered
from tests.tls.servers import http_server

__all__ = ["auditor", "fresh_caches", "officer", "tree"]
ORIGIN = "http://localhost:8000"
JOSE = "application/jose+json"
NAMES = {"dns": ["example.org"], "wildcards": True}


class Zone(dict[tuple[str, str], list[str]]):
    """Answers by name and type; a name in `broken` fails, one that is not here does not exist."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.file: Any = None  # lines of "name value": TXT records that a client's script wrote

    def find(self, name: str, kind: str) -> list[str]:
        found = list(self.get((name, kind), []))
        if kind == "TXT" and self.file is not None and self.file.exists():
            lines = [line.split() for line in self.file.read_text().splitlines()]
            found += [f'"{value}"' for owner, value in lines if owner.rstrip(".") == name]
        return found


class _Questions(socketserver.BaseRequestHandler):
    zone: Zone

    def handle(self) -> None:
        raw, line = self.request
        query = dns.message.from_wire(raw)
        [question] = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.zone.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA | dns.flags.AA
        if name in self.zone.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found := self.zone.find(name, kind):
            answer.answer.append(dns.rrset.from_text(question.name, 1, "IN", kind, *found))
        elif not any(known == name for known, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        line.sendto(answer.to_wire(), self.client_address)


@contextmanager
def name_server() -> Iterator[tuple[Zone, str]]:
    zone = Zone()
    handler = type("Handler", (_Questions,), {"zone": zone})
    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield zone, f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(60)


@dataclass
class Web:
    """What a web server answers, by path: a body, or (status, headers, body)."""

    port: int = 0
    pages: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            found = web.pages.get(self.path, (404, {}, b"nothing"))
            status, headers, body = found if isinstance(found, tuple) else (200, {}, found)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with http_server(Handler) as port:
        web.port = port
        yield web


_KINDS: dict[str, Callable[[], Any]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_ROWS = {"ES256": "ECDSA-P256-SHA256", "ES384": "ECDSA-P384-SHA384", "RS256": "RSA-PSS-3072-SHA256", "EdDSA": "Ed25519"}


class Signer:
    """A key of a client; what it signs is right unless a test says otherwise."""

    def __init__(self, algorithm: str = "ES256", key: Any = None) -> None:
        self.algorithm, self.private = algorithm, key or _KINDS[algorithm]()
        self.jwk = _jwk(algorithm, self.private.public_key())
        self.thumbprint = thumbprint(self.jwk)

    def sign(self, message: bytes) -> bytes:
        match self.algorithm:
            case "ES256" | "ES384":
                digest = hashes.SHA256() if self.algorithm == "ES256" else hashes.SHA384()
                size = 32 if self.algorithm == "ES256" else 48
                r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(digest)))
                return r.to_bytes(size) + s.to_bytes(size)
            case "RS256":
                return bytes(self.private.sign(message, PKCS1v15(), hashes.SHA256()))
        return bytes(self.private.sign(message))


def _jwk(algorithm: str, public: Any) -> dict[str, str]:
    if algorithm == "RS256":
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": b64url(numbers.n.to_bytes(256)), "e": "AQAB"}
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = public_jwk(_ROWS[algorithm], spki, "")
    return {name: value for name, value in found.items() if name not in {"kid", "alg", "use"}}


def jws(header: dict[str, Any], payload: Any, sign: Callable[[bytes], bytes]) -> dict[str, str]:
    """A flattened JWS; a payload that is bytes is taken as it is."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    protected = b64url(json.dumps(header).encode())
    body = b64url(raw)
    return {"protected": protected, "payload": body, "signature": b64url(sign(f"{protected}.{body}".encode()))}


def mac(secret: bytes) -> Callable[[bytes], bytes]:
    def sign(message: bytes) -> bytes:
        machine = hmac.HMAC(secret, hashes.SHA256())
        machine.update(message)
        return machine.finalize()

    return sign


def binding(signer: Signer, kid: str, secret: bytes, **header: Any) -> dict[str, str]:
    """An external account binding for the key of `signer`."""
    values = {"alg": "HS256", "kid": kid, "url": f"{ORIGIN}/acme/servers/new-account"} | header
    return jws(values, signer.jwk, mac(secret))


@dataclass
class Acme:
    """A client of one server: every method is one signed request."""

    capture: Any
    name: str = "servers"
    signer: Signer = field(default_factory=Signer)
    kid: str = ""
    http: Client = field(default_factory=Client)
    origin: str = ORIGIN

    def url(self, what: str) -> str:
        return what if what.startswith("http") else f"{self.origin}/acme/{self.name}/{what}"

    def nonce(self) -> str:
        return self.http.head(self._path(self.url("new-nonce")))["Replay-Nonce"]

    def post(
        self, what: str, payload: Any = b"", *, signer: Signer | None = None, jwk: bool = False, **header: Any
    ) -> Any:
        """The answer to a signed request; `header` replaces members of the protected header, None takes one away."""
        signer, url = signer or self.signer, self.url(what)
        values: dict[str, Any] = {
            "alg": signer.algorithm,
            "url": url,
            "nonce": header.pop("nonce", None) or self.nonce(),
        }
        values |= {"jwk": signer.jwk} if jwk or not self.kid else {"kid": self.kid}
        values = {name: value for name, value in (values | header).items() if value is not None}
        return self.send(what, json.dumps(jws(values, payload, signer.sign)))

    def send(self, what: str, body: Any, content_type: str = JOSE) -> Any:
        with self.capture(execute=True):  # what was to follow the commit
            return self.http.post(self._path(self.url(what)), body, content_type=content_type)

    def _path(self, url: str) -> str:
        return url.removeprefix(self.origin)

    def register(self, **payload: Any) -> Any:
        response = self.post("new-account", {"termsOfServiceAgreed": True} | payload, jwk=True)
        if response.status_code in {200, 201}:
            self.kid = response["Location"]
        return response

    def order(self, *names: str, **more: Any) -> Any:
        return self.post("new-order", {"identifiers": [{"type": "dns", "value": name} for name in names]} | more)

    def challenge(self, order: Any, kind: str, number: int = 0) -> dict[str, Any]:
        found = self.post(order.json()["authorizations"][number]).json()
        return next(item for item in found["challenges"] if item["type"] == kind)

    def finalize(self, order: Any, *names: str, key: Any = None, request: bytes | None = None) -> Any:
        raw = request if request is not None else self.csr(*names, key=key)
        return self.post(order.json()["finalize"], {"csr": b64url(raw)})

    def csr(self, *names: str, key: Any = None) -> bytes:
        made = csr("", tuple(map(x509.DNSName, names)), key=key)
        return x509.load_pem_x509_csr(made).public_bytes(Encoding.DER)

    def authorization_of(self, token: str) -> str:
        return f"{token}.{self.signer.thumbprint}"

    def digest_of(self, token: str) -> str:
        return b64url(sha256(self.authorization_of(token).encode()).digest())


@dataclass
class World:
    tree: Any
    root: Authority
    authority: Authority
    server: AcmeServer
    zone: Zone
    web: Web
    capture: Any

    def rules(self, **changed: Any) -> AcmeServer:
        """Change the rules of the server as an officer does."""
        from dataclasses import replace

        rules = replace(serving.Rules.of(self.server), **changed)
        self.server = serving.save_server(actor=self.tree.officer, authority_id=self.authority.pk, rules=rules)
        return self.server

    def client(self, algorithm: str = "ES256", *, registered: bool = True) -> Acme:
        made = Acme(self.capture, signer=Signer(algorithm))
        if registered:
            assert made.register().status_code == 201
        return made

    def prove(self, client: Acme, order: Any, *names: str) -> None:
        """Every name of an order proved by DNS."""
        for number in range(len(order.json()["authorizations"])):
            challenge = client.challenge(order, "dns-01", number)
            name = client.post(order.json()["authorizations"][number]).json()["identifier"]["value"]
            self.zone.setdefault((f"_acme-challenge.{name}", "TXT"), []).append(
                f'"{client.digest_of(challenge["token"])}"'
            )
            client.post(challenge["url"], {})

    def issue(self, client: Acme, *names: str, key: Any = None, **more: Any) -> AcmeOrder:
        order = client.order(*names, **more)
        assert order.status_code == 201, order.content
        self.prove(client, order)
        done = client.finalize(order, *names, key=key)
        assert done.status_code == 200, done.content
        client.post(order["Location"])
        row = AcmeOrder.objects.select_related("certificate").get(pk=order["Location"].rsplit("/", 1)[1])
        assert row.state == "valid", row.error
        return row

    def look(self, url: str) -> AcmeChallenge:
        """As the worker does, but now."""
        row = AcmeChallenge.objects.get(pk=url.rsplit("/", 1)[1])
        AcmeChallenge.objects.filter(pk=row.pk, state="processing").update(
            next_try_at=row.authorization.order.created_at
        )
        challenges.look(row.pk)
        row.refresh_from_db()
        return row


@pytest.fixture(scope="session")
def dns_server() -> Iterator[tuple[Zone, str]]:
    with name_server() as found:
        yield found


def serve(tree: Any, dns_server: tuple[Zone, str], web: Web, capture: Any, **more: Any) -> World:
    """A root, an authority below it that serves ACME to anybody, and names that lead to this machine."""
    zone, address = dns_server
    zone.clear()
    zone.broken.clear()
    zone.asked.clear()
    zone.file = None
    cache.clear()
    root, servers = remembered("acme", lambda: _authorities(tree))
    rules = serving.Rules(
        profiles=["server", "client"], wildcards=True, external_account_required=False, networks=["127.0.0.0/8"], resolvers=[address],
        caa_identities=["ca.example.org"], http_port=web.port, **more,
    )  # fmt: skip
    server = serving.save_server(actor=tree.officer, authority_id=servers.pk, rules=rules)
    return World(tree, root, servers, server, zone, web, capture)


def _authorities(tree: Any) -> tuple[Authority, Authority]:
    root = make_authority(tree, "root", path_length=1)
    return root, make_authority(tree, "servers", root, profiles=["server", "client"], names=NAMES, path_length=0)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as found:
        yield found


@pytest.fixture
def world(tree: Any, dns_server: Any, web: Web, celery_eager: None, django_capture_on_commit_callbacks: Any) -> World:
    return serve(tree, dns_server, web, django_capture_on_commit_callbacks)


@pytest.fixture
def sealing_key(tree: Any) -> Any:
    """Without a key for the portal's own secrets there are none for external accounts."""
    key = tree.make("portal", "dek", "AES-256-GCM", tree.kek)
    stores.register_sealed_values(actor=tree.officer, key=key)
    return key
