"""A watched log: read to its end, recomputed, compared with what is known; a log that lies is found out."""

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.models import Certificate, LoggedCertificate, LogMonitor
from certificates.services import monitoring
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, PermissionRefused, PortalError, ValidationFailed
from tests.certificates.logs import SmallLog, small_log
from tests.certificates.test_inventory import made, upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(settings):
    settings.TLS_SCAN_ALLOWED_HOSTS = ["127.0.0.0/8"]
    with small_log() as log:
        for number in range(5):
            log.add(made(f"h{number}.example.com")[1])
        yield log


@pytest.fixture
def olga() -> Person:
    person = Person.objects.create(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=None)
    return person


def watch(tree, log: SmallLog, *domains: str, key: bytes = b"") -> LogMonitor:
    monitor = monitoring.watch_log(
        actor=tree.officer, ring=tree.ring, name="Small", url=log.url, public_key=b64encode(key or log.spki).decode(),
        domains=domains or ["example.net"],
    )  # fmt: skip
    monitoring.poll(monitor.pk)
    return again(monitor)


def again(monitor: LogMonitor) -> LogMonitor:
    return LogMonitor.objects.get(pk=monitor.pk)


def test_only_what_is_new_and_ours_is_found_and_the_unknown_is_told(tree, log, olga):
    monitor = watch(tree, log)
    assert (monitor.begun, monitor.position, monitor.error) == (True, 5, "")
    _, known = made("known.example.net")
    upload(tree, known.public_bytes(Encoding.PEM))
    log.add(known)
    for number in range(9):
        log.add(made(f"h{number}.example.com")[1])
    _, unknown = made("*.shop.example.net")
    log.add(unknown, b"the key of its issuer")
    log.add(unknown)
    log.add(made("notexample.net")[1])
    assert monitoring.poll(monitor.pk) == 13
    assert again(monitor).position == 18
    found = {row.index: row for row in LoggedCertificate.objects.all()}
    assert {index: (row.precertificate, row.certificate_id is not None) for index, row in found.items()} == {
        5: (False, True), 15: (True, False), 16: (False, False),
    }  # fmt: skip
    assert found[15].names == ["*.shop.example.net"]
    [text] = Notice.objects.values_list("text", flat=True)  # once, though its certificate followed
    assert "shop.example.net" in text
    assert AuditEvent.objects.filter(action="log.finding").count() == 3
    assert monitoring.poll(monitor.pk) == 0
    upload(tree, unknown.public_bytes(Encoding.PEM))
    monitoring.tick()
    assert not LoggedCertificate.objects.filter(certificate=None).exists()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 7, 8])
def test_it_begins_at_any_size(tree, settings, size):
    settings.TLS_SCAN_ALLOWED_HOSTS = ["127.0.0.0/8"]
    with small_log() as log:
        for number in range(size):
            log.add(made(f"h{number}.example.com")[1])
        monitor = watch(tree, log)
        assert monitor.position == size
        log.add(made("www.example.net")[1])
        log.add(made("www.example.net")[1])
        assert monitoring.poll(monitor.pk) == 2
        assert again(monitor).error == ""
    assert LoggedCertificate.objects.count() == 2


def _forge_root(what, answer):
    return answer | {"sha256_root_hash": b64encode(b"x" * 32).decode()} if what == "get-sth" else answer


def _hide_entry(what, answer):
    if what == "get-entries":
        first = answer["entries"][0]
        leaf = bytearray(b64decode(first["leaf_input"]))
        leaf[-3] ^= 1
        return {"entries": [first | {"leaf_input": b64encode(leaf).decode()}, *answer["entries"][1:]]}
    return answer


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (_forge_root, "not signed"),
        (_hide_entry, "do not lead to the root"),
        (lambda what, answer: b"[]", "no JSON object"),
        (lambda what, answer: b"\xff", "no JSON object"),
        (lambda what, answer: {"entries": [{}]} if what == "get-entries" else answer, "cannot be read"),
        (lambda what, answer: {"entries": []} if what == "get-entries" else answer, "no entry"),
        (lambda what, answer: answer | {"tree_head_signature": "AAAA"} if what == "get-sth" else answer, "tree head"),
        (lambda what, answer: answer | {"tree_size": "x"} if what == "get-sth" else answer, "tree head"),
    ],
)
def test_a_log_that_lies_is_found_out_and_nothing_is_kept_of_it(tree, log, olga, tamper, words):
    monitor = watch(tree, log)
    log.add(made("www.example.net")[1])
    log.tamper = tamper
    monitoring.poll(monitor.pk)
    monitoring.poll(monitor.pk)
    found = again(monitor)
    assert words in found.error
    assert (found.position, found.findings.count()) == (5, 0)
    assert Notice.objects.count() == (0 if words == "no entry" else 1)  # told once, not at every poll
    log.tamper = lambda what, answer: answer
    assert monitoring.poll(monitor.pk) == 1
    assert again(monitor).error == ""


def test_a_rewritten_log_is_found_out(tree, log, olga):
    monitor = watch(tree, log)
    log.entries[2] = log.entries[1]
    monitoring.poll(monitor.pk)
    assert "two trees" in again(monitor).error
    log.add(made("www.example.net")[1])
    monitoring.poll(monitor.pk)
    assert "do not lead to the root" in again(monitor).error


def test_another_key_signs_nothing(tree, log):
    with small_log() as other:
        assert "not signed" in watch(tree, log, key=other.spki).error


def test_what_is_refused(tree, log, auditor, settings):
    def asked(**more):
        values = {
            "name": "L", "url": log.url, "public_key": b64encode(log.spki).decode(), "domains": ["example.net"],
        }  # fmt: skip
        return monitoring.watch_log(**{"actor": tree.officer, "ring": tree.ring} | values | more)

    for wrong in ({"public_key": "AAAA"}, {"domains": []}, {"domains": ["a b"]}, {"url": "ftp://127.0.0.1/"}):
        with pytest.raises(ValidationFailed):
            asked(**wrong)
    with pytest.raises(PermissionRefused):
        asked(actor=auditor)
    monitor = asked()
    with pytest.raises(Conflict):
        asked()
    settings.TLS_SCAN_ALLOWED_HOSTS = []
    monitoring.poll(monitor.pk)  # what was allowed when it was added is asked again at every connection
    assert again(monitor).error
    with pytest.raises(PortalError):
        asked(url=log.url + "/other")
    monitoring.unwatch_log(actor=tree.officer, monitor_id=monitor.pk)
    assert not LogMonitor.objects.exists()


def test_the_schedule(tree, log):
    monitor = watch(tree, log)
    LogMonitor.objects.update(next_at=timezone.now())
    assert (monitoring.tick(), monitoring.tick()) == (1, 0)
    assert again(monitor).next_at > timezone.now()
    assert Certificate.objects.count() == 0
