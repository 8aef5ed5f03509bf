"""Published before use, kept until the last token expires, gone at once when trust is."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from keys.models import KeyPolicy, KeyVersion
from keys.services import jwks, lifecycle
from keyvault_portal.errors import NotFound, WrongState


@pytest.fixture
def clock(monkeypatch):
    """`clock(hours)` moves the time that the services see."""
    real, shift = timezone.now, [timedelta()]
    monkeypatch.setattr(timezone, "now", lambda: real() + shift[0])

    def forward(hours: float) -> None:
        shift[0] += timedelta(hours=hours)

    return forward


def kids():
    return [key["kid"] for key in jwks.document("payments", "tokens")["keys"]]


def kid(number):
    return jwks.kid(KeyVersion.objects.select_related("key").get(key__name="tokens", key_version=number))


def test_a_rotation_of_a_token_key_overlaps_on_both_sides(tree, clock):
    assert kids() == [kid(1)]
    with pytest.raises(WrongState) as caught:
        lifecycle.introduce_version(actor=tree.officer, key_id=tree.token.pk, activate=True)
    assert "available_at" in caught.value.extra
    second = lifecycle.introduce_version(actor=tree.officer, key_id=tree.token.pk, activate=False)
    assert kids() == [kid(2), kid(1)]
    clock(23)
    assert lifecycle.tick_activations() == 0
    with pytest.raises(WrongState):
        lifecycle.activate_version(actor=tree.officer, version_id=second.pk)
    clock(1.1)
    assert lifecycle.tick_activations() == 1
    second.refresh_from_db()
    assert second.status == "active"
    assert kids() == [kid(2), kid(1)]
    clock(23)
    assert kids() == [kid(2), kid(1)]
    clock(1)
    assert kids() == [kid(2)]


@pytest.mark.parametrize("act", ["suspend", "compromise"])
def test_what_is_not_trusted_leaves_at_once(tree, act):
    version_id = tree.token.current_id
    if act == "suspend":
        lifecycle.suspend_version(actor=tree.officer, version_id=version_id, reason="r")
    else:
        lifecycle.mark_compromised(
            actor=tree.officer, version_id=version_id, reason_code="key_compromise", occurred_at=timezone.now()
        )
    assert kids() == []
    # Nothing in use is left to overlap with, so the next version signs at once.
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.token.pk, activate=True)
    assert kids() == [kid(2)]


@pytest.fixture
def replaced(tree, clock):
    """The first version, replaced a moment ago by the second; its tokens live for 60 days."""
    KeyPolicy.objects.filter(key=tree.token).update(token_lifetime_hours=1440, destroy_groups=[])
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.token.pk, activate=False)
    clock(24.1)
    lifecycle.tick_activations()
    return KeyVersion.objects.get(key=tree.token, key_version=1)


def test_a_version_destroyed_before_its_last_token_expires_stays_until_then(tree, clock, replaced):
    old = kid(1)
    lifecycle.schedule_deletion(actor=tree.officer, version_id=replaced.pk, grace_days=7, accept_loss=True)
    clock(8 * 24)
    assert lifecycle.tick_deletions() == 1
    assert kids() == [kid(2), old]
    clock(51 * 24)
    assert kids() == [kid(2), old]
    clock(2 * 24)
    assert kids() == [kid(2)]


def test_a_suspended_version_does_not_come_back_by_its_end(tree, clock, replaced):
    lifecycle.suspend_version(actor=tree.officer, version_id=replaced.pk, reason="r")
    assert kids() == [kid(2)]
    lifecycle.schedule_deletion(actor=tree.officer, version_id=replaced.pk, accept_loss=True)
    assert kids() == [kid(2)]


def test_the_kid_is_the_thumbprint_of_rfc_7638(tree):
    import base64
    import hashlib

    (key,) = jwks.document("payments", "tokens")["keys"]
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{key["x"]}"}}'.encode()
    assert key["kid"] == base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert {"alg": key["alg"], "use": key["use"]} == {"alg": "EdDSA", "use": "sig"}
    assert "d" not in key


def test_only_token_keys_have_a_set(tree):
    for name in ("customers", "nothing"):
        with pytest.raises(NotFound):
            jwks.document("payments", name)


@pytest.mark.urls("keys.jwks_urls")
def test_anybody_may_fetch_the_set_and_keep_it_for_minutes(tree, settings):
    settings.MIDDLEWARE = []
    tree.make("es", "token_signing", "ECDSA-P256-SHA256", tree.kek)
    client = Client()
    response = client.get("/.well-known/jwks.json")
    assert len(response.json()["keys"]) == 2
    assert response["Content-Type"] == "application/jwk-set+json"
    assert response["Cache-Control"] == "public, max-age=300"
    again = client.get("/.well-known/jwks.json", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    lifecycle.introduce_version(actor=tree.officer, key_id=tree.token.pk, activate=False)
    changed = client.get("/.well-known/jwks.json", headers={"If-None-Match": response["ETag"]})
    assert changed.status_code == 200
    assert len(client.get("/jwks/payments/es.json").json()["keys"]) == 1
    assert client.get("/jwks/payments/customers.json").status_code == 404
    assert client.post("/.well-known/jwks.json").status_code == 405
