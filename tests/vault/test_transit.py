"""Transit on a key ring: round trips, batches, what is refused and in which words, and what is put on record."""

from base64 import b64decode, b64encode, urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.test import Client

from keys.models import KeyVersion
from keys.services import lifecycle, seal_watch
from keys.vault import transit
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.errors import Sealed, WrongState
from tests.api.conftest import SYSTEM, bearer, make_person, sign_in, token_of


def b64(raw):
    return b64encode(raw).decode()


M = b64(b"m")


def test_what_is_encrypted_here_opens_here_and_by_the_portals_own_api(ask, ring, token):
    sealed = ask("POST", "transit/encrypt/k", {"plaintext": b64(b"hello"), "associated_data": b64(b"row 7")}).data
    assert sealed["key_version"] == 1
    asked = {"ciphertext": sealed["ciphertext"], "associated_data": b64(b"row 7")}
    assert ask("PUT", "transit/decrypt/k", asked).data == {"plaintext": b64(b"hello")}
    own = bearer(token).post(
        f"/api/v1/keys/{ring.keys['k'].pk}/decrypt",
        {"ciphertext": sealed["ciphertext"], "context": {"associated_data": b64(b"row 7")}},
        content_type="application/json",
    )
    assert own.json()["plaintext"] == b64(b"hello")
    same_bytes = asked | {"associated_data": "cm93IDd="}  # whose spare bits nobody reads
    assert ask("POST", "transit/decrypt/k", same_bytes).data == {"plaintext": b64(b"hello")}
    other = ask("POST", "transit/decrypt/k", asked | {"associated_data": b64(b"row 8")})
    assert (other.status, other.error) == (400, "Decryption failed")


def test_rewrap_moves_to_the_version_in_use(ask, ring):
    old = ask("POST", "transit/encrypt/k", {"plaintext": b64(b"x")}).data["ciphertext"]
    lifecycle.introduce_version(actor=SYSTEM, key_id=ring.keys["k"].pk, activate=True)
    moved = ask("POST", "transit/rewrap/k", {"ciphertext": old}).data
    assert moved["ciphertext"].startswith("vault:v2:")
    assert ask("POST", "transit/decrypt/k", {"ciphertext": moved["ciphertext"]}).data == {"plaintext": b64(b"x")}
    refused = ask("POST", "transit/rewrap/k", {"ciphertext": old, "key_version": 1})
    assert (refused.status, "decrypt_only" in refused.error) == (400, True)
    told = ask("GET", "transit/keys/k").data
    assert (told["latest_version"], told["min_decryption_version"], sorted(told["keys"])) == (2, 1, ["1", "2"])


@pytest.mark.parametrize("bits", [128, 256, 512])
def test_a_data_key_comes_in_the_clear_or_wrapped_only(ask, bits):
    both = ask("POST", "transit/datakey/plaintext/k", {"bits": bits}).data
    assert len(b64decode(both["plaintext"])) == bits // 8
    assert ask("POST", "transit/decrypt/k", {"ciphertext": both["ciphertext"]}).data == {"plaintext": both["plaintext"]}
    wrapped = ask("POST", "transit/datakey/wrapped/k", {"bits": bits}).data
    assert wrapped.keys() == {"ciphertext", "key_version"}
    assert len(b64decode(ask("POST", "transit/decrypt/k", wrapped).data["plaintext"])) == bits // 8


@pytest.mark.parametrize("key", ["p256", "ed", "rsa"])
def test_a_signature_is_checked_with_the_version_it_names(ask, key):
    signed = ask("POST", f"transit/sign/{key}", {"input": b64(b"m")}).data
    asked = {"input": b64(b"m"), "signature": signed["signature"]}
    assert ask("POST", f"transit/verify/{key}", asked).data == {"valid": True}
    assert ask("POST", f"transit/verify/{key}", asked | {"input": b64(b"n")}).data == {"valid": False}


