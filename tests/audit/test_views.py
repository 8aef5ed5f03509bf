"""The pages: who sees what, what a filter leaves, and that a page's proof is a real one."""

import io
import json
import zipfile

import pytest
from django.urls import reverse

from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.evidence import verifier
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.audit.signing import load_signer

from .conftest import ACTOR, unguarded

pytestmark = pytest.mark.usefixtures("record")


@pytest.fixture
def rings():
    return [KeyRing.objects.create(name=name, title=name) for name in ("red", "blue")]


@pytest.fixture
def events(rings):
    for number in range(60):
        audit.record(
            actor=ACTOR, action="key.rotate" if number % 2 else "key.view", ring_id=rings[number % 3 == 0].pk,
            target=("key", str(number), f"<b>key {number}</b>"), details={"n": number},
        )  # fmt: skip


@pytest.fixture
def sign_in(client):
    def as_role(role, ring=None):
        person = Person.objects.create(email=f"{role}@example.org", name=role)
        RoleBinding.objects.create(person=person, role=role, ring=ring)
        client.force_login(person)
        return client

    return as_role


def numbers(response):
    return [event.seq for event, _ in response.context["object_list"]]


def test_list_pages_by_key_and_escapes(events, sign_in):
    client = sign_in(Role.AUDITOR)
    first = client.get(reverse("audit:event-list"))
    total = AuditEvent.objects.count()
    assert numbers(first) == list(range(total - 1, total - 51, -1))
    second = client.get(reverse("audit:event-list") + first.context["older_url"])
    assert numbers(second)[-1] == 0
    assert b"&lt;b&gt;key 3&lt;/b&gt;" in second.content
    assert b"<b>key" not in second.content


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "KEY 33<"}, [33]),
        ({"target_type": "key", "target": "7"}, [7]),
        ({"outcome": "failed"}, []),
        ({"ring": "x", "target": "7"}, [7]),
    ],
)
def test_list_filters(events, sign_in, query, expected):
    assert numbers(sign_in(Role.AUDITOR).get(reverse("audit:event-list"), query)) == expected


def test_ring_limited_readers_see_their_rings_only(events, rings, sign_in):
    client = sign_in(Role.AUDITOR, rings[1])
    assert numbers(client.get(reverse("audit:event-list"))) == list(range(57, -1, -3))
    assert client.get(reverse("audit:event-detail", args=[3])).status_code == 200
    assert client.get(reverse("audit:event-detail", args=[4])).status_code == 404
    data = b"".join(client.post(reverse("audit:export"), {"format": "jsonl"}).streaming_content)
    assert [json.loads(line)["seq"] for line in data.splitlines()] == list(range(0, 60, 3))
    assert client.post(reverse("audit:evidence")).status_code == 403


@pytest.mark.parametrize("name", ["event-list", "event-news", "export", "checkpoint-list"])
def test_services_and_strangers_stay_outside(sign_in, client, name):
    assert client.get(reverse(f"audit:{name}")).status_code == 302
    assert sign_in(Role.SERVICE).get(reverse(f"audit:{name}")).status_code == 403


def test_detail_shows_a_proof_and_says_when_there_is_none(events, sign_in):
    client = sign_in(Role.AUDITOR)
    page = client.get(reverse("audit:event-detail", args=[21]))
    assert page.context["path"]
    assert page.context["root"] in page.content.decode()
    with unguarded() as owner:
        owner.execute("UPDATE audit_event SET leaf = overlay(leaf placing 'X' from 12) WHERE seq = 21")
    page = client.get(reverse("audit:event-detail", args=[21]))
    assert b"This event is not proven" in page.content
    assert client.get(reverse("audit:event-detail", args=[10**6])).status_code == 404
    assert client.get(f"/audit/{10**30}").status_code == 404


def test_news_counts_what_matches(events, sign_in):
    client = sign_in(Role.AUDITOR)
    page = client.get(reverse("audit:event-news"), {"after": 49, "action": "key.rotate"})
    assert page.context["count"] == 5
    assert b"5 new events" in page.content
    assert b"hx-get" in client.get(reverse("audit:event-news"), {"after": 10**6}).content
    assert client.get(reverse("audit:event-news"), {"after": "x"}).status_code == 422


def test_checkpoints_can_be_kept_elsewhere(events, sign_in):
    client = sign_in(Role.AUDITOR)
    assert client.get(reverse("audit:checkpoint-list")).status_code == 200
    note = client.get(reverse("audit:checkpoint-note", args=[30]))
    assert note.content.split(b"\n")[1] == b"30"
    assert client.get(reverse("audit:checkpoint-note", args=[10**6])).status_code == 404


def test_export_form_and_evidence_pack(events, sign_in, tmp_path):
    client = sign_in(Role.AUDITOR)
    page = client.get(reverse("audit:export"), {"action": "key.view"}).content.decode()
    assert "Evidence pack" in page
    assert f"python3 verify.py evidence.zip --key {load_signer().public_key.hex()}</pre>" in page
    assert client.post(reverse("audit:export"), {"format": "xlsx"}).status_code == 422
    table = client.post(reverse("audit:export"), {"format": "csv", "action": "key.view"})
    assert len(b"".join(table.streaming_content).splitlines()) == 31
    pack = b"".join(client.post(reverse("audit:evidence")).streaming_content)
    path = tmp_path / "pack.zip"
    path.write_bytes(pack)
    assert "complete, in order and unaltered" in verifier.verify(path)[0]
    assert "verify.py" in zipfile.ZipFile(io.BytesIO(pack)).namelist()


def test_a_time_that_ends_before_it_begins_is_said(events, sign_in):
    client, turned = sign_in(Role.AUDITOR), {"since": "2026-12-01T00:00", "until": "2026-11-01T00:00"}
    refused = client.post(reverse("audit:export"), turned | {"format": "csv"})
    assert refused.status_code == 422
    for page in (refused, client.get(reverse("audit:event-list"), turned)):
        assert "This is not after From" in page.content.decode()
