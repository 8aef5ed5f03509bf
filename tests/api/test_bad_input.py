"""Bad input through HTTP, each with a clear error: a status, a stable code, and nothing done."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from keys.models import DataStore, KeyVersion, Rotation
from tests.api.conftest import Place, bearer, make_person, sign_in, token_of

JSON = "application/json"


@pytest.fixture
def officers(db: None) -> list[Client]:
    return [sign_in(make_person(name, "security_officer")) for name in ("olga", "otto", "omar")]


@pytest.fixture
def use(service: Client, here: Place) -> Any:
    """use(operation, body, key="data"): (status, code or answer)."""

    def send(operation: str, body: Any, key: str = "data") -> Any:
        answer = service.post(f"/api/v1/keys/{here.keys[key].pk}/{operation}", body, content_type=JSON)
        shown = answer.json()
        return (answer.status_code, shown["code"]) if answer.status_code >= 400 else shown

    return send


def test_wrong_swapped_and_truncated_ciphertexts_fail_alike(use, here, there):
    first = use("encrypt", {"plaintext": "AAAA", "context": {"row": "1"}})["ciphertext"]
    second = use("encrypt", {"plaintext": "BBBB", "context": {"row": "2"}})["ciphertext"]
    prefix, _, payload = first.rpartition(":")
    flipped = f"{prefix}:{'B' if payload[0] == 'A' else 'A'}{payload[1:]}"
    refused = (400, "decrypt_failed")
    assert use("decrypt", {"ciphertext": first, "context": {"row": "1"}})["plaintext"] == "AAAA"
    assert use("decrypt", {"ciphertext": second, "context": {"row": "1"}}) == refused
    assert use("decrypt", {"ciphertext": flipped, "context": {"row": "1"}}) == refused
    assert use("decrypt", {"ciphertext": first}) == refused
    assert use("decrypt", {"ciphertext": first, "context": {"row": "1", "more": "x"}}) == refused
    assert use("decrypt", {"ciphertext": first[: -len(payload) + 16], "context": {"row": "1"}}) == refused
    assert use("rewrap", {"ciphertext": second, "context": {"row": "1"}}) == refused
    assert use("decrypt", {"ciphertext": first.replace("v1:", "v9:"), "context": {"row": "1"}}) == (404, "not_found")
    assert use("decrypt", {"ciphertext": "vault:v0:AAAA"}) == (422, "validation_failed")


def test_envelopes_swapped_truncated_and_of_an_unknown_version(use):
    def seal(row: str) -> dict[str, Any]:
        return use("envelope/encrypt", {"plaintext": "AAAA", "context": {"row": row}}, "kek")["envelope"]

    def opened(envelope: Any) -> Any:
        return use("envelope/decrypt", {"envelope": envelope}, "kek")

    one, two = seal("1"), seal("2")
    refused, invalid = (400, "decrypt_failed"), (422, "validation_failed")
    assert opened(one)["plaintext"] == "AAAA"
    assert opened(one | {"ciphertext": two["ciphertext"]}) == refused
    assert opened(one | {"wrapped_dek": two["wrapped_dek"]}) == refused
    assert opened(one | {"encryption_context": {"row": "2"}}) == refused
    assert opened({name: value for name, value in one.items() if name != "nonce"}) == invalid
    assert opened(one | {"ciphertext": "AAAA"}) == invalid
    assert opened(one | {"nonce": one["nonce"][:8]}) == invalid
    assert opened(one | {"version": 9}) == invalid
    assert opened(one | {"algorithm": "ROT13"}) == invalid
    assert opened(one | {"kms_key_id": one["kms_key_id"][:-1] + "9"}) == invalid
    assert opened([]) == invalid


def test_a_key_in_the_wrong_state_is_a_conflict(use, officers, here):
    sealed = use("encrypt", {"plaintext": "AAAA"})["ciphertext"]
    url = f"/api/v1/keys/{here.keys['data'].pk}/versions/1/suspend"
    assert officers[0].post(url, {"reason": "A test."}, content_type=JSON).status_code == 200
    assert use("encrypt", {"plaintext": "AAAA"}) == (409, "wrong_state")
    assert use("decrypt", {"ciphertext": sealed}) == (409, "wrong_state")
    assert use("rewrap", {"ciphertext": sealed}) == (409, "wrong_state")
    assert use("sign", {"message": "AAAA"}) == (422, "operation_unsupported")
    assert use("encrypt", {"plaintext": "AAAA"}, "kek") == (422, "operation_unsupported")
    assert use("encrypt", {"plaintext": "AAAA", "version": 3}) == (404, "not_found")


def test_two_rotations_at_once(officers, here):
    version = KeyVersion.objects.get(key=here.keys["data"])
    Rotation.objects.create(key=here.keys["data"], old_version=version, state="re_encrypting", requested_by="t")
    url = f"/api/v1/keys/{here.keys['data'].pk}/rotate"
    refused = officers[0].post(url, {"reason": "Twice."}, content_type=JSON)
    assert refused.status_code == 409
    assert Rotation.objects.count() == 1


def asked(officer: Client, here: Place, days: int = 3000) -> dict[str, Any]:
    body = {"cryptoperiod_days": days, "reason": "Fewer rotations."}
    waiting = officer.patch(f"/api/v1/keys/{here.keys['data'].pk}/policy", body, content_type=JSON)
    assert waiting.status_code == 202
    return officer.get(waiting["Location"]).json()


def approve(officer: Client, request: dict[str, Any], act_hash: str = "") -> Any:
    body = {"act_hash": act_hash or request["act_hash"]}
    answer = officer.post(f"/api/v1/approvals/{request['id']}/approve", body, content_type=JSON)
    return (answer.status_code, answer.json().get("code"))


def test_approving_wrongly(officers, here, monkeypatch):
    olga, otto, omar = officers
    strict = {"destroy_groups": [{"role": "security_officer", "threshold": 2}]}
    url = f"/api/v1/keys/{here.keys['data'].pk}/policy"
    assert olga.patch(url, strict, content_type=JSON).status_code == 200
    request = asked(olga, here)
    assert approve(olga, request) == (403, "self_approval")
    assert approve(otto, request, "0" * 64) == (409, "act_changed")
    assert approve(otto, request, "short") == (422, "validation_failed")
    assert approve(otto, request)[0] == 200
    assert approve(otto, request) == (409, "already_counted")
    token = bearer(token_of(make_person("auto", "security_officer")))
    assert approve(token, request)[0] == 403
    auditor = sign_in(make_person("aino", "auditor"))
    assert approve(auditor, request)[0] == 403
    later = SimpleNamespace(now=lambda: timezone.now() + timedelta(days=8))
    with monkeypatch.context() as patch:
        patch.setattr("keyvault_portal.approvals.services.timezone", later)
        assert approve(omar, request) == (409, "approval_expired")
    assert omar.post(f"/api/v1/approvals/{request['id']}/withdraw", content_type=JSON).status_code == 403
    assert olga.post(f"/api/v1/approvals/{request['id']}/withdraw", content_type=JSON).status_code == 200
    assert approve(omar, request) == (409, "already_decided")
    missing = request | {"id": "00000000-0000-4000-8000-000000000000"}
    assert approve(omar, missing) == (404, "not_found")


@pytest.mark.django_db(transaction=True)
def test_an_act_whose_target_changed_in_between_is_not_performed(celery_eager, officers, here):
    request = asked(officers[0], here)
    stronger = {"grace_days": 90}
    url = f"/api/v1/keys/{here.keys['data'].pk}/policy"
    assert officers[2].patch(url, stronger, content_type=JSON).status_code == 200
    assert approve(officers[1], request)[0] in {200, 409}
    found = officers[0].get(f"/api/v1/approvals/{request['id']}").json()
    assert found["state"] == "stale"
    assert officers[0].get(url).json()["cryptoperiod_days"] != 3000


def test_bodies_of_the_management_api(officers):
    olga = officers[0]
    large = olga.post("/api/v1/rings", b'{"title": "' + b"A" * 10_000_000 + b'"}', content_type=JSON)
    assert (large.status_code, large.json()["code"]) == (413, "too_large")
    larger = olga.post(
        "/api/v1/rings", b'{"title": "' + b"A" * 13_000_000 + b'"}', content_type=JSON, headers={"Idempotency-Key": "k"}
    )
    assert (larger.status_code, larger.json()["code"]) == (413, "too_large")
    for body in (b'{"title": "\xc3\x28"}', b"{", b"\xff", b"[" * 200_000):
        refused = olga.post("/api/v1/rings", body, content_type=JSON)
        assert (refused.status_code, refused["Content-Type"]) == (400, "application/problem+json")
    assert olga.post("/api/v1/rings", b"a=1", content_type="application/x-www-form-urlencoded").status_code == 415
    assert olga.post("/api/v1/rings", b"[]", content_type=JSON).status_code == 422
    assert olga.post("/api/v1/rings", {"name": "a\0b", "title": "A\0"}, content_type=JSON).status_code == 422
    assert olga.put("/api/v1/rings", {}, content_type=JSON).status_code == 405
    assert olga.get("/api/v1/nothing").json()["code"] == "not_found"


def test_a_body_without_a_length_is_refused_alike(officers, here):
    for path in ("people", f"keys/{here.keys['data'].pk}/rotate", f"keys/{here.keys['data'].pk}/encrypt"):
        for key in ({}, {"Idempotency-Key": "k1"}):
            headers = {"Transfer-Encoding": "chunked", **key}
            refused = officers[0].generic("POST", f"/api/v1/{path}", headers=headers, CONTENT_TYPE=JSON).json()
            assert (refused["status"], refused["detail"]) == (411, "The request has no Content-Length.")
            assert (refused["code"], refused["hint"]) == ("length_required", "Send the body in one piece.")
    bare = officers[0].post(f"/api/v1/keys/{here.keys['data'].pk}/versions/1/suspend", content_type=JSON)
    assert (bare.status_code, list(bare.json()["errors"])) == (422, ["reason"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("table_name", 'customers"; DROP TABLE customers; --'),
        ("table_name", "customers; DELETE FROM people"),
        ("schema_name", "public' OR 1=1 --"),
        ("primary_key", "id) FROM pg_shadow --"),
        ("columns", ["email = '' OR 1=1"]),
    ],
)
def test_sql_in_the_name_of_a_table(officers, here, settings, field, value):
    base = settings.DATABASES["default"]
    dsn = f"postgresql://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}/{base['NAME']}"
    body = {
        "ring": str(here.ring.pk), "key": str(here.keys["data"].pk), "name": "shop", "title": "Shop", "dsn": dsn,
        "table_name": "accounts_person", "columns": ["email"], "format": "compact", field: value,
    }  # fmt: skip
    for path in ("stores", "stores/test"):
        refused = officers[0].post(f"/api/v1/{path}", body, content_type=JSON)
        assert refused.status_code in {409, 422}, refused.content
        assert base["PASSWORD"] not in refused.content.decode()
    assert not DataStore.objects.exists()


@pytest.mark.parametrize("text", [r"\ud800", r"a\u0000b", r"\udfff\ud800"])
def test_text_that_is_no_text(officers, here, text):
    """Half a surrogate pair and NUL are JSON, but nothing a database can hold (RFC 8259, 8.2)."""
    url = f"/api/v1/keys/{here.keys['data'].pk}"
    for method, path, body in (
        ("POST", "/api/v1/rings", f'{{"name": "n", "title": "{text}"}}'),
        ("PATCH", url, f'{{"labels": {{"{text}": "x"}}}}'),
        ("PATCH", url, f'{{"labels": {{"x": "{text}"}}}}'),
        ("POST", f"{url}/rotate", f'{{"reason": "{text}"}}'),
        ("POST", "/api/v1/stores", f'{{"ring": "{here.ring.pk}", "columns": ["{text}"]}}'),
        ("POST", "/api/v1/audit-exports", f'{{"format": "csv", "text": "{text}"}}'),
        ("POST", "/api/v1/audit-exports", f'{{"format": "{text}"}}'),
        ("POST", f"{url}/encrypt", f'{{"plaintext": "{text}"}}'),
    ):
        answer = officers[0].generic(method, path, body, content_type=JSON)
        assert answer.status_code in {400, 403, 422}, (path, answer.status_code)
    for query in ("q=a%00b", "name=%00", "cursor=%00"):
        assert officers[0].get(f"/api/v1/keys?{query}").status_code in {200, 422}
    assert officers[0].get("/api/v1/people?q=%ED%A0%80").status_code in {200, 400, 422}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"plaintext": "\xff"}', "The body is not UTF-8: it cannot be read at byte 15."),
        (b'{"plaintext": NaN}', "The body is not JSON: it cannot be read at character 14."),
        (b"\xef\xbb\xbf{}", "The body is not JSON: it cannot be read at character 0."),
    ],
)
def test_where_a_body_cannot_be_read_is_told(service, here, body, said):
    url = f"/api/v1/keys/{here.keys['data'].pk}/encrypt"
    refused = service.generic("POST", url, body, content_type=JSON)
    assert (refused.status_code, refused.json()["detail"]) == (400, said)