def test_the_signature_of_a_json_web_signature_holds_outside(ask):
    text = ask("POST", "transit/sign/p256/sha2-256", {"input": b64(b"m"), "marshaling_algorithm": "jws"}).data[
        "signature"
    ]
    raw = urlsafe_b64decode(text.rpartition(":")[2] + "==")
    assert len(raw) == 64
    assert text.rpartition(":")[2].isascii()
    assert "=" not in text
    public = load_pem_public_key(ask("GET", "transit/keys/p256").data["keys"]["1"]["public_key"].encode())
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public.verify(der, b"m", ec.ECDSA(hashes.SHA256()))
    asked = {"input": b64(b"m"), "signature": text, "marshaling_algorithm": "jws"}
    assert ask("POST", "transit/verify/p256", asked).data == {"valid": True}
    assert ask("POST", "transit/verify/p256", asked | {"input": b64(b"n")}).data == {"valid": False}


def test_a_code_is_checked_by_verify(ask):
    code = ask("POST", "transit/hmac/mac/sha2-256", {"input": b64(b"m")}).data["hmac"]
    assert ask("POST", "transit/verify/mac", {"input": b64(b"m"), "hmac": code}).data == {"valid": True}
    assert ask("POST", "transit/verify/mac", {"input": b64(b"n"), "hmac": code}).data == {"valid": False}


def test_a_batch_answers_for_each_item(ask):
    items = [
        {"plaintext": b64(b"a"), "reference": "one"},
        {"plaintext": "##"},
        {"plaintext": b64(b"b"), "reference": "two"},
    ]
    refused = ask("POST", "transit/encrypt/k", {"batch_input": items})
    first, second, third = refused.body["data"]["batch_results"]
    assert (refused.status, first["reference"], third["reference"]) == (400, "one", "two")
    assert second == {"error": "plaintext: This is not standard base64.", "reference": ""}
    told = ask("POST", "transit/encrypt/k", {"batch_input": items, "partial_failure_response_code": 207})
    assert told.status == 207
    opened = ask(
        "POST", "transit/decrypt/k", {"batch_input": [{"ciphertext": it["ciphertext"]} for it in (first, third)]}
    ).data
    assert [row["plaintext"] for row in opened["batch_results"]] == [b64(b"a"), b64(b"b")]
    signed = ask("POST", "transit/sign/ed", {"batch_input": [{"input": b64(b"m")}, {"input": "##"}]}).data
    assert [sorted(row) for row in signed["batch_results"]] == [
        ["key_version", "reference", "signature"],
        ["error", "reference"],
    ]
    many = ask("POST", "transit/encrypt/k", {"batch_input": [{"plaintext": ""}] * 1001})
    assert (many.status, many.error) == (400, "A batch holds at most 1000 items. Send the items in several requests.")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("encrypt/k", {}, "plaintext: This field is required."),
        ("encrypt/k", {"plaintext": 7}, "plaintext: Give base64 text."),
        ("encrypt/k", {"plaintext": "", "context": "Yw=="}, "context: Keys here are not derived: bind data by associated_data."),
        ("encrypt/k", {"plaintext": "", "nonce": "Yw=="}, "nonce: Nonces are made here and never given."),
        ("encrypt/k", {"plaintext": "", "associated_data": "Y"}, "associated_data: This is not standard base64."),
        ("encrypt/k", {"plaintext": "", "key_version": [1]}, "key_version: Give a version number of 1 or more."),
        ("encrypt/k", {"plaintext": "", "key_version": False}, "key_version: Give a version number of 1 or more."),
        ("encrypt/k", {"batch_input": []}, "batch_input: Give at least one item."),
        ("encrypt/k", {"batch_input": {}}, "batch_input: Give at least one item."),
        ("encrypt/k", {"batch_input": [{"plaintext": "", "key_version": 1}, {"plaintext": ""}]}, "key_version: Name one version for the whole batch."),
        ("decrypt/k", {"ciphertext": "nothing"}, "ciphertext: "),
        ("datakey/wrapped/k", {"bits": 100}, "bits: Only 128, 256 or 512."),
        ("datakey/wrapped/k", {"bits": [256]}, "bits: Only 128, 256 or 512."),
        ("sign/p256/sha2-512", {"input": ""}, "hash_algorithm: This key goes with sha2-256."),
        ("sign/p256", {"input": "", "prehashed": True}, "prehashed: The message itself is signed here, not its hash."),
        ("sign/rsa", {"input": "", "signature_algorithm": "pkcs1v15"}, "signature_algorithm: Only pss."),
        ("sign/k", {"input": ""}, "A key of AES-256-GCM is not for sign."),
        ("encrypt/kek", {"plaintext": ""}, "transit/kek wraps keys and does nothing else."),
        ("verify/p256", {"input": ""}, "Give a signature, or an hmac, for every input; not both in one request."),
        ("verify/p256", {"input": "", "signature": "vault:v1:####", "marshaling_algorithm": "jws"}, "signature: "),
    ],
)  # fmt: skip
def test_a_bad_request_is_told_in_a_sentence(ask, path, body, words):
    refused = ask("POST", f"transit/{path}", body)
    assert refused.status == 400
    assert refused.error.startswith(words)


