"""The data plane through HTTP: round trips, batches, strict bodies, one event a request, and who may."""

import logging
import time
from base64 import b64encode
from datetime import timedelta
from uuid import UUID

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from keys.dataplane import callers
from keys.dataplane.answering import respond
from keyvault_portal.accounts.identity import TokenRefused
from keyvault_portal.accounts.models import ApiToken, RoleBinding
from keyvault_portal.accounts.services import revoke_token
from keyvault_portal.audit.errors import AuditUnavailable
from keyvault_portal.audit.models import AuditEvent
from tests.api.conftest import SYSTEM, bearer, make_person, sign_in, token_of

JSON = "application/json"


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


@pytest.fixture
def post(service, here):
    """post(operation, body, key="data"): the answer of the service's token."""

    def send(operation, body, key="data", client=None, content_type=JSON):
        url = f"/api/v1/keys/{here.keys[key].pk}/{operation}"
        return (client or service).post(url, body, content_type=content_type)

    return send


def test_encrypt_decrypt_rewrap(post):
    sealed = post("encrypt", {"plaintext": b64(b"hello"), "context": {"b": "1", "a": "2"}})
    assert (sealed.status_code, sealed["Cache-Control"]) == (200, "no-store")
    body = sealed.json()
    assert body["key_version"] == 1
    moved = post("rewrap", {"ciphertext": body["ciphertext"], "context": {"b": "1", "a": "2"}}).json()
    assert moved["ciphertext"] != body["ciphertext"]
    opened = post("decrypt", {"ciphertext": moved["ciphertext"], "context": {"b": "1", "a": "2"}}).json()
    assert opened == {"plaintext": b64(b"hello"), "key_version": 1}


def test_sign_verify_mac(post):
    signed = post("sign", {"message": b64(b"m")}, "tokens").json()
    assert post("verify", {"message": b64(b"m"), "signature": signed["signature"]}, "tokens").json()["valid"] is True
    assert post("verify", {"message": b64(b"n"), "signature": signed["signature"]}, "tokens").json()["valid"] is False
    code = post("mac", {"message": b64(b"m")}, "codes").json()["mac"]
    assert post("verify-mac", {"message": b64(b"m"), "mac": code}, "codes").json()["valid"] is True
    assert post("verify-mac", {"message": b64(b"n"), "mac": code}, "codes").json()["valid"] is False


def test_data_keys_and_envelopes(post):
    made = post("generate-data-key", {"context": {"table": "x"}}, "kek").json()
    asked = {"wrapped_dek": made["wrapped_dek"], "kms_key_id": made["kms_key_id"], "context": {"table": "x"}}
    assert post("unwrap-data-key", asked, "kek").json()["plaintext"] == made["plaintext"]
    envelope = post("envelope/encrypt", {"plaintext": b64(b"row"), "context": {"id": "7"}}, "kek").json()["envelope"]
    assert set(envelope) == {"wrapped_dek", "nonce", "ciphertext", "encryption_context", "algorithm", "kms_key_id"}
    assert post("envelope/decrypt", {"envelope": envelope}, "kek").json()["plaintext"] == b64(b"row")


def test_a_batch_keeps_its_order_and_its_errors(post):
    good = post("encrypt", {"items": [{"plaintext": b64(b"%d" % n)} for n in range(3)]}).json()["items"]
    items = [
        {"ciphertext": good[2]["ciphertext"]},
        {"ciphertext": "vault:v1:AAAA"},
        {"ciphertext": 7},
        {"ciphertext": good[0]["ciphertext"]},
        {"ciphertext": good[1]["ciphertext"].replace("v1", "v9")},
        "item",
    ]
    answer = post("decrypt", {"items": items})
    assert answer.status_code == 200
    shown = [item.get("plaintext") or item["error"]["code"] for item in answer.json()["items"]]
    assert shown == [b64(b"2"), "decrypt_failed", "validation_failed", b64(b"0"), "not_found", "validation_failed"]
    event = AuditEvent.objects.order_by("-seq")[0]
    assert (event.action, event.outcome) == ("key.decrypt", "success")
    assert event_details(event)["refused"] == {"decrypt_failed": 1, "not_found": 1, "validation_failed": 2}


def event_details(event):
    return orjson.loads(bytes(event.leaf))["details"]


def test_one_event_a_request_of_success_and_of_refusal(post):
    before = AuditEvent.objects.count()
    post("encrypt", {"items": [{"plaintext": "AA=="}] * 50})
    assert post("encrypt", {"plaintext": "not base64"}).status_code == 422
    assert post("encrypt", b"{", content_type=JSON).status_code == 400
    assert post("sign", {"message": "AA=="}).status_code == 422
    events = list(AuditEvent.objects.order_by("seq")[before:])
    assert [(event.action, event.outcome) for event in events] == [
        ("key.encrypt", "success"), ("key.encrypt", "refused"), ("key.encrypt", "refused"), ("key.sign", "refused"),
    ]  # fmt: skip
    assert event_details(events[0])["items"] == 50
    assert event_details(events[1])["code"] == "validation_failed"


