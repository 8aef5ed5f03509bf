"""Promises of logs: a real certificate of 2018, a small log of our own, and every way in which they may be worth nothing."""

import json
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from certificates import encoding, transparency
from certificates.models import LogList
from certificates.services import log_lists
from certificates.tls import hello
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed
from tests.certificates.logs import SmallLog
from tests.certificates.test_inventory import made, upload

VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "signed_certificate_timestamps.json").read_text())
CERTIFICATE = x509.load_pem_x509_certificate(VECTOR["certificate"].encode())
ISSUER = b64decode(VECTOR["issuer_public_key"])


def faults(certificate=CERTIFICATE, issuer=ISSUER, logs=None, timestamps=None):
    logs = transparency.read_logs(VECTOR["log_list"]) if logs is None else logs
    verdict = transparency.check(certificate, issuer, timestamps or transparency.embedded(certificate), logs)
    return verdict, [item.fault for item in verdict.checked]


def test_a_certificate_of_2018_has_two_promises_of_two_operators():
    verdict, found = faults()
    assert found == ["", ""]
    assert (verdict.counted, verdict.operators, verdict.needed, verdict.enough) == (2, 2, 2, True)
    assert {item.log.description for item in verdict.checked} == {"Google 'Icarus' log", "Sectigo 'Mammoth' CT log"}


def test_what_counts_for_nothing():
    timestamps = transparency.embedded(CERTIFICATE)
    assert faults(issuer=None)[1] == ["without the issuer's certificate it cannot be verified"] * 2
    assert faults(issuer=ISSUER[:-1] + b"\0")[1] == ["the signature is not the log's"] * 2
    assert faults(logs={})[1] == ["its log is not on the list"] * 2
    moved = [replace(item, milliseconds=item.milliseconds + 1) for item in timestamps]
    assert faults(timestamps=moved)[1] == ["the signature is not the log's"] * 2
    rsa = [replace(item, algorithms=(4, 1)) for item in timestamps]
    assert faults(timestamps=rsa)[1] == ["the signature is not the log's"] * 2
    twice, _ = faults(timestamps=[timestamps[0], timestamps[0]])
    assert (twice.counted, twice.enough) == (1, False)


@pytest.mark.parametrize(
    ("state", "good"),
    [
        ({"usable": {}}, True), ({"readonly": {}}, True), ({"pending": {}}, False), ({"rejected": {}}, False),
        ({"retired": {"timestamp": "2018-01-01T00:00:00Z"}}, False), ({"retired": {"timestamp": "2020-01-01T00:00:00Z"}}, True),
    ],
)  # fmt: skip
def test_the_state_of_the_log_decides(state, good):
    content = json.loads(json.dumps(VECTOR["log_list"]))
    for operator in content["operators"]:
        operator["logs"][0]["state"] = state
    verdict, _ = faults(logs=transparency.read_logs(content))
    assert verdict.enough is good


def test_one_operator_is_not_enough():
    content = json.loads(json.dumps(VECTOR["log_list"]))
    for operator in content["operators"]:
        operator["name"] = "One"
    verdict, found = faults(logs=transparency.read_logs(content))
    assert (found, verdict.enough) == (["", ""], False)


def test_promises_of_a_handshake_and_of_the_future():
    log = SmallLog()
    _, certificate = made(days=300)
    raws = [log.add(certificate), log.add(certificate, at=int(timezone.now().timestamp() * 1000) + 10**7)]
    listed = b"".join(len(raw).to_bytes(2) + raw for raw in raws)
    timestamps = transparency.read_timestamps(len(listed).to_bytes(2) + listed, "tls")
    logs = {log.log_id: transparency.Log(log.log_id, log.spki, "Small", "Us", "usable")}
    verdict, found = faults(certificate, None, logs, timestamps)
    assert found == ["", "it is of the future"]
    assert (verdict.needed, verdict.enough) == (3, False)


def test_the_signed_entry_of_a_precertificate_is_the_certificate_without_its_promises():
    """RFC 6962, section 3.2: what is signed is built here by itself, and the library takes it out of the certificate."""
    log = SmallLog()
    private = ec.generate_private_key(ec.SECP256R1())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.example.net")])
    now = timezone.now()
    builder = x509.CertificateBuilder(subject, subject, private.public_key(), 5, now, now + timedelta(days=90))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("www.example.net")]), critical=False)
    raw = log.add(builder.sign(private, hashes.SHA256()), spki)
    listed = len(raw).to_bytes(2) + raw
    listed = encoding.octets(len(listed).to_bytes(2) + listed)
    promises = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), listed)
    certificate = builder.add_extension(promises, critical=False).sign(private, hashes.SHA256())
    logs = {log.log_id: transparency.Log(log.log_id, log.spki, "Small", "Us", "usable")}
    assert faults(certificate, spki, logs)[1] == [""]
    assert faults(certificate, ISSUER, logs)[1] == ["the signature is not the log's"]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_list_or_refused(raw):
    try:
        found = transparency.read_timestamps(raw, "tls")
    except transparency.MalformedTimestamp:
        return
    assert all(len(item.log_id) == 32 for item in found)


@given(st.binary(max_size=60))
def test_a_list_in_a_server_hello_is_taken_out(raw):
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\xc0\x2b" + b"\0"
    extension = (18).to_bytes(2) + len(raw).to_bytes(2) + raw
    body += len(extension).to_bytes(2) + extension
    message = b"\x02" + len(body).to_bytes(3) + body
    answer = hello.read_answer(b"\x16\x03\x03" + len(message).to_bytes(2) + message)
    assert isinstance(answer, hello.Choice)
    assert answer.timestamps == raw


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["operators", "logs", "key", "log_id", "state", "name"]), inner, max_size=4), max_leaves=8))  # fmt: skip
def test_any_json_is_a_list_of_logs_or_refused(content):
    with pytest.raises(transparency.MalformedLogList):
        transparency.read_logs(content)


def listed(**changes) -> bytes:
    return json.dumps(VECTOR["log_list"] | changes).encode()


@pytest.mark.django_db
def test_officers_put_lists_into_force(tree, auditor):
    def put(content, actor=tree.officer):
        return log_lists.upload_list(actor=actor, content=content, provenance="www.gstatic.com/ct/log_list/v3")

    assert log_lists.current_list() is None
    with pytest.raises(PermissionRefused):
        put(listed(), auditor)
    row = put(listed())
    assert (log_lists.current_list(), len(log_lists.logs_of(row))) == (row, 3)
    with pytest.raises(Conflict, match="newer"):
        put(listed(log_list_timestamp="2020-01-01T00:00:00Z"))
    for wrong in (b"", b"[]", b"{}", listed(operators=[]), listed(log_list_timestamp="yesterday"), b"[" * 100_000):
        with pytest.raises(ValidationFailed):
            put(wrong)
    forged = json.loads(listed())
    forged["operators"][0]["logs"][0]["log_id"] = b64encode(bytes(32)).decode()
    with pytest.raises(ValidationFailed, match="hash of its key"):
        put(json.dumps(forged).encode())
    assert LogList.objects.count() == 1


@pytest.mark.django_db
def test_a_certificate_of_the_inventory_is_judged_by_the_list_in_force(tree):
    [row] = upload(tree, VECTOR["certificate"].encode()).rows
    assert [item.fault for item in log_lists.transparency_of(row).verdict.checked] == ["its log is not on the list"] * 2
    log_lists.upload_list(actor=tree.officer, content=listed(), provenance="A test.")
    found = log_lists.transparency_of(row)
    assert [item.fault for item in found.verdict.checked] == [
        "without the issuer's certificate it cannot be verified"
    ] * 2