def test_a_data_key_that_cannot_be_made_is_refused_whatever_came_with_the_request(ask, monkeypatch):
    monkeypatch.setattr(transit.ops, "encrypt_many", lambda *given: [WrongState("Its provider does not answer.")])
    for body in ({}, {"batch_input": [{}]}):
        refused = ask("POST", "transit/datakey/plaintext/k", body)
        assert (refused.status, refused.body) == (400, {"errors": ["Its provider does not answer."]})


def test_parameters_that_nobody_set_may_be_sent(ask):
    unset = {"context": "", "nonce": None, "associated_data": "", "reference": "", "key_version": 0}
    assert ask("POST", "transit/encrypt/k", {"plaintext": ""} | unset).data["key_version"] == 1
    unset = {"hash_algorithm": "", "marshaling_algorithm": None, "prehashed": False, "key_version": "0"}
    signed = ask("POST", "transit/sign/p256", {"batch_input": [{"input": M, "reference": ""}]} | unset).data
    assert signed["batch_results"][0]["reference"] == ""


def test_a_name_that_no_key_can_have_is_not_put_on_record(ask):
    before = AuditEvent.objects.count()
    assert ask("POST", f"transit/encrypt/{'k' * 101}", {"plaintext": ""}).status == 404
    assert AuditEvent.objects.count() == before


def test_parameters_that_nobody_knows_are_named(ask):
    told = ask("POST", "transit/encrypt/k", {"plaintext": "", "type": "aes256-gcm96", "bogus": 1})
    assert told.body["warnings"] == ["Endpoint ignored these unrecognized parameters: [bogus type]"]
    assert ask("POST", "transit/encrypt/k", {"plaintext": ""}).body["warnings"] is None


def test_who_has_no_accepted_token_learns_nothing(ask, ring):
    for token in (None, "", "nonsense", "kvp_" + "0" * 32 + "_" + "A" * 43):
        refused = ask("POST", "transit/encrypt/k", {"plaintext": ""}, token=token)
        assert (refused.status, refused.body) == (403, {"errors": ["permission denied"]})
    officer = sign_in(make_person("olga", "security_officer"))
    assert officer.get("/v1/transit/keys").status_code == 403  # a session opens nothing here
    stranger = token_of(make_person("far", "service", None, kind="service"), ["key.view"], rings=[ring.ring])
    assert ask("POST", "transit/encrypt/k", {"plaintext": ""}, token=stranger).status == 403