@pytest.mark.parametrize(
    ("operation", "body", "status", "field"),
    [
        ("encrypt", {"plaintext": "AA==", "colour": "red"}, 422, "colour"),
        ("encrypt", {}, 422, "plaintext"),
        ("encrypt", {"plaintext": 5}, 422, "plaintext"),
        ("encrypt", {"plaintext": "AA"}, 422, "plaintext"),
        ("encrypt", {"plaintext": "A A=="}, 422, "plaintext"),
        ("encrypt", {"plaintext": "AA==", "version": True}, 422, "version"),
        ("encrypt", {"plaintext": "AA==", "version": 0}, 422, "version"),
        ("encrypt", {"plaintext": "AA==", "context": {"a": 1}}, 422, "context"),
        ("encrypt", {"plaintext": "AA==", "context": []}, 422, "context"),
        ("encrypt", {"plaintext": "AA==", "items": []}, 422, "items"),
        ("encrypt", {"items": {}}, 422, "items"),
        ("encrypt", {"items": [{"plaintext": "AA=="}], "plaintext": "AA=="}, 422, "plaintext"),
        ("decrypt", {"ciphertext": "hello"}, 422, "ciphertext"),
        ("decrypt", {"ciphertext": "vault:v1:####"}, 422, "ciphertext"),
        ("decrypt", {"ciphertext": ""}, 422, "ciphertext"),
    ],
)
def test_what_is_not_declared_is_refused_by_name(post, operation, body, status, field):
    answer = post(operation, body)
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert field in answer.json()["errors"]
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "body", [b" ", b"{", b"[]", b"7", b'"\xff"', b'{"plaintext": "\xc3\x28"}', b'{"a": NaN}', b"\xff\xfe"]
)
def test_a_body_that_is_no_json_object_in_utf8_is_400(post, body):
    answer = post("encrypt", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert answer["Content-Type"] == "application/problem+json"


def test_too_large_a_body_is_refused_before_it_is_read(service, here):
    url = f"/api/v1/keys/{here.keys['data'].pk}/encrypt"
    body = b'{"plaintext": "' + b"A" * 10_000_000 + b'"}'
    answer = service.generic("POST", url, body, content_type=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    many = service.post(url, {"items": [{"plaintext": "AA=="}] * 1001}, content_type=JSON)
    assert (many.status_code, many.json()["code"]) == (413, "too_large")
    most = service.post(url, {"items": [{"plaintext": "AA=="}] * 1000}, content_type=JSON)
    assert (most.status_code, len(most.json()["items"])) == (200, 1000)


def test_other_methods_and_media_types(post, service, here):
    url = f"/api/v1/keys/{here.keys['data'].pk}/encrypt"
    refused = service.get(url)
    assert (refused.status_code, refused["Allow"], refused.json()["code"]) == (405, "POST", "method_not_allowed")
    assert post("encrypt", "plaintext=AA==", content_type="application/x-www-form-urlencoded").status_code == 415
    assert post("encrypt", b'{"plaintext": "AA=="}', content_type="application/json; charset=utf-8").status_code == 200
    unknown = service.post(f"/api/v1/keys/{UUID(int=7)}/encrypt", {"plaintext": "AA=="}, content_type=JSON)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_an_envelope_of_another_key_is_refused(post, service, here, there):
    sealed = there.keys["kek"]
    other = bearer(token_of(make_person("x", "service", there.ring, kind="service"), rings=[there.ring]))
    made = other.post(f"/api/v1/keys/{sealed.pk}/envelope/encrypt", {"plaintext": "AA=="}, content_type=JSON).json()
    answer = post("envelope/decrypt", made, "kek")
    assert (answer.status_code, list(answer.json()["errors"])) == (422, ["kms_key_id"])
    batch = post("envelope/decrypt", {"items": [made]}, "kek").json()["items"]
    assert batch[0]["error"]["code"] == "validation_failed"


def test_a_session_needs_its_csrf_token_and_its_second_factor(here):
    person = make_person("dev", "service", here.ring)
    url = f"/api/v1/keys/{here.keys['data'].pk}/encrypt"
    strict = sign_in(person, enforce_csrf_checks=True)
    refused = strict.post(url, {"plaintext": "AA=="}, content_type=JSON)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_refused")
    strict.cookies["csrftoken"] = "a" * 32
    served = strict.post(url, {"plaintext": "AA=="}, content_type=JSON, headers={"X-CSRFToken": "a" * 32})
    assert served.status_code == 200
    officer = make_person("both", "service", here.ring)
    RoleBinding.objects.create(person=officer, role="security_officer", ring=here.ring, created_by="test")
    refused = sign_in(officer, second_factor=False).post(url, {"plaintext": "AA=="}, content_type=JSON)
    assert (refused.status_code, refused.json()["code"]) == (403, "second_factor_required")
    assert sign_in(officer).post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 200


def test_a_token_is_bound_to_scope_network_expiry_and_ring(here, there):
    shop = make_person("limited", "service", None, kind="service")
    url = f"/api/v1/keys/{here.keys['data'].pk}/encrypt"

    def answer(url=url, **limits):
        return bearer(token_of(shop, **limits)).post(url, {"plaintext": "AA=="}, content_type=JSON)

    assert answer().status_code == 200
    assert answer(scopes=["key.decrypt"]).status_code == 403
    assert answer(cidrs=["10.9.0.0/16"]).status_code == 401
    assert answer(cidrs=["127.0.0.0/8"]).status_code == 200
    assert answer(rings=[there.ring]).status_code == 404
    assert answer(rings=[here.ring]).status_code == 200
    assert bearer("kvp_nothing").post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 401
    text = token_of(shop, expires_at=timezone.now() + timedelta(hours=1))
    assert bearer(text).post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 200
    ApiToken.objects.filter(expires_at__isnull=False).update(expires_at=timezone.now() - timedelta(seconds=1))
    callers.forget()
    assert bearer(text).post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 401


def test_a_known_token_costs_no_query_and_a_revocation_bites_within_two_seconds(here, monkeypatch):
    shop = make_person("cached", "service", here.ring, kind="service")
    text, now = token_of(shop), [1000.0]
    monkeypatch.setattr("keys.services.cache.monotonic", lambda: now[0])
    assert callers.token_actor(text, "127.0.0.1").token_id
    with CaptureQueriesContext(connection) as queries:
        callers.token_actor(text, "127.0.0.1")
    assert not queries
    with pytest.raises(TokenRefused):
        callers.token_actor(text[:-1] + ("A" if text[-1] != "A" else "B"), "127.0.0.1")
    token = ApiToken.objects.get(owner=shop)
    revoke_token(actor=SYSTEM, token=token)
    now[0] += 1.7
    assert callers.token_actor(text, "127.0.0.1")
    now[0] += 0.2
    with pytest.raises(TokenRefused):
        callers.token_actor(text, "127.0.0.1")


def test_a_role_taken_away_and_a_real_clock(here):
    shop = make_person("real", "service", here.ring, kind="service")
    client, url = bearer(token_of(shop)), f"/api/v1/keys/{here.keys['data'].pk}/encrypt"
    assert client.post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 200
    shop.bindings.all().delete()
    time.sleep(2)
    assert client.post(url, {"plaintext": "AA=="}, content_type=JSON).status_code == 404


def test_no_secret_is_logged_or_recorded(post, service, here, caplog):
    caplog.set_level(logging.DEBUG)
    plain, token = b64(b"4111-1111-1111-1111"), service.defaults["HTTP_AUTHORIZATION"].split()[1]
    sealed = post("encrypt", {"plaintext": plain, "context": {"id": "1"}}).json()["ciphertext"]
    post("decrypt", {"ciphertext": sealed, "context": {"id": "1"}})
    made = post("generate-data-key", {}, "kek").json()
    post("encrypt", {"plaintext": plain, "colour": plain})
    post("encrypt", f'{{"plaintext": "{plain}"'.encode())
    post("decrypt", {"ciphertext": sealed, "context": {"id": "2"}})
    post("sign", {"message": plain})
    said = caplog.text + "".join(bytes(event.leaf).decode() for event in AuditEvent.objects.all())
    assert said
    for secret in (plain, "4111-1111", token, token[-43:], made["plaintext"]):
        assert secret not in said


def test_nothing_of_an_answer_is_in_a_repr(here):
    answer = respond("encrypt", here.keys["data"].pk, SYSTEM, lambda: b'{"plaintext": "AA=="}')
    assert (answer.status, repr(answer)) == (200, "Answer(status=200)")
    assert respond("destroy", here.keys["data"].pk, SYSTEM, lambda: b"{}").status == 404


def test_what_cannot_be_recorded_is_not_answered(here, monkeypatch):
    def fails(*events):
        raise AuditUnavailable("The record does not answer.")

    monkeypatch.setattr("keyvault_portal.audit.ledger.append", fails)
    answer = respond("encrypt", here.keys["data"].pk, SYSTEM, lambda: b'{"plaintext": "AA=="}')
    assert answer.status == 503
    assert b"vault:" not in answer.body
