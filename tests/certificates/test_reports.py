"""What agents of hosts and clusters report: once, in batches, and never more than a token's scope allows."""

from datetime import timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.cache import cache
from django.utils import timezone

from certificates.models import Certificate, Sighting
from certificates.services import expiry, inventory, reports
from certificates.services.reports import Found
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.models import Notice
from keyvault_portal.errors import PermissionRefused, ValidationFailed
from tests.certificates.test_inventory import made, upload


def pem(name="www.example.net", days=90):
    return made(name, days=days)[1].public_bytes(Encoding.PEM).decode()


def report(tree, service, *found, host="web-1", **more):
    return reports.report(actor=service, ring=tree.ring, host=host, found=[Found(*item) for item in found], **more)


def test_the_same_report_again_changes_nothing(tree, service):
    found = [("/etc/ssl/a.pem", pem("a.example.net")), ("/etc/ssl/b.pem", pem("b.example.net") + pem("ca.example.net"))]
    assert report(tree, service, *found) == reports.Reported(3, 0, 0, ())
    assert report(tree, service, *found) == reports.Reported(0, 3, 0, ())
    assert Sighting.objects.count() == 3
    assert set(Certificate.objects.values_list("source", "key_origin")) == {("reported", "unknown")}
    assert set(inventory.with_places(Certificate.objects.all())) == set(Certificate.objects.all())


def test_a_file_that_was_replaced_and_one_that_is_gone(tree, service):
    old, new, other = pem(days=20), pem(days=90), pem("b.example.net")
    report(tree, service, ("/a", old), ("/b", other))
    assert report(tree, service, ("/a", new), complete=True).changed == 1
    rows = {row.not_after - row.not_before: row for row in Certificate.objects.filter(subject="CN=www.example.net")}
    assert rows[timedelta(days=90)].renews == rows[timedelta(days=20)]
    gone = inventory.with_places(Certificate.objects.all(), present=False)
    assert {str(row) for row in gone} == {"www.example.net", "b.example.net"}
    again = report(tree, service, ("/b", other), complete=False)
    assert again.added == 0
    assert Sighting.objects.get(path="/b").gone_at is None


def test_a_place_that_cannot_be_read_is_named_and_left_as_it_was(tree, service):
    report(tree, service, ("/a", pem()))
    junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    assert report(tree, service, ("/a", junk), ("/b", ""), ("/c", "\u2603" + junk)).unreadable == ("/a", "/b", "/c")
    assert Sighting.objects.get().gone_at is None


def test_a_thousand_at_once(tree, service, django_assert_max_num_queries):
    one = pem()
    found = [(f"/etc/ssl/{number}.pem", one) for number in range(1_000)]
    with django_assert_max_num_queries(25):
        assert report(tree, service, *found).added == 1
    assert Sighting.objects.count() == 1_000
    with pytest.raises(ValidationFailed, match="1,000"):
        report(tree, service, *found, ("/one-more", one))


@pytest.mark.parametrize(
    ("host", "found", "kind"),
    [
        ("", [("/a", "")], "host"),
        ("a\0b", [("/a", "")], "host"),
        ("web-1", [], "host"),
        ("web-1", [("/a", ""), ("/a", "")], "host"),
        ("web-1", [("", "")], "host"),
        ("web-1", [("/a\n", "")], "host"),
        ("web-1", [("/" * 401, "")], "host"),
        ("web-1", [("/a", "x" * 100_001)], "host"),
        ("web-1", [("/a", "")], "endpoint"),
    ],
)
def test_reports_that_are_refused(tree, service, host, found, kind):
    with pytest.raises(ValidationFailed):
        report(tree, service, *found, host=host, kind=kind)
    assert not Sighting.objects.exists()


def test_only_who_may_report_does(tree, auditor):
    with pytest.raises(PermissionRefused):
        report(tree, auditor, ("/a", pem()))


def test_notices_cover_every_source_once(tree, service):
    person = Person.objects.create(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=None)
    upload(tree, pem("uploaded.example.net", days=29).encode())
    report(tree, service, ("/a", pem("agent.example.net", days=6)), ("/b", pem("gone.example.net", days=6)))
    report(tree, service, ("/b", pem("other.example.net")))
    for _ in range(3):
        expiry.tick()
    texts = list(Notice.objects.values_list("text", flat=True))
    assert sorted(text.split()[2] for text in texts) == ["agent.example.net", "uploaded.example.net"]
    Certificate.objects.filter(subject="CN=agent.example.net").update(not_after=timezone.now() + timedelta(hours=20))
    expiry.tick()
    assert Notice.objects.filter(text__startswith="The certificate agent").count() == 2


def test_a_key_that_comes_later_is_noted(pki, service):
    key = pki.tree.make("web", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    row = pki.issue("dns:www.example.org")
    spki = Certificate.objects.get(pk=row.pk).spki_sha256
    public = key.versions.get().public_key
    Certificate.objects.filter(pk=row.pk).update(key_origin="unknown", spki_sha256=sha256(bytes(public)).hexdigest())
    assert spki != Certificate.objects.get(pk=row.pk).spki_sha256
    assert inventory.figures(Certificate.objects.all())["keyless"] == 1
    cache.delete(inventory._ADOPTED)
    assert (inventory.adopt_keys(), inventory.adopt_keys()) == (1, 0)
    found = Certificate.objects.get(pk=row.pk)
    assert (found.key, found.key_origin) == (key, "hierarchy")


def test_only_keys_that_came_lately_are_looked_at_and_all_of_them_once_a_day(pki, monkeypatch):
    key = pki.tree.make("web", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    row = pki.issue("dns:www.example.org")
    digest = sha256(bytes(key.versions.get().public_key)).hexdigest()
    monkeypatch.setattr(inventory, "_STILL_MADE", 0)

    def keyless() -> None:
        Certificate.objects.filter(pk=row.pk).update(key_origin="unknown", spki_sha256=digest, key=None)

    cache.delete(inventory._ADOPTED)
    assert inventory.adopt_keys() == 0
    keyless()
    assert inventory.adopt_keys() == 0  # that key was there before, and whatever is met is compared when it is met
    pki.tree.make("later", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    assert inventory.adopt_keys() == 0
    monkeypatch.setattr(inventory, "_STILL_MADE", 500)  # one that its provider was slow to make
    assert inventory.adopt_keys() == 1
    keyless()
    monkeypatch.setattr(inventory, "_STILL_MADE", 0)
    assert inventory.adopt_keys() == 0
    cache.delete(inventory._ADOPTED)
    assert inventory.adopt_keys() == 1
