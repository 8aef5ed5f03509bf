"""Writes of the management API: idempotency keys, 202 with a Location, cursor pages, filters and progress."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from keys.models import Key, KeyVersion, ReEncryptionJob, Rotation
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.models import IdempotencyRecord
from tests.api.conftest import bearer, build_place, make_person, sign_in, token_of

JSON = "application/json"


@pytest.fixture
def officer(db: None) -> Client:
    make_person("second", "security_officer")
    return sign_in(make_person("olga", "security_officer"))


def send(client: Client, url: str, body: Any, key: str, method: str = "post") -> Any:
    return getattr(client, method)(url, body, content_type=JSON, headers={"Idempotency-Key": key})


def test_a_repeat_gets_the_first_answer_and_acts_once(officer):
    body = {"name": "orders", "title": "Orders"}
    first, again = (send(officer, "/api/v1/rings", body, "k1") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    assert not first.has_header("Idempotency-Replayed")
    assert KeyRing.objects.filter(name="orders").count() == 1
    assert send(officer, "/api/v1/rings", body, "k2").status_code in {409, 422}


def test_another_request_with_the_same_key_is_refused(officer):
    send(officer, "/api/v1/rings", {"name": "orders", "title": "Orders"}, "k1")
    other = send(officer, "/api/v1/rings", {"name": "others", "title": "Others"}, "k1")
    assert (other.status_code, other.json()["code"]) == (422, "validation_failed")
    assert not KeyRing.objects.filter(name="others").exists()
    elsewhere = send(officer, "/api/v1/people", {"name": "Ann", "email": "ann@example.org"}, "k1")
    assert elsewhere.status_code == 422


def test_a_key_belongs_to_its_caller(officer):
    body = {"name": "orders", "title": "Orders"}
    send(officer, "/api/v1/rings", body, "k1")
    stranger = send(sign_in(make_person("third", "security_officer")), "/api/v1/rings", body, "k1")
    assert stranger.status_code in {409, 422}
    assert not stranger.has_header("Idempotency-Replayed")
    assert send(Client(), "/api/v1/rings", body, "k1").status_code == 401


def test_a_write_that_was_interrupted_says_so_after_a_while(officer):
    body = {"name": "orders", "title": "Orders"}
    send(officer, "/api/v1/rings", body, "k1")
    IdempotencyRecord.objects.update(status=None)
    running = send(officer, "/api/v1/rings", body, "k1")
    assert (running.status_code, running.json()["hint"]) == (409, "Ask again in a moment.")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=6))
    lost = send(officer, "/api/v1/rings", body, "k1")
    assert (lost.status_code, lost.json()["hint"]) == (409, "Look whether it was done, then use a new key.")


def test_a_refusal_is_not_kept(officer):
    auditor = sign_in(make_person("aino", "auditor"))
    body = {"name": "orders", "title": "Orders"}
    assert send(auditor, "/api/v1/rings", body, "k1").status_code == 403
    assert not IdempotencyRecord.objects.exists()
    assert send(officer, "/api/v1/rings", body, "x" * 256).status_code == 422


def test_a_secret_shown_once_is_not_kept(officer):
    first = send(officer, "/api/v1/tokens", {"name": "n", "scopes": ["key.view"]}, "k1")
    assert first.status_code == 201
    again = send(officer, "/api/v1/tokens", {"name": "n", "scopes": ["key.view"]}, "k1")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    stored = b"".join(bytes(record.body) for record in IdempotencyRecord.objects.all())
    assert first.json()["text"].encode() not in stored


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_requests_one_acts():
    text = token_of(make_person("olga", "security_officer"), ["ring.manage", "key.view"])
    answers: list[int] = []
    start = threading.Barrier(6)

    def request() -> None:
        try:
            start.wait()
            body = {"name": "orders", "title": "Orders"}
            answers.append(send(bearer(text), "/api/v1/rings", body, "same").status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert KeyRing.objects.filter(name="orders").count() == 1
    assert answers.count(201) >= 1
    assert set(answers) <= {201, 409}


def test_what_needs_agreement_is_202_with_its_address(officer, here):
    url = f"/api/v1/keys/{here.keys['data'].pk}/policy"
    body = {"cryptoperiod_days": 3000, "reason": "Fewer rotations."}
    waiting = send(officer, url, body, "k1", "patch")
    assert (waiting.status_code, waiting.json()["code"]) == (202, "approval_required")
    found = officer.get(waiting["Location"]).json()
    assert (found["id"], found["state"]) == (waiting.json()["request_id"], "pending")
    again = send(officer, url, body, "k1", "patch")
    assert (again.status_code, again["Location"]) == (202, waiting["Location"])
    assert ApprovalRequest.objects.count() == 1
    second = sign_in(make_person("third", "security_officer"))
    assert second.get("/api/v1/approvals?waiting=true").json()["results"][0]["id"] == found["id"]
    approved = second.post(f"{waiting['Location']}/approve", {"act_hash": found["act_hash"]}, content_type=JSON)
    assert approved.json()["state"] in {"approved", "executed"}
    officer_role = send(officer, "/api/v1/role-bindings", _officer_role(), "k9")
    assert officer_role.status_code == 202


def _officer_role() -> dict[str, Any]:
    return {"person": str(make_person("new").pk), "role": "security_officer", "ring": None}


def test_pages_follow_on_in_both_directions(officer, here):
    seen, url, last = [], "/api/v1/keys?page_size=2", None
    while url:
        page = officer.get(url).json()
        seen += [row["name"] for row in page["results"]]
        last, url = page, page["next"]
    assert seen == sorted(here.keys)
    assert officer.get(last["previous"]).json()["results"][-1]["name"] == seen[-2]
    for cursor in ("nonsense", "WzFd", "%00"):
        refused = officer.get(f"/api/v1/keys?cursor={cursor}")
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
    assert officer.get("/api/v1/keys?page_size=many").status_code == 422


def test_filters(officer, here, there):
    def names(query: str) -> set[str]:
        answer = officer.get(f"/api/v1/keys?{query}")
        assert answer.status_code == 200, answer.content
        return {f"{row['ring']}/{row['name']}" for row in answer.json()["results"]}

    assert names("kind=kek") == {"payments/kek", "patients/kek"}
    assert names("kind=kek&ring=payments") == {"payments/kek"}
    assert names("q=TOK&ring=patients") == {"patients/tokens"}
    assert names(f"parent={here.keys['root'].pk}") == {"payments/kek"}
    assert names("algorithm=HMAC-SHA256&ring=payments") == {"payments/codes"}
    assert names("overdue=true") == set()
    Key.objects.filter(pk=here.keys["data"].pk).update(next_rotation_at="2020-01-01T00:00:00Z")
    assert names("overdue=true") == {"payments/data"}
    assert names("status=active&ring=payments&kind=master") == {"payments/root"}
    assert officer.get("/api/v1/keys?kind=nonsense").status_code == 422
    assert officer.get("/api/v1/keys?parent=nonsense").status_code == 422


def test_the_progress_of_a_job_is_read(officer, here):
    version = KeyVersion.objects.get(key=here.keys["data"])
    rotation = Rotation.objects.create(
        key=here.keys["data"], old_version=version, state="re_encrypting", requested_by="t"
    )
    ReEncryptionJob.objects.create(
        rotation=rotation, mode="re_encrypt", state="running", items_total=1000, items_done=250, items_failed=1
    )
    found = officer.get(f"/api/v1/rotations/{rotation.pk}").json()
    assert (found["state"], found["old_version"], found["new_version"]) == ("re_encrypting", 1, None)
    [job] = found["jobs"]
    assert (job["items_total"], job["items_done"], job["items_failed"]) == (1000, 250, 1)
    assert {"rate", "seconds_left"} <= set(job)
    listed = officer.get("/api/v1/rotations?state=re_encrypting&failed=false").json()["results"]
    assert [row["id"] for row in listed] == [str(rotation.pk)]


def test_a_whole_life_of_a_version_through_the_api(officer, here):
    url = f"/api/v1/keys/{here.keys['codes'].pk}"
    rotated = officer.post(f"{url}/rotate", {"reason": "Practice."}, content_type=JSON)
    assert rotated.status_code == 201, rotated.content
    assert officer.get(rotated["Location"]).status_code == 200
    versions = officer.get(f"{url}/versions").json()
    assert [(row["key_version"], row["status"]) for row in versions["results"]] == [(2, "active"), (1, "decrypt_only")]
    for act, state in (("suspend", "suspended"), ("resume", "decrypt_only")):
        done = officer.post(f"{url}/versions/1/{act}", {"reason": "Practice."}, content_type=JSON)
        assert done.json()["status"] == state
    assert officer.post(f"{url}/versions/1/resume", {"reason": "Again."}, content_type=JSON).status_code == 409
    assert officer.post(f"{url}/versions/7/suspend", {"reason": "None."}, content_type=JSON).status_code == 404
    assert "No caller's use is on record." in officer.get(f"{url}/versions/1").json()["consequences"]
    body = {"reason": "Old.", "grace_days": 3}
    assert officer.post(f"{url}/versions/1/schedule-deletion", body, content_type=JSON).status_code == 422
    asked = officer.post(f"{url}/versions/1/schedule-deletion", body | {"grace_days": 40}, content_type=JSON)
    assert asked.status_code == 202
    assert officer.get(asked["Location"]).json()["params"]["grace_days"] == 40
    edited = officer.patch(url, {"title": "Codes of orders", "labels": {"team": "orders"}}, content_type=JSON).json()
    assert (edited["title"], edited["labels"]) == ("Codes of orders", {"team": "orders"})
    assert officer.get(f"{url}/budget").json()["limit"] is None


def test_a_rotation_from_a_version_that_is_replaced_by_now_is_refused(officer, here):
    url = f"/api/v1/keys/{here.keys['codes'].pk}/rotate"
    body = {"reason": "Practice.", "key_version": 1}
    answers = [officer.post(url, body, content_type=JSON) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert "version 2 is active" in answers[1].json()["detail"]
    assert officer.post(url, body | {"key_version": 7}, content_type=JSON).status_code == 404
    assert officer.post(url, body | {"key_version": 2}, content_type=JSON).status_code == 201


def test_the_record_as_files(officer, here):
    wanted = {"format": "jsonl", "action": "key.create", "ring": str(here.ring.pk)}
    lines = officer.post("/api/v1/audit-exports", wanted, content_type=JSON)
    assert lines["Content-Type"] == "application/jsonl"
    assert len(b"".join(lines).splitlines()) == len(here.keys)
    pack = officer.post("/api/v1/audit-exports/evidence", content_type=JSON)
    assert b"".join(pack).startswith(b"PK")
    assert officer.post("/api/v1/audit-exports", {"format": "pdf"}, content_type=JSON).status_code == 422
    mistaken = officer.post("/api/v1/audit-exports", {"format": "csv", "actor_id": "x"}, content_type=JSON)
    assert (mistaken.status_code, list(mistaken.json()["errors"])) == (422, ["actor_id"])


def test_an_export_holds_what_its_reader_may_see(here):
    build_place("patients")
    reader = sign_in(make_person("aino", "auditor", here.ring))
    text = b"".join(reader.post("/api/v1/audit-exports", {"format": "csv"}, content_type=JSON)).decode()
    assert "payments/data" in text
    assert "patients" not in text
    assert reader.post("/api/v1/audit-exports/evidence", content_type=JSON).status_code == 403


def test_me_and_my_notices(officer, here):
    found = officer.get("/api/v1/me").json()
    assert (found["label"], found["second_factor"], found["rights"][0]["ring"]) == ("Olga", True, None)
    assert "key.rotate" in found["rights"][0]["permissions"]
    token = bearer(token_of(make_person("shop", "service", here.ring, kind="service"), ["key.encrypt"]))
    assert token.get("/api/v1/me").json()["rights"] == [{"ring": str(here.ring.pk), "permissions": ["key.encrypt"]}]
    assert officer.get("/api/v1/notices").json()["results"] == []
    assert officer.post("/api/v1/notices/read").status_code == 204
