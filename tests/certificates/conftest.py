"""A root and two intermediates over local keys, requests to try them with, and the real openssl."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certificates.models import Authority, Certificate
from certificates.services import authorities, crls, issuing, reading, status
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.audit import ledger
from keyvault_portal.audit.models import AuditEvent
from tests.certificates.requests import csr
from tests.keys.conftest import auditor, fresh_caches, officer, service, tree
from tests.remembered import remembered

__all__ = ["auditor", "csr", "fresh_caches", "officer", "service", "tree"]
SERVERS = {"dns": ["example.org"], "ip": ["10.0.0.0/8"]}
CLIENTS = {"uri": ["spiffe://example.org"], "email": ["example.org"], "dns": ["clients.example.org"]}


def plan(tree: Any, name: str, key: Any, parent: Authority | None = None, **more: Any) -> authorities.Plan:
    values = {
        "title": name.replace("-", " ").title(),
        "organization": "Example",
        "days": 3650 if parent is None else 1826,
    } | more
    return authorities.Plan(
        ring_id=str(tree.ring.pk), name=name, key_id=str(key.pk), parent_id=str(parent.pk) if parent else None, **values
    )


def make_authority(
    tree: Any, name: str, parent: Authority | None = None, algorithm: str = "ECDSA-P256-SHA256", **more: Any
) -> Authority:
    """An authority at work, over a local key of its own."""
    key = tree.make(f"{name}-key", "transport", algorithm, tree.kek)
    made = authorities.create_authority(
        actor=tree.officer, plan=plan(tree, name, key, parent, **more), reason="A test."
    )
    authorities.sign_authority(made.pk)
    return Authority.objects.select_related("certificate", "key", "key_version").get(pk=made.pk)


@dataclass
class Hierarchy:
    tree: Any
    root: Authority
    servers: Authority
    clients: Authority

    @property
    def officer(self) -> Actor:
        return self.tree.officer

    def issue(
        self, *names: str, authority: Authority | None = None, profile: str = "server", **more: Any
    ) -> Certificate:
        wanted = [(kind, value) for kind, _, value in (name.partition(":") for name in names)]
        order = issuing.order_from_csr(csr(), profile=profile, names=wanted, **more)
        chosen = authority or (self.servers if profile == "server" else self.clients)
        return issuing.issue_certificate(actor=self.officer, authority_id=chosen.pk, order=order)


@pytest.fixture
def pki(tree: Any) -> Hierarchy:
    return Hierarchy(tree, *remembered("pki", lambda: _authorities(tree)))


def _authorities(tree: Any) -> tuple[Authority, Authority, Authority]:
    root = make_authority(tree, "root", path_length=1)
    servers = make_authority(tree, "servers", root, profiles=["server"], names=SERVERS, path_length=0)
    clients = make_authority(
        tree, "clients", root, profiles=["client", "spiffe", "code-signing"], names=CLIENTS, path_length=0
    )
    return root, servers, clients


type OpenSsl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    """openssl("verify", "-CAfile", some_bytes, ...): bytes become files, everything else is an argument."""

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        words = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                path = tmp_path / f"{number}.file"
                path.write_bytes(argument)
                words.append(str(path))
            else:
                words.append(str(argument))
        return subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)

    return run


def pem(*rows: Certificate) -> bytes:
    return reading.pem(*rows).encode()


def crl_pem(authority: Authority, partition: int = 0, kind: str = "full") -> bytes:
    found = crls.newest(authority, partition, kind)
    assert found is not None
    return x509.load_der_x509_crl(bytes(found.der)).public_bytes(Encoding.PEM)


def refreshed(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def with_responder(authority: Authority) -> Authority:
    status.ensure_responder(authority.pk)
    return Authority.objects.select_related("certificate", "key", "key_version", "responder__key").get(pk=authority.pk)


def order(name: str) -> issuing.Order:
    """A server's certificate for one name, with a key of its own."""
    return issuing.order_from_csr(csr(names=(x509.DNSName(name),)), profile="server")


@pytest.fixture
def at_once(transactional_db: None, tree: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An authority that has issued in this process, so that the next certificate is issued by what is known of it."""
    monkeypatch.setattr(ledger, "_hope", ledger.Hope())
    root = make_authority(tree, "root", profiles=["server"], names=SERVERS)

    def issue(name="b.example.org", actor=tree.officer, wanted=None):
        return issuing.issue_certificate(actor=actor, authority_id=root.pk, order=wanted or order(name))

    issue("a.example.org")
    issue.authority = root
    return issue


def outcomes() -> list[str]:
    """How each issuance on record ended."""
    rows = AuditEvent.objects.filter(action="certificate.issue").order_by("seq")
    return list(rows.values_list("outcome", flat=True))
