"""The data plane through HTTP: round trips, batches, strict bodies, one event a request, and who may."""

from base64 import b64encode

import pytest

from keyvault_portal.audit.models import AuditEvent

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
