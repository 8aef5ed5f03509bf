"""Pages and REST of what is watched, and of acts on many certificates, as an officer uses them."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.test import Client
from django.utils import timezone

from certificates.models import Certificate, LogList, LogMonitor, ScanTarget
from certificates.services import log_lists, scanning
from tests.api.conftest import bearer, make_person, sign_in, token_of
from tests.certificates.endpoints import endpoint
from tests.certificates.test_inventory import made, upload
from tests.certificates.test_scanning import above, here, leaf
from tests.certificates.test_transparency import VECTOR

__all__ = ["above", "here"]


@pytest.fixture
def browser(pki) -> Client:
    """An officer who is alone, so that nobody else has to agree."""
    return sign_in(make_person("olga", "security_officer"))


def test_an_endpoint_is_watched_scanned_and_let_go(pki, browser, here, above):
    ring = str(pki.tree.ring.pk)
    with endpoint(leaf(above)) as server:
        refused = browser.post("/certificates/endpoints/new/", {"ring": ring, "host": "10.1.1.1", "port": 443})
        assert refused.status_code == 422
        assert "not among the allowed" in refused.text
        form = {"ring": ring, "host": "localhost", "port": server.port, "every_hours": "24"}
        assert browser.post("/certificates/endpoints/new/", form).status_code == 302
        target = ScanTarget.objects.get()
        assert "A scan is under way" in browser.get(f"/certificates/endpoints/{target.pk}/").text
        scanning.perform(target.scans.get().pk)
    page = browser.get(f"/certificates/endpoints/{target.pk}/").text
    assert "Grade" in page
    assert "X25519" in page
    shown = scanning.report_of(ScanTarget.objects.get().last)
    assert [facts.names for facts in shown.chain] == [("localhost",), ()]
    assert "Sound" in browser.get("/certificates/endpoints/").text
    assert (
        "localhost"
        not in browser.get("/certificates/endpoints/?finding=broken")
        .text.partition("<main")[2]
        .partition('id="list"')[2]
    )
    row = Certificate.objects.get(subject="CN=localhost")
    assert "Where it stands" in browser.get(f"/certificates/{row.pk}/").text
    assert browser.post(f"/certificates/endpoints/{target.pk}/scan/").status_code == 302
    assert browser.post(f"/certificates/endpoints/{target.pk}/remove/").status_code == 302
    assert not ScanTarget.objects.exists()


def test_ranges_are_allowed_and_withdrawn(browser):
    assert (
        browser.post("/certificates/endpoints/ranges/", {"value": "10.9.0.0/16", "reason": "Ours."}).status_code == 302
    )
    page = browser.get("/certificates/endpoints/ranges/").text
    assert "10.9.0.0/16" in page
    number = page.partition("/certificates/endpoints/ranges/")[2].partition("/")[0]
    assert browser.post(f"/certificates/endpoints/ranges/{number}/withdraw/").status_code == 302
    assert "10.9.0.0/16" not in browser.get("/certificates/endpoints/ranges/").text.partition('id="list"')[2]


def test_a_crowded_day_of_the_calendar_says_how_many_more_and_leads_to_all(pki, browser):
    row, day = pki.issue("dns:www.example.org"), timezone.now().replace(hour=23, minute=59) + timedelta(days=5)
    rows = []
    for number in range(10):
        ends = day if number < 8 else day + timedelta(minutes=number)  # the last two end on the day after
        rows.append(copied(row, not_after=ends, names=[f"dns:h{number}.example.org"]))
    page = browser.get("/certificates/expiry/").text
    assert page.count('class="more"') == 1
    link = page.partition('class="more" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "and 4 more" in page
    listed = browser.get(link)
    assert listed.status_code == 200
    shown = [one for one in rows if str(one.pk) in listed.text]
    assert shown == rows[:8]
    assert browser.get("/certificates/?on=yesterday").status_code == 200


def copied(row, **other):
    """Another row like this one."""
    twin = Certificate.objects.get(pk=row.pk)
    twin.pk, twin.serial, twin.fingerprint = uuid4(), uuid4().hex, uuid4().hex * 2
    for name, value in other.items():
        setattr(twin, name, value)
    twin.save(force_insert=True)
    return twin


def test_many_are_counted_and_then_revoked(pki, browser):
    rows = [pki.issue(f"dns:h{number}.example.org") for number in range(3)]
    Certificate.objects.filter(pk__in=[row.pk for row in rows[:2]]).update(spki_sha256="ab" * 32)
    form = {"by": "key", "key": "AB:" * 31 + "AB", "reason": "key_compromise", "note": "Lost."}
    counted = browser.post("/certificates/revoke-many/", {"by": "key", "key": form["key"].lower(), "count": "1"})
    assert counted.status_code == 200
    assert "<strong>2</strong>" in counted.text
    assert not Certificate.objects.filter(state="revoked").exists()
    assert browser.post("/certificates/revoke-many/", form | {"key": ""}).status_code == 422
    assert browser.post("/certificates/revoke-many/", form | {"key": "ab" * 32}).status_code == 302
    assert Certificate.objects.filter(state="revoked").count() == 2


def test_a_key_of_the_hierarchy_is_certified(pki, browser):
    key = pki.tree.make("web", "transport", "ECDSA-P256-SHA256", pki.tree.kek)
    url = f"/certificates/authorities/{pki.servers.pk}/issue-for-key/"
    assert "Web" in browser.get(url).text
    wrong = browser.post(url, {"key": str(key.pk), "profile": "server", "names": "www.example.com"})
    assert wrong.status_code == 422
    assert "outside the policy" in wrong.text
    assert browser.post(url, {"key": str(key.pk), "profile": "server", "names": "www.example.org"}).status_code == 302
    row = Certificate.objects.get(key=key)
    assert (row.key_origin, row.names) == ("hierarchy", ["dns:www.example.org"])


def test_logs_are_listed_and_watched(pki, browser, settings):
    settings.TLS_SCAN_ALLOWED_HOSTS = ["127.0.0.0/8"]
    assert "There is no list of logs" in browser.get("/certificates/transparency/").text
    from io import BytesIO

    file = BytesIO(json.dumps(VECTOR["log_list"]).encode())
    file.name = "log_list.json"
    sent = {"file": file, "provenance": "A test."}
    assert browser.post("/certificates/transparency/list/", sent).status_code == 302
    assert LogList.objects.get().version == "3.52"
    key = VECTOR["log_list"]["operators"][0]["logs"][0]["key"]
    form = {
        "ring": str(pki.tree.ring.pk), "name": "Icarus", "url": "https://127.0.0.1:9/icarus/", "public_key": key, "domains": "example.org\nexample.com",
        "every_minutes": 60,
    }  # fmt: skip
    assert browser.post("/certificates/transparency/new/", form).status_code == 302
    monitor = LogMonitor.objects.get()
    assert monitor.domains == ["example.org", "example.com"]
    assert "Icarus" in browser.get(f"/certificates/transparency/{monitor.pk}/").text
    assert browser.post(f"/certificates/transparency/{monitor.pk}/remove/").status_code == 302
    assert not LogMonitor.objects.exists()


def test_a_list_of_logs_that_is_missing_or_old_is_said_where_it_matters(pki, browser):
    [row] = upload(pki.tree, VECTOR["certificate"].encode()).rows
    page, watch = f"/certificates/{row.pk}/", "/certificates/transparency/"
    assert "No <a" in browser.get(page).text
    assert "There is no list of logs" in browser.get(watch).text
    for days, old in ((69, False), (71, True)):
        made_at = (timezone.now() - timedelta(days=days)).isoformat()
        content = json.dumps(VECTOR["log_list"] | {"log_list_timestamp": made_at}).encode()
        LogList.objects.all().delete()
        log_lists.upload_list(actor=pki.tree.officer, content=content, provenance="A test.")
        assert ("which is too old to rely on" in browser.get(page).text) is old
        assert ("The list of logs is old" in browser.get(watch).text) is old
    assert "Icarus" in browser.get(page).text


def test_the_head_of_the_inventory_counts_and_links(pki, browser):
    pki.issue("dns:www.example.org", days=10)
    page = browser.get("/certificates/").text
    assert "?renewal=due" in page
    filtered = browser.get("/certificates/?renewal=due&place=&source=issued").text
    assert "www.example.org" in filtered
    assert "www.example.org" not in browser.get("/certificates/?place=here").text.partition('id="list"')[2]


def test_an_agent_reports_with_its_token_and_nothing_else(pki):
    agent = make_person("agent", "service", pki.tree.ring, kind="service")
    client = bearer(token_of(agent, ["certificate.report"], rings=[pki.tree.ring]))
    body = {
        "ring": str(pki.tree.ring.pk), "host": "web-1", "complete": True,
        "found": [{"path": "/etc/ssl/a.pem", "pem": made("a.example.net")[1].public_bytes(Encoding.PEM).decode()}],
    }  # fmt: skip
    for added in (1, 0):
        answer = client.post("/api/v1/certificate-reports", body, content_type="application/json")
        assert (answer.status_code, answer.json()["added"], answer.json()["unreadable"]) == (200, added, [])
    assert client.get("/api/v1/certificates").status_code == 403
    assert (
        client.post("/api/v1/certificate-reports", body | {"found": []}, content_type="application/json").status_code
        == 422
    )
    auditor = sign_in(make_person("aino", "auditor"))
    row = Certificate.objects.get(source="reported")
    places = auditor.get(f"/api/v1/certificates/{row.pk}/places").json()
    assert [(place["host"], place["path"], place["gone_at"]) for place in places] == [("web-1", "/etc/ssl/a.pem", None)]
    seen = auditor.get(f"/api/v1/certificates/{row.pk}/transparency").json()
    assert (seen["needed"], seen["counted"], seen["enough"], seen["timestamps"]) == (2, 0, False, [])
