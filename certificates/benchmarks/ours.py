"""What is measured of ours: an authority with its certificates, answers, lists and the expiry page."""

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from certificates import crl, pkix_lint
from certificates.benchmarks.boxed import Effort, Job, boxed, crowded
from certificates.models import Authority
from certificates.services import authorities, issuing, reading, signers, status
from certificates.states import Reason
from keys.benchmarks import Tell
from keys.benchmarks.lists import signed_in
from keys.services import creation
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.measure import Measurement

_ACTOR = system_actor("benchmark", *Permission)
_BATCH, _PAGE_REQUESTS, _PAGE_MS, _ENOUGH = 100, 9, 100.0, 10**9
CERT_ID = hashes.SHA1()  # noqa: S303  what clients name issuers by (RFC 5019, 2.1.1)


def make_authority() -> Authority:
    """An intermediate's worth of authority over a local key, with its responder at work."""
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
        ring_id=str(ring.pk), name="benchmark", title="Benchmark CA", key_id=str(key.pk), days=3000, profiles=["server"],
        names={"dns": ["example.org"]},
    )  # fmt: skip
    made = authorities.create_authority(actor=_ACTOR, plan=plan, reason="Benchmark.")
    authorities.sign_authority(made.pk)
    status.ensure_responder(made.pk)
    related = ("certificate", "key", "key_version__key", "responder__key", "ring")
    return Authority.objects.select_related(*related).get(pk=made.pk)


def make_request(number: int) -> bytes:
    """A request for one name, in PEM."""
    names = x509.SubjectAlternativeName([x509.DNSName(f"h{number}.example.org")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


@contextmanager
def plain() -> Iterator[None]:
    """Signatures on demand without the ration an address has, here and in the processes that begin in this block.

    Certificates are linted by our own rules alone, as in a plain installation, also where pkilint is there for the tests.
    """
    linted, pkix_lint.installed = pkix_lint.installed, False
    os.environ["OCSP_SIGNATURES_A_MINUTE"] = str(_ENOUGH)
    try:
        with override_settings(
            ALLOWED_HOSTS=["testserver"], SECURE_SSL_REDIRECT=False, OCSP_SIGNATURES_A_MINUTE=_ENOUGH
        ):
            yield
    finally:
        pkix_lint.installed = linted
        del os.environ["OCSP_SIGNATURES_A_MINUTE"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Jobs in the process, and two questions of OCSP: one with a kept answer, one that has to be signed."""

    jobs: dict[str, Job]
    kept: bytes
    signed: bytes


def measured(authority: Authority, requests: list[bytes], callers: ThreadPoolExecutor, seconds: float) -> Measured:
    """Issuing and answering, and the library alone beside both."""
    private = ec.generate_private_key(ec.SECP256R1())
    assert authority.certificate is not None
    issuer = reading.parse(authority.certificate)

    def order(raw: bytes) -> issuing.Order:
        return issuing.order_from_csr(raw, profile="server")

    def one(raw: bytes) -> None:
        issuing.issue_certificate(actor=_ACTOR, authority_id=authority.pk, order=order(raw))

    def batch(raws: list[bytes]) -> None:
        orders = [order(raw) for raw in raws]
        issuing.issue_certificates(actor=_ACTOR, authority_id=authority.pk, orders=orders)

    pages = [requests[start : start + _BATCH] for start in range(0, len(requests), _BATCH)]
    whole = [page for page in pages if len(page) == len(pages[0])] * 3
    row = issuing.issue_certificate(actor=_ACTOR, authority_id=authority.pk, order=order(requests[0]))
    status.presign([row.pk])
    leaf = reading.parse(row)
    question = _question(leaf, issuer)
    again = _question(leaf, issuer, nonce=b"0123456789abcdef")
    jobs = {
        "one": boxed(one, requests, seconds),
        "callers": crowded(one, requests, callers, seconds),
        "batch": boxed(batch, whole, seconds, each=len(whole[0])),
        "library": boxed(lambda raw: _by_library(raw, issuer, private), requests, seconds),
        "ocsp library": boxed(lambda _: _answer_by_library(leaf, issuer, private), range(1_000), seconds),
    }
    for _ in range(4):
        jobs[
            "callers"
        ]()  # until every connection has the statement planned, as in a web process that is up for a while
    return Measured(jobs, question, again)


def _question(leaf: x509.Certificate, issuer: x509.Certificate, nonce: bytes = b"") -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, CERT_ID)
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
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
    # The library answers only for the key it signs with.
    stand_in = x509.CertificateBuilder(
        issuer.subject, issuer.subject, private.public_key(), 1, now, now + timedelta(days=1)
    )
    signer = stand_in.sign(private, hashes.SHA256())
    builder = ocsp.OCSPResponseBuilder().responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
    good = ocsp.OCSPCertStatus.GOOD
    builder = builder.add_response(leaf, issuer, CERT_ID, good, now, now + timedelta(days=4), None, None)
    builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER)


def list_jobs(authority: Authority, effort: Effort, tell: Tell) -> dict[str, Job]:
    """A long CRL with one new entry: of entries kept as DER, and built anew by the library."""
    tell(f"making {effort.entries:,} entries")
    issuer = reading.issuer_of(authority)
    sign = signers.signer(authority.key_version)
    now = datetime.now(UTC).replace(microsecond=0)
    plan = crl.Plan(1, now, now + timedelta(days=7))
    serials = [x509.random_serial_number() for _ in range(effort.entries)]
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

    tell(f"CRLs of {effort.entries:,}")
    return {"kept": joined, "rebuilt": rebuilt}


def expiry_page(effort: Effort, rounds: int, tell: Tell) -> list[Measurement]:
    """Server time and queries of the expiry page over many certificates, a few of them due."""
    tell(f"making {effort.entries:,} certificates")
    with connection.cursor() as cursor:
        cursor.execute(_FILL, [effort.entries])
        cursor.execute("ANALYZE certificates_certificate")
    tell("the expiry page")
    client = signed_in()
    with CaptureQueriesContext(connection) as captured:
        answer = client.get("/certificates/expiry/")
        queries = len(captured.captured_queries)  # while they are kept
    if answer.status_code != 200:
        raise RuntimeError("The expiry page does not answer.")
    times = []
    for _ in range(_PAGE_REQUESTS * rounds):
        begun = time.perf_counter()
        client.get("/certificates/expiry/")
        times.append((time.perf_counter() - begun) * 1_000)
    middle = statistics.median(times)
    name = f"Expiry page over {effort.entries:,} certificates"
    return [
        Measurement(name, middle, "ms", f"{_PAGE_MS:.0f} ms", middle / _PAGE_MS, 1.0, at_most=True),
        Measurement(f"{name}: queries", float(queries), "queries"),
    ]


# Copies of one row with other names, serial numbers and ends, spread over two years.
_FILL = """
INSERT INTO certificates_certificate
SELECT (jsonb_populate_record(one, jsonb_build_object(
    'id', gen_random_uuid(), 'serial', md5(n::text), 'fingerprint', md5(n::text) || md5((n + 1)::text),
    'spki_sha256', md5((-n)::text) || md5(n::text), 'not_before', now() - interval '1 day',
    'not_after', now() + n * interval '10 minutes', 'subject', 'CN=h' || n || '.example.org',
    'names', jsonb_build_array('dns:h' || n || '.example.org'), 'search', 'cn=h' || n || '.example.org ' || md5(n::text)))).*
FROM generate_series(1, %s) AS n, certificates_certificate AS one
WHERE one.id = (SELECT id FROM certificates_certificate WHERE profile = 'server' LIMIT 1)
"""
