"""One's own signing keys in REST: asked for, agreed to, listed to nobody else, removed."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyvault_portal.approvals import execution
from keyvault_portal.approvals.models import ApprovalRequest, SigningKey
from tests.api.conftest import bearer, make_person, sign_in, token_of

pytestmark = pytest.mark.django_db
KEYS = "/api/v1/signing-keys"


def public_line() -> str:
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_a_key_is_asked_for_agreed_to_listed_and_removed():
    owner, officer = (sign_in(make_person(name, "security_officer")) for name in ("olga", "otto"))
    body = {"name": "Safe", "public_key": public_line()}
    asked = owner.post(KEYS, body, content_type="application/json")
    assert asked.status_code == 202
    request = ApprovalRequest.objects.get()
    assert asked["Location"] == f"/api/v1/approvals/{request.pk}"
    agreed = officer.post(
        f"{asked['Location']}/approve", {"act_hash": request.act_hash}, content_type="application/json"
    )
    assert agreed.status_code == 200
    execution.execute(request.pk)
    [shown] = owner.get(KEYS).json()["results"]
    assert (shown["name"], shown["kind"], shown["approval_id"]) == ("Safe", "ed25519", str(request.pk))
    assert officer.get(KEYS).json()["results"] == []
    again = owner.post(KEYS, body, content_type="application/json")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert owner.delete(f"{KEYS}/{shown['id']}").status_code == 204
    assert owner.get(KEYS).json()["results"] == []
    assert SigningKey.objects.get().removed_at is not None
    assert owner.delete(f"{KEYS}/{shown['id']}").status_code == 404


def test_tokens_and_strangers_bring_none():
    owner = make_person("olga", "security_officer")
    token = bearer(token_of(owner))
    assert (
        token.post(KEYS, {"name": "Safe", "public_key": public_line()}, content_type="application/json").status_code
        == 403
    )
    refused = sign_in(owner).post(KEYS, {"name": "Safe", "public_key": "no key"}, content_type="application/json")
    assert (refused.status_code, list(refused.json()["errors"])) == (422, ["public_key"])
