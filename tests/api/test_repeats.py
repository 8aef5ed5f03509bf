"""Who may have the first answer to an Idempotency-Key again, and which answers are kept at all."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone

from keys.dataplane.operations import OPERATIONS
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person, RoleBinding
from keyvault_portal.accounts.services import revoke_token
from keyvault_portal.idempotency import IdempotencyMiddleware
from keyvault_portal.models import IdempotencyRecord
from tests.api.conftest import SYSTEM, bearer, make_person, sign_in, token_of

JSON = "application/json"
RING = {"name": "orders", "title": "Orders"}
ONCE = {"Idempotency-Key": "k1"}


def make_ring(client: Client, **extra: Any) -> Any:
    return client.post("/api/v1/rings", RING, content_type=JSON, headers=ONCE, **extra)


def refused(answer: Any) -> bool:
    held = b"orders" in answer.content or answer.has_header("Idempotency-Replayed")
    return (answer.status_code, answer.json()["code"], held) == (401, "not_authenticated", False)


@pytest.fixture
def officer(db: None) -> Person:
    return make_person("olga", "security_officer")


@pytest.fixture
def client(officer: Person) -> Client:
    """A caller by token, whose ring is made."""
    found = bearer(token_of(officer, cidrs=["127.0.0.0/8"], expires_at=timezone.now() + timedelta(hours=1)))
    assert make_ring(found).status_code == 201
    assert make_ring(found)["Idempotency-Replayed"] == "true"
    return found


def test_a_revoked_token_gets_no_answer_again(client):
    revoke_token(actor=SYSTEM, token=ApiToken.objects.get())
    assert refused(make_ring(client))


def test_an_expired_token_gets_no_answer_again(client):
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert refused(make_ring(client))


def test_a_token_gets_no_answer_again_from_elsewhere(client):
    assert refused(make_ring(client, REMOTE_ADDR="10.9.9.9"))


def test_the_token_of_a_deactivated_person_gets_no_answer_again(client, officer):
    Person.objects.filter(pk=officer.pk).update(is_active=False)
    assert refused(make_ring(client))


def test_an_ended_session_and_that_of_a_deactivated_person_get_no_answer_again(officer):
    ended, other = sign_in(officer), sign_in(officer)
    assert make_ring(ended).status_code == 201
    SessionStore(ended.session.session_key).delete()
    assert refused(make_ring(ended))
    assert make_ring(other)["Idempotency-Replayed"] == "true"
    Person.objects.filter(pk=officer.pk).update(is_active=False)
    assert refused(make_ring(other))
    assert KeyRing.objects.filter(name="orders").count() == 1


def test_a_session_needs_its_csrf_token_and_its_second_factor_again(officer):
    assert make_ring(sign_in(officer)).status_code == 201
    for weaker in (sign_in(officer, enforce_csrf_checks=True), sign_in(officer, second_factor=False)):
        answer = make_ring(weaker)
        assert (answer.status_code, b"orders" in answer.content) == (403, False)


def withheld(answer: Any) -> bool:
    held = b"orders" in answer.content or answer.has_header("Idempotency-Replayed")
    return (answer.status_code, answer.json()["code"], held) == (403, "answer_withheld", False)


def test_a_person_without_the_role_any_more_gets_no_answer_again(officer):
    first = sign_in(officer)
    assert make_ring(first).status_code == 201
    officer.bindings.all().delete()
    assert withheld(make_ring(sign_in(officer)))
    RoleBinding.objects.create(person=officer, role="operator", created_by="test")
    assert withheld(make_ring(sign_in(officer)))
    RoleBinding.objects.create(person=officer, role="security_officer", created_by="test")
    assert make_ring(sign_in(officer))["Idempotency-Replayed"] == "true", "nothing is lost, and more is no matter"


def test_a_role_narrowed_to_one_ring_gets_no_answer_again(officer, here):
    assert make_ring(sign_in(officer)).status_code == 201
    officer.bindings.update(ring=here.ring)
    assert withheld(make_ring(sign_in(officer)))


@pytest.mark.parametrize("narrowed", ["scopes", "rings", "the roles of its owner"])
def test_a_narrowed_token_gets_no_answer_again(client, officer, here, narrowed):
    token = ApiToken.objects.get()
    if narrowed == "scopes":
        ApiToken.objects.update(scopes=[scope for scope in token.scopes if scope != "key.view"])
    elif narrowed == "rings":
        token.rings.add(here.ring)
    else:
        officer.bindings.all().delete()
    assert withheld(make_ring(client))
    assert KeyRing.objects.filter(name="orders").count() == 1


def test_a_widened_token_gets_the_answer_again(officer):
    narrow = bearer(token_of(officer, ["ring.manage"]))
    assert make_ring(narrow).status_code == 201
    ApiToken.objects.update(scopes=["ring.manage", "key.view"])
    assert make_ring(narrow)["Idempotency-Replayed"] == "true"


def test_an_answer_kept_without_the_rights_is_given_to_nobody(client):
    IdempotencyRecord.objects.update(rights=None)
    assert withheld(make_ring(client))


def test_people_who_send_the_same_other_credential_are_told_apart(officer):
    proxied = {"HTTP_AUTHORIZATION": "Basic cHJveHk6cHJveHk="}
    assert make_ring(sign_in(officer), **proxied).status_code == 201
    second = make_ring(sign_in(make_person("otto", "security_officer")), **proxied)
    assert second.status_code in {409, 422}
    assert not second.has_header("Idempotency-Replayed")


def test_a_call_without_the_header_asks_no_database():
    request = RequestFactory().post("/api/v1/keys/x/encrypt", "{}", content_type=JSON)
    assert IdempotencyMiddleware(lambda _: HttpResponse("x"))(request).content == b"x"


@pytest.fixture
def twice(service: Client, here: Any) -> Any:
    """twice(operation, body): both answers to the same key."""

    def send(operation: str, body: Any, key: str = "data") -> tuple[Any, Any]:
        url, once = f"/api/v1/keys/{here.keys[key].pk}/{operation}", {"Idempotency-Key": operation}
        first, again = (service.post(url, body, content_type=JSON, headers=once) for _ in range(2))
        return first, again

    return send


@pytest.mark.parametrize("body", [{"plaintext": "not base64"}, b"{", {"plaintext": "AAAA", "version": 7}])
def test_what_was_refused_is_refused_alike_again(twice, body):
    first, again = twice("encrypt", body)
    assert first.status_code in {400, 404, 422}
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again["Content-Type"] == "application/problem+json"


def test_answers_without_a_secret_are_given_again(twice):
    for operation, key, body in (
        ("encrypt", "data", {"plaintext": "AAAA"}),
        ("envelope/encrypt", "kek", {"plaintext": "AAAA"}),
        ("sign", "tokens", {"message": "AAAA"}),
        ("mac", "codes", {"message": "AAAA"}),
    ):
        first, again = twice(operation, body, key)
        assert (first.status_code, again["Idempotency-Replayed"], again.json()) == (200, "true", first.json())


def test_answers_with_plaintext_or_a_data_key_are_kept_nowhere(twice, service, here):
    sealed, _ = twice("encrypt", {"plaintext": "c2VjcmV0"})
    for operation, key, body in (
        ("decrypt", "data", {"ciphertext": sealed.json()["ciphertext"]}),
        ("generate-data-key", "kek", {}),
    ):
        first, again = twice(operation, body, key)
        assert (first.status_code, again.status_code) == (200, 409)
        assert again.json()["detail"] == "This was done before; its answer held a secret and is not kept."
        stored = b"".join(bytes(record.body) for record in IdempotencyRecord.objects.all())
        assert first.json()["plaintext"].encode() not in stored
    assert {path for path, operation in OPERATIONS.items() if operation.secret} == {
        "decrypt", "generate-data-key", "unwrap-data-key", "envelope/decrypt",
    }  # fmt: skip
