"""Watched endpoints: real handshakes, every scan kept, people told of changes, and nothing scanned that is not allowed."""

import socket
from datetime import timedelta

import pytest
from cryptography import x509
from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.models import Certificate, EndpointScan, ExpiryNotice, ScanRange, ScanTarget, Sighting
from certificates.services import expiry, inventory, scan_policy, scanning
from certificates.states import SCAN_MOVES, ScanState
from certificates.tls.grading import grade
from keys.hosts import HostRefused
from keyvault_portal.accounts.models import Person, RoleBinding
from keyvault_portal.approvals.models import Notice
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Conflict, NotFound, PermissionRefused, ValidationFailed
from tests.certificates.endpoints import endpoint
from tests.tls.authority import DAY, NOW, Authority, Issued, subject

pytestmark = pytest.mark.django_db
LOCAL = "localhost"


@pytest.fixture
def above() -> Authority:
    return Authority.root("Elsewhere Root").subordinate("Elsewhere Servers")


def leaf(above: Authority, ends=NOW + 18 * DAY, name=LOCAL) -> Issued:
    return above.issue(subject(cn=name), [x509.DNSName(name)], ends=ends)


@pytest.fixture
def here(settings):
    settings.TLS_SCAN_ALLOWED_HOSTS = ["127.0.0.0/8", "::1/128"]


@pytest.fixture
def olga(tree) -> Person:
    person = Person.objects.create(email="olga@example.org", name="Olga")
    RoleBinding.objects.create(person=person, role="security_officer", ring=None)
    return person


def watch(tree, server, **more) -> ScanTarget:
    target = scanning.add_target(actor=tree.officer, ring=tree.ring, host=LOCAL, port=server.port, **more)
    scanning.perform(target.scans.get().pk)
    return ScanTarget.objects.get(pk=target.pk)


def scan(tree, target) -> EndpointScan:
    made = scanning.request_scan(actor=tree.officer, target_id=target.pk)
    scanning.perform(made.pk)
    return EndpointScan.objects.get(pk=made.pk)


def told() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("text", flat=True))


def test_a_scan_is_kept_and_what_it_met_is_in_the_inventory(tree, here, above, olga):
    shown = leaf(above)
    with endpoint(shown) as server:
        target = watch(tree, server, owner=olga)
    last = target.last
    assert (last.state, last.sound, last.error, last.changes) == ("done", True, "", [])
    assert last.versions == ["TLSv1.2", "TLSv1.3"]
    assert last.hybrid == ("X25519MLKEM768" in last.report["groups"])
    assert last.leaf.serial == f"{shown.certificate.serial_number:x}"
    assert (last.leaf.source, last.leaf.key_origin, last.leaf.owner) == ("scanned", "unknown", olga)
    assert [row.position for row in last.leaf.sightings.all()] == [0]
    assert Certificate.objects.filter(source="scanned").count() == 2  # the intermediate came along
    assert last.leaf.issued_under.subject == "CN=Elsewhere Servers"
    assert told() == []
    event = AuditEvent.objects.filter(action="endpoint.scan").get()
    assert event.outcome == "success"


def test_people_are_told_once_of_each_change(tree, here, above, olga):
    first, second = leaf(above), leaf(above, NOW + 19 * DAY)
    with endpoint(first) as server:
        target = watch(tree, server)
        assert scan(tree, target).changes == []
        server.show(second)
        assert scan(tree, target).changes == ["It shows another certificate."]
        assert scan(tree, target).changes == []
        stranger = leaf(Authority.root("Stranger"))
        server.show(stranger, chain=stranger.pem + above.pem)
        changed = scan(tree, target)
        assert not changed.sound
        assert changed.changes[:2] == ["It shows another certificate.", "Its chain is broken."]
        assert scan(tree, target).changes == []
        server.show(second)
        assert "Its chain is whole again." in scan(tree, target).changes
    gone = scan(tree, target)
    assert (gone.state, gone.changes) == ("failed", ["It does not answer any more."])
    assert scan(tree, target).changes == []
    assert len(told()) == 4
    assert Notice.objects.filter(alarm=True).count() == 2  # the broken chain and the silence


def test_what_replaces_a_certificate_renews_it_and_what_is_gone_ends_in_silence(tree, here, above, olga):
    ending, next_one = leaf(above, NOW + 6 * DAY), leaf(above, NOW + 17 * DAY)
    with endpoint(ending) as server:
        target = watch(tree, server)
        old = target.last.leaf
        rows = Certificate.objects.all()
        assert old in inventory.due(rows)
        server.show(next_one)
        scan(tree, target)
    new = ScanTarget.objects.get(pk=target.pk).last.leaf
    assert new.renews == old
    assert old.sightings.get().gone_at is not None
    assert old not in inventory.due(rows)
    assert new in inventory.due(rows)
    expiry.tick()
    assert not [text for text in told() if " in 6 days" in text or " in 5 days" in text]
    assert ExpiryNotice.objects.filter(certificate=old).count() == 1
    assert [text for text in told() if f"certificate {new} ends" in text]
    before = len(told())
    expiry.tick()
    assert len(told()) == before


def test_a_certificate_of_ours_is_met_as_what_it_is(pki, here):
    row = pki.issue("dns:www.example.org")
    found = inventory.take_in(pki.tree.ring.pk, [bytes(row.der)], Certificate.Source.SCANNED, "a scan").rows
    assert found[row.fingerprint].pk == row.pk