def test_keys_are_governed_elsewhere(ask, ring):
    for method, path in (
        ("POST", "transit/keys/k"),
        ("DELETE", "transit/keys/k"),
        ("POST", "transit/keys/k/rotate"),
        ("POST", "transit/keys/k/config"),
    ):
        refused = ask(method, path, {})
        assert (refused.status, "where people agree to it" in refused.error) == (405, True)
    assert KeyVersion.objects.filter(key=ring.keys["k"]).count() == 1
    elsewhere = ask("POST", "secret/data/x", {})
    assert (elsewhere.status, "mount of the transit engine" in elsewhere.error) == (404, True)


def test_keys_are_listed_a_page_at_a_time(ask):
    every = ask("LIST", "transit/keys").data["keys"]
    assert every == sorted(every)
    assert {"k", "p256", "kek"} <= set(every)
    assert ask("GET", "transit/keys?list=true").data["keys"] == every
    assert ask("GET", f"transit/keys?after={every[1]}&limit=2").data["keys"] == every[2:4]
    assert ask("GET", "transit/keys?limit=0").status == 400
    assert ask("GET", "transit/keys?after=%00").status == 400
    assert ask("LIST", "nowhere/keys").status == 404
    assert ask("GET", "transit/keys/nothing").status == 404


def test_one_request_is_one_event(ask, ring):
    before = AuditEvent.objects.count()
    ask(
        "POST", "transit/encrypt/k", {"batch_input": [{"plaintext": b64(b"secret a")}, {"plaintext": b64(b"secret b")}]}
    )
    ask("POST", "transit/decrypt/nothing", {"ciphertext": "vault:v1:AAAA"})
    refused, done = AuditEvent.objects.order_by("-seq")[: AuditEvent.objects.count() - before]
    assert (done.action, done.outcome, done.target_id) == ("key.encrypt", "success", str(ring.keys["k"].pk))
    assert b'"items":2' in bytes(done.leaf)
    assert (refused.action, refused.outcome) == ("key.decrypt", "refused")
    assert b"secret" not in bytes(done.leaf)


def test_a_token_is_told_what_it_is_and_never_its_text(ask, token):
    told = ask("GET", "auth/token/lookup-self")
    assert "key.encrypt" in told.data["policies"]
    assert told.data["meta"] == {"rings": "transit"}
    assert token not in str(told.body)


def test_a_sealed_portal_says_so(ask, monkeypatch, settings):
    assert ask("GET", "sys/health", token=None).body["sealed"] is False

    def sealed() -> None:
        raise Sealed("The portal is sealed.", hint="Custodians unseal it on the page /sealed/.")

    monkeypatch.setattr(seal_watch, "require_open", sealed)
    for method, path in (("LIST", "transit/keys"), ("GET", "auth/token/lookup-self"), ("POST", "transit/encrypt/k")):
        refused = ask(method, path)
        assert (refused.status, refused.error) == (
            503,
            "The portal is sealed. Custodians unseal it on the page /sealed/.",
        )
    settings.KEYHOLDER_SOCKET = "/nowhere/keyholder.sock"
    health = ask("GET", "sys/health", token=None)
    assert (health.status, health.body["sealed"]) == (503, True)
    assert ask("GET", "sys/seal-status", token=None).body["sealed"] is True


def test_bodies_are_read_whatever_type_they_claim(token):
    client = Client(headers={"X-Vault-Token": token})
    assert client.generic("POST", "/v1/transit/encrypt/k", b'{"plaintext": ""}').status_code == 200
    for body in (b"{", b"[]", b"\xff"):
        refused = client.generic("POST", "/v1/transit/encrypt/k", body)
        assert (refused.status_code, list(refused.json())) == (400, ["errors"])
    large = client.generic("POST", "/v1/transit/encrypt/k", b'{"plaintext": "' + b"A" * 10_000_000 + b'"}')
    assert (large.status_code, "at most 10,000,000" in large.json()["errors"][0]) == (400, True)
