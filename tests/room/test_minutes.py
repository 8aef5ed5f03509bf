"""Signed minutes: by a key of the hierarchy, certified by itself or by an authority of ours, time-stamped, once; pyHanko's own validator reads them."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from asn1crypto import keys, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.urls import reverse
from django.utils import timezone
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.timestamps.dummy_client import DummyTimeStamper
from pyhanko.sign.validation import validate_pdf_signature
from pyhanko_certvalidator import ValidationContext

from ceremonies import tasks
from ceremonies.models import Ceremony, Minutes
from ceremonies.services import minutes, plans
from certificates.services import issuing
from keys.hosts import HostRefused
from keys.services import lifecycle, operations
from keys.services.operations.values import OperationUnsupported
from keyvault_portal.accounts.actors import system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import ProviderUnavailable, ValidationFailed, WrongState
from tests.api.conftest import sign_in
from tests.certificates.conftest import make_authority
from tests.keys.conftest import build_tree
from tests.room.cast import Cast, plan

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tree(planner: Any) -> Any:
    return build_tree(planner)


@pytest.fixture
def held(planner: Any, tree: Any) -> Callable[..., Ceremony]:
    """A rehearsal that was called off in its open room, its minutes to be signed by a new key; nobody needs to deal shares for that."""

    def hold(algorithm: str = "ECDSA-P256-SHA256", kind: str = "transport") -> Ceremony:
        key = tree.make("minutes-key", kind, algorithm, tree.kek)
        cast = Cast(planner, plan(planner, "destruction:2", threshold=0, share_count=0, minutes_key=key))
        cast.seat_staff()
        cast.open()
        plans.call_off(actor=planner, ceremony_id=cast.id, reason="It was a test of the minutes.")
        return cast.now

    return hold


def validated(pdf: bytes, root: bytes, *more_roots: asn1_x509.Certificate) -> Any:
    roots = [asn1_x509.Certificate.load(root), *more_roots]
    signature = PdfFileReader(io.BytesIO(pdf)).embedded_signatures[0]
    context = ValidationContext(trust_roots=roots, allow_fetching=False)
    return validate_pdf_signature(signature, context, ts_validation_context=context)


@pytest.mark.parametrize("algorithm", ["ECDSA-P256-SHA256", "ECDSA-P384-SHA384", "RSA-2048-PSS-SHA256", "Ed25519"])
def test_the_signature_is_good_for_every_algorithm_that_documents_know(held, algorithm):
    ceremony = held(algorithm)
    made = minutes.sign_minutes(ceremony.pk)
    status = validated(bytes(made.pdf), bytes(made.certificate))
    assert status.bottom_line
    assert status.intact
    assert status.coverage.name == "ENTIRE_FILE"
    assert made.self_signed
    assert minutes.sign_minutes(ceremony.pk) is None  # once
    altered = bytes(made.pdf).replace(b"/Producer", b"/Produces", 1)
    assert altered != bytes(made.pdf)
    assert not validated(altered, bytes(made.certificate)).bottom_line


def test_what_is_shown_later_is_what_was_signed_and_it_is_on_the_record(held, people):
    ceremony = held()
    tasks.sign_minutes(str(ceremony.pk))
    client, kept = sign_in(people["lena"]), Minutes.objects.get()
    url = reverse("ceremonies:minutes", args=[ceremony.pk])
    assert client.get(url).content == client.get(url).content == bytes(kept.pdf)
    details = json.loads(AuditEvent.objects.get(action="ceremony.sign_minutes").leaf)["details"]
    assert details["sha256"] == kept.sha256
    assert "minutes-key" in client.get(reverse("ceremonies:detail", args=[ceremony.pk])).content.decode()


def test_one_key_one_certificate(held, planner, tree):
    first = minutes.sign_minutes(held().pk)
    key = Ceremony.objects.get(pk=first.ceremony_id).minutes_key
    cast = Cast(planner, plan(planner, "destruction:2", threshold=0, share_count=0, minutes_key=key))
    cast.seat_staff()
    cast.open()
    plans.call_off(actor=planner, ceremony_id=cast.id, reason="Again.")
    second = minutes.sign_minutes(cast.id)
    assert bytes(first.certificate) == bytes(second.certificate)


def test_an_authority_of_ours_certifies_the_key(held, tree, planner):
    ceremony = held()
    root = make_authority(tree, "root", path_length=1)
    issuer = make_authority(tree, "documents", root, profiles=["document-signing"], path_length=0)
    row = issuing.issue_for_key(
        actor=planner,
        authority_id=issuer.pk,
        key_id=ceremony.minutes_key_id,
        profile="document-signing",
        names=[],
        common_name="Minutes",
    )
    made = minutes.sign_minutes(ceremony.pk)
    assert not made.self_signed
    assert bytes(made.certificate) == bytes(row.der)
    assert validated(bytes(made.pdf), bytes(root.certificate.der)).bottom_line


def test_a_key_for_minutes_signs_nothing_else_and_has_to_fit(held, planner, tree):
    ceremony = held()
    user = system_actor("nobody")
    service = type(planner)(
        id=planner.id, kind="service", label="shop", grants=(system_actor("x", Permission.KEY_SIGN).grants)
    )
    with pytest.raises(OperationUnsupported, match="minutes"):
        operations.sign(service, ceremony.minutes_key_id, b"anything")
    for key in (tree.token, tree.dek):
        with pytest.raises(ValidationFailed):
            plan(planner, "destruction:2", threshold=0, share_count=0, minutes_key=key)
    assert not minutes.minutes_keys(user).exists()


def test_what_stands_in_the_way_is_said_and_tried_again(held, planner):
    ceremony = held()
    version = ceremony.minutes_key.versions.get()
    lifecycle.suspend_version(actor=planner, version_id=version.pk, reason="A test.")
    with pytest.raises(WrongState):
        minutes.sign_minutes(ceremony.pk)
    assert "no active version" in Ceremony.objects.get(pk=ceremony.pk).minutes_problem
    assert minutes.unsigned_minutes() == [ceremony.pk]
    lifecycle.resume_version(actor=planner, version_id=version.pk)
    assert minutes.sign_minutes(ceremony.pk) is not None
    assert Ceremony.objects.get(pk=ceremony.pk).minutes_problem == ""
    assert minutes.unsigned_minutes() == []


class Authority:
    """A time-stamping authority over HTTP; `spoil` makes it answer nonsense."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Time of the tests")])
        now = timezone.now()
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
            .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.TIME_STAMPING]), critical=True).sign(key, hashes.SHA256())
        )  # fmt: skip
        self.certificate = asn1_x509.Certificate.load(made.public_bytes(serialization.Encoding.DER))
        raw = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        stamper, self.spoil, self.asked = DummyTimeStamper(self.certificate, keys.PrivateKeyInfo.load(raw)), False, 0
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = tsp.TimeStampReq.load(self.rfile.read(int(self.headers["Content-Length"])))
                authority.asked += 1
                answer = b"no" if authority.spoil else stamper.request_tsa_response(request).dump()
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if authority.spoil else "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/tsr"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def tsa(settings: Any) -> Iterator[Authority]:
    authority = Authority()
    settings.MINUTES_TSA_URL = authority.url
    yield authority
    authority.stop()


def test_the_minutes_are_time_stamped(held, tsa):
    made = minutes.sign_minutes(held().pk)
    assert made.timestamped
    status = validated(bytes(made.pdf), bytes(made.certificate), tsa.certificate)
    assert status.bottom_line
    assert status.timestamp_validity.trusted


def test_without_the_time_stamp_that_is_asked_for_nothing_is_signed(held, tsa, settings):
    ceremony = held()
    tsa.spoil = True
    with pytest.raises(ProviderUnavailable):
        minutes.sign_minutes(ceremony.pk)
    assert "no time-stamp" in Ceremony.objects.get(pk=ceremony.pk).minutes_problem
    settings.STORE_ALLOWED_HOSTS = ["10.0.0.0/8"]
    asked = tsa.asked
    with pytest.raises(HostRefused):
        minutes.sign_minutes(ceremony.pk)
    assert tsa.asked == asked
    assert not Minutes.objects.exists()