def test_a_certificate_that_was_revoked_fails_whatever_is_stapled(tree, here, above, olga):
    with endpoint(leaf(above)) as server:
        target = watch(tree, server)
        assert target.last.grade != "F"
        Certificate.objects.filter(pk=target.last.leaf.pk).update(
            state="revoked", reason="superseded", revoked_at=timezone.now()
        )
        again = scan(tree, target)
    assert again.changes == [f"Its grade is F instead of {target.last.grade}."]
    report = scanning.report_of(again)
    assert report.revoked == (report.chain[0].serial,)
    assert [reason.text for reason in grade(report).reasons if reason.cap == "F"] == [f"CN={LOCAL} was revoked."]


@pytest.mark.parametrize(
    "value", ["127.0.0.0/8", "169.254.0.0/16", "0.0.0.0/0", "10.0.0.0/7", "::/0", "not a host", "10.1.2"]
)
def test_ranges_nobody_may_allow(tree, value):
    with pytest.raises(ValidationFailed):
        scan_policy.allow_range(actor=tree.officer, value=value, reason="A test.")


def test_nothing_is_scanned_until_an_officer_allows_it(tree, settings, auditor):
    settings.TLS_SCAN_ALLOWED_HOSTS = []
    with pytest.raises(HostRefused) as refused:
        scanning.add_target(actor=tree.officer, ring=tree.ring, host="10.1.2.3")
    assert "security officer" in refused.value.hint
    with pytest.raises(PermissionRefused):
        scan_policy.allow_range(actor=auditor, value="10.1.0.0/16", reason="Ours.")
    made = scan_policy.allow_range(actor=tree.officer, value="10.1.0.0/16", reason="Ours.")
    with pytest.raises(Conflict):
        scan_policy.allow_range(actor=tree.officer, value="10.1.0.0/16", reason="Ours.")
    target = scanning.add_target(actor=tree.officer, ring=tree.ring, host="10.1.2.3")
    with pytest.raises(Conflict):
        scanning.add_target(actor=tree.officer, ring=tree.ring, host="10.1.2.3")
    scan_policy.withdraw_range(actor=tree.officer, range_id=made.pk)
    assert not ScanRange.objects.exists()
    scanning.perform(target.scans.get().pk)  # what was allowed when it was added is asked again
    assert "not among the allowed" in target.scans.get().error


def test_a_name_that_leads_to_this_machine_is_not_scanned(tree, settings):
    settings.TLS_SCAN_ALLOWED_HOSTS = []
    scan_policy.allow_range(actor=tree.officer, value=LOCAL, reason="A name is only a name.")
    with pytest.raises(HostRefused, match="this machine"):
        scanning.add_target(actor=tree.officer, ring=tree.ring, host=LOCAL)


def test_the_schedule_queues_what_is_due_and_reaps_what_died(tree, here, above):
    with endpoint(leaf(above)) as server:
        target = watch(tree, server, every_hours=24)
    assert scanning.tick() == 0
    ScanTarget.objects.update(next_at=timezone.now() - timedelta(minutes=1))
    assert (scanning.tick(), scanning.tick()) == (1, 0)
    assert ScanTarget.objects.get().next_at > timezone.now() + timedelta(hours=23)
    queued = target.scans.get(state="queued")
    with pytest.raises(Conflict, match="under way"):
        scanning.request_scan(actor=tree.officer, target_id=target.pk)
    long_ago = timezone.now() - timedelta(hours=1)
    EndpointScan.objects.filter(pk=queued.pk).update(state="running", created_at=long_ago, started_at=long_ago)
    scanning.tick()
    assert target.scans.get(pk=queued.pk).error == "The worker that scanned it never came back."
    assert scanning.perform(queued.pk) is None


def test_a_tarpit_costs_its_time_and_no_more(tree, here, monkeypatch):
    from certificates.tls import services

    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = scanning.add_target(actor=tree.officer, ring=tree.ring, host=LOCAL, port=silent.getsockname()[1])
        real = services.scan
        monkeypatch.setattr(services, "scan", lambda *args, seconds: real(*args, seconds=0.5))
        scanning.perform(target.scans.get().pk)
    found = target.scans.get()
    assert (found.state, found.report, bool(found.error)) == ("failed", {}, True)


def test_removing_an_endpoint_ends_its_places_and_keeps_its_certificates(tree, here, above, auditor):
    with endpoint(leaf(above)) as server:
        target = watch(tree, server)
    with pytest.raises(PermissionRefused):
        scanning.remove_target(actor=auditor, target_id=target.pk)
    scanning.remove_target(actor=tree.officer, target_id=target.pk)
    assert not Sighting.objects.filter(gone_at=None).exists()
    assert Certificate.objects.filter(source="scanned").count() == 2
    with pytest.raises(NotFound):
        scanning.remove_target(actor=tree.officer, target_id=target.pk)


def test_a_state_moves_as_the_table_says(tree, here):
    target = ScanTarget.objects.create(ring=tree.ring, host="10.1.1.1", created_by="test")
    ends = {ScanState.DONE, ScanState.FAILED}
    for before in ScanState:
        for to in ScanState:
            EndpointScan.objects.all().delete()
            finished = timezone.now() if before in ends else None
            row = EndpointScan.objects.create(target=target, state=before.value, finished_at=finished)
            after = {"finished_at": timezone.now()} if to in ends else {}
            assert scanning._move(row.pk, to, **after) == (to in SCAN_MOVES[before])
    with pytest.raises(IntegrityError), transaction.atomic():
        EndpointScan.objects.create(target=target, state="done")
