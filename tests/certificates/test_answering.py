"""OCSP answers before Django: the same as the views give, no older than two seconds, rationed, and in DER as the library reads it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as library
from django.db import OperationalError
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import RedisError

from certificates import fast_ocsp, ocsp, public_views
from certificates.services import answering, rationing, revoking, signers, status
from certificates.signing import WrongSignature
from certificates.states import Reason
from keys.services import cache
from keys.services.ratelimit import shared_memory
from tests.certificates.conftest import with_responder
from tests.certificates.test_status import ask, question

_PATH, _NONCE = "/pki/servers/ocsp", b"0123456789abcdef"


@pytest.fixture(autouse=True)
def _fresh():
    public_views.forget()
    rationing.forget()
    yield
    public_views.forget()
    rationing.forget()


@pytest.fixture
def served(pki):
    """An authority with its delegate and a certificate of it."""
    return with_responder(pki.servers), pki.issue("dns:www.example.org")


class ShortWay:
    """The program in front of Django, and what it left to Django."""

    def __init__(self):
        self.left = []

    def _django(self, environ, start_response):
        self.left.append((environ["PATH_INFO"], environ["wsgi.input"].read()))
        start_response("200 OK", [])
        return [b"long"]

    def send(self, body, path=_PATH, method="POST", **more):
        started = []
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body),
            "REMOTE_ADDR": "192.0.2.7",
        }  # fmt: skip
        content = fast_ocsp.in_front_of(self._django)(environ | more, lambda *head: started.append(head))
        return b"".join(content), dict(started[0][1])

    def says(self, body):
        return library.load_der_ocsp_response(self.send(body)[0])


@pytest.fixture
def short():
    return ShortWay()


def test_the_short_way_gives_what_the_views_give(served, short, client):
    authority, row = served
    status.presign([row.pk])
    raw = question(row, authority.certificate)
    body, headers = short.send(raw)
    public_views.forget()
    _, response = ask(client, authority, raw)
    assert body == response.content
    for name in ("ETag", "Content-Type", "Cache-Control", "Expires"):
        assert headers[name] == response[name]
    assert headers["Content-Length"] == str(len(body))
    for odd, expected in ((b"noise", ocsp.MALFORMED), (b"y" * 10_000, ocsp.MALFORMED)):
        body, headers = short.send(odd)
        assert body == expected == ask(client, authority, odd)[1].content
        assert headers["Cache-Control"] == "no-store"
    assert short.send(raw, path="/pki/nobody/ocsp")[0] == ocsp.UNAUTHORIZED
    assert not short.left


def test_what_is_unusual_goes_on_to_django_whole(served, short, monkeypatch):
    authority, row = served
    raw = question(row, authority.certificate)
    for more in (
        {"path": "/elsewhere"}, {"path": "/pki/a/b/ocsp"}, {"method": "GET"}, {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "x"}, {"CONTENT_LENGTH": "-1"},
    ):  # fmt: skip
        assert short.send(raw, **more)[0] == b"long"
        assert short.left.pop()[1] == raw

    def broken(*_args, **_more):
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(answering, "answer", broken)
    assert short.send(raw)[0] == b"long"
    assert short.left == [(_PATH, raw)]


def test_an_answer_signed_on_demand_is_the_delegates_and_says_what_is_true(pki, served, short):
    authority, row = served
    status.presign([row.pk])
    raw = question(row, authority.certificate, nonce=_NONCE)
    found = short.says(raw)
    [delegate] = found.certificates
    signature = delegate.public_key(), found.signature, found.tbs_response_bytes
    signature[0].verify(*signature[1:], ec.ECDSA(hashes.SHA256()))
    assert found.certificate_status is library.OCSPCertStatus.GOOD
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == _NONCE
    other = short.says(question(row, authority.certificate, nonce=b"another"))
    assert other.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == b"another"
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="key_compromise")
    public_views.forget()
    found = short.says(raw)
    assert found.certificate_status is library.OCSPCertStatus.REVOKED
    assert found.revocation_reason is x509.ReasonFlags.key_compromise
    assert not short.left


def test_a_revocation_is_hidden_for_two_seconds_at_most_whatever_was_asked_before(pki, served, short, monkeypatch):
    authority, row = served
    status.presign([row.pk])
    plain, fresh = (question(row, authority.certificate, nonce=nonce) for nonce in (None, _NONCE))
    now = [1000.0]
    monkeypatch.setattr(cache, "monotonic", lambda: now[0])
    for raw in (fresh, plain):
        assert short.says(raw).certificate_status is library.OCSPCertStatus.GOOD
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="superseded")
    now[0] += 1.9
    others = [question(row, authority.certificate, nonce, hashes.SHA256()) for nonce in (None, b"other")]
    for raw in others:  # what is said now must not be said for two seconds more
        short.says(raw)
    now[0] += 0.11
    for raw in (fresh, plain, *others):
        assert short.says(raw).certificate_status is library.OCSPCertStatus.REVOKED
    assert answering.MAX_AGE == 2.0


def test_an_outage_gives_the_kept_answer_as_the_database_has_it_now(pki, served, short, monkeypatch):
    """The status that is kept for answers with a nonce does not decide what may be kept by others."""
    authority, row = served
    status.presign([row.pk])
    assert short.says(question(row, authority.certificate, nonce=_NONCE)).response_status.name == "SUCCESSFUL"
    revoking.revoke_certificate(actor=pki.officer, certificate_id=row.pk, reason="superseded")
    monkeypatch.setattr(rationing, "may_sign", lambda address: False)
    body, headers = short.send(question(row, authority.certificate, nonce=b"late"))
    assert body == ocsp.TRY_LATER  # never the answer from before
    assert headers["Cache-Control"] == "no-store"
    status.presign([row.pk])
    found = short.says(question(row, authority.certificate, nonce=b"later"))
    assert found.certificate_status is library.OCSPCertStatus.REVOKED


def test_signatures_of_a_key_kept_here_are_checked_once_and_of_a_provider_always(served, monkeypatch):
    authority, row = served
    asked = ocsp.read(question(row, authority.certificate))[0]
    now = datetime.now(UTC)
    sign, wrong = signers._sign, []
    monkeypatch.setattr(signers, "_sign", lambda *what: b"0" * 70 if wrong else sign(*what))

    def answer(answerer):
        return answerer.sign([answering.said(asked, ocsp.Status(), now)], now=now)

    here = answering.Answerer(authority)
    wrong.append(True)
    with pytest.raises(WrongSignature):
        answer(here)
    wrong.clear()
    monkeypatch.setattr(answering, "signs_here", lambda version: False)
    far = answering.Answerer(authority)
    assert answer(far)
    wrong.append(True)
    with pytest.raises(WrongSignature):
        answer(far)


def test_the_ration_of_an_address_holds_over_all_processes(settings, monkeypatch):
    settings.OCSP_SIGNATURES_A_MINUTE = 30
    monkeypatch.setattr(rationing.time, "time", lambda: 60_000_000.0)
    shared_memory().delete("kvp:ocsp:192.0.2.9:1000000")
    granted = 0
    for _ in range(4):  # four processes, one after the other
        rationing.forget()
        granted += sum(rationing.may_sign("192.0.2.9") for _ in range(20))
    assert granted == 29  # the first took 21 in threes and needed 20
    rationing.forget()
    assert not rationing.may_sign("192.0.2.9")
    assert rationing.may_sign("192.0.2.10")
    shared_memory().delete("kvp:ocsp:192.0.2.9:1000000", "kvp:ocsp:192.0.2.10:1000000")


def test_questions_that_come_at_once_take_one_share_together(settings, monkeypatch):
    settings.OCSP_SIGNATURES_A_MINUTE = 80
    monkeypatch.setattr(rationing.time, "time", lambda: 60_000_000.0)
    asked, taken = threading.Barrier(8, timeout=60), []

    def take(name, block, limit):
        taken.append(block)
        time.sleep(0.2)  # as long as another has to come by, if it could
        return block, False

    monkeypatch.setattr(rationing, "_take", take)

    def ask_once():
        asked.wait()
        assert rationing.may_sign("192.0.2.12")

    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(ask_once) for _ in range(8)]:
            one.result()
    assert taken == [8]


def test_without_valkey_each_process_rations_by_itself(settings, monkeypatch):
    settings.OCSP_SIGNATURES_A_MINUTE = 5
    monkeypatch.setattr(rationing.time, "time", lambda: 60_000_000.0)  # the next minute has five more

    class Away:
        def pipeline(self):
            raise RedisError

    monkeypatch.setattr(rationing, "shared_memory", Away)
    assert [rationing.may_sign("192.0.2.11") for _ in range(7)] == [True] * 5 + [False] * 2


_KEY = ec.generate_private_key(ec.SECP256R1())
_PUBLIC = _KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
_MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2120, 1, 1)).map(
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)
_REVOKED = st.builds(ocsp.Status, _MOMENTS, st.sampled_from(Reason))


@settings(max_examples=200, deadline=None)
@given(
    serial=st.integers(1, 2**159),
    nonce=st.none() | st.binary(min_size=1, max_size=32),
    said=st.just(ocsp.Status()) | st.just(ocsp.Status(known=False)) | _REVOKED,
    digest=st.sampled_from([("sha1", 20), ("sha256", 32)]),
    now=_MOMENTS,
    age=st.integers(0, 100),
    data=st.data(),
)
def test_every_answer_is_read_by_the_library_as_it_was_meant(serial, nonce, said, digest, now, age, data):
    name, size = digest
    hashed = [data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2)]
    asked = ocsp.Asked(name, *hashed, serial, nonce)
    responder = ocsp.Responder("ECDSA-P256-SHA256", _PUBLIC)
    since, until = now - timedelta(seconds=age), now + timedelta(days=4)
    single = ocsp.single(asked, said, this_update=since, next_update=until)
    raw = ocsp.build(
        [single], responder, lambda body: _KEY.sign(body, ec.ECDSA(hashes.SHA256())), now=now, nonce=nonce
    )  # fmt: skip
    found = library.load_der_ocsp_response(raw)
    _KEY.public_key().verify(found.signature, found.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert (found.serial_number, found.hash_algorithm.name) == (serial, name)
    assert [found.issuer_name_hash, found.issuer_key_hash] == hashed
    assert (found.produced_at_utc, found.this_update_utc, found.next_update_utc) == (now, since, until)
    assert found.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(_KEY.public_key()).digest
    expected = "UNKNOWN" if not said.known else "GOOD" if said.revoked_at is None else "REVOKED"
    assert found.certificate_status.name == expected
    assert found.revocation_time_utc == said.revoked_at
    if said.revoked_at is not None and said.reason is not Reason.UNSPECIFIED:
        assert found.revocation_reason.name == said.reason.value
    else:
        assert found.revocation_reason is None
    extensions = [item.value.nonce for item in found.extensions]
    assert extensions == ([] if nonce is None else [nonce])


_DETERMINISTIC = ed25519.Ed25519PrivateKey.generate()
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Responder")])
_RESPONDER = (
    x509.CertificateBuilder(_NAME, _NAME, _DETERMINISTIC.public_key(), 1, datetime(2020, 1, 1), datetime(2120, 1, 1))
    .sign(_DETERMINISTIC, None)
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    serial=st.integers(1, 2**159),
    nonce=st.none() | st.binary(min_size=1, max_size=32),
    said=st.just(ocsp.Status()) | _REVOKED,
    digest=st.sampled_from([("sha1", hashes.SHA1()), ("sha256", hashes.SHA256())]),
    since=_MOMENTS,
    delegated=st.booleans(),
    data=st.data(),
)
def test_every_answer_is_byte_by_byte_the_librarys(serial, nonce, said, digest, since, delegated, data):
    name, function = digest
    hashed = [data.draw(st.binary(min_size=function.digest_size, max_size=function.digest_size)) for _ in range(2)]
    until = since + timedelta(days=4)
    builder = library.OCSPResponseBuilder().responder_id(library.OCSPResponderEncoding.HASH, _RESPONDER)
    state = library.OCSPCertStatus.GOOD if said.revoked_at is None else library.OCSPCertStatus.REVOKED
    named = None
    if said.revoked_at is not None and said.reason is not Reason.UNSPECIFIED:
        named = x509.ReasonFlags[said.reason.value]
    builder = builder.add_response_by_hash(*hashed, serial, function, state, since, until, said.revoked_at, named)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    if delegated:
        builder = builder.certificates([_RESPONDER])
    theirs = builder.sign(_DETERMINISTIC, None)
    public = _DETERMINISTIC.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    responder = ocsp.responder_of(_RESPONDER, "Ed25519", public, delegated=delegated)
    single = ocsp.single(ocsp.Asked(name, *hashed, serial, nonce), said, this_update=since, next_update=until)
    now = theirs.produced_at_utc
    ours = ocsp.build([single], responder, _DETERMINISTIC.sign, now=now, nonce=nonce)
    assert ours == theirs.public_bytes(Encoding.DER)
