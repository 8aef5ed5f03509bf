"""Signing in: second factors where roles ask for them, sessions that end, all of it on the record."""

import json
import time

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    generate_totp_secret,
    hotp_value,
    yield_hotp_counters_from_time,
)
from django.contrib.messages import get_messages
from django.db import transaction
from django.test import Client

from keyvault_portal.accounts import services
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.second_factor import FIRST_RATE
from keyvault_portal.audit.models import AuditEvent

PASSWORD = "long horse battery 9"


def code_for(secret):
    return format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))


def events(action):
    return [(e.outcome, json.loads(bytes(e.leaf))) for e in AuditEvent.objects.filter(action=action).order_by("seq")]


@pytest.mark.parametrize(
    ("role", "required"),
    [("security_officer", True), ("custodian", True), ("operator", False), ("auditor", False), (None, False)],
)
def test_roles_that_agree_need_a_second_factor(person, signed_in, role, required):
    client = signed_in(person("ann", role), second_factor=False)
    response = client.get("/")
    assert response.status_code == (302 if required else 200)
    if required:
        assert response["Location"] == "/account/2fa/"
        assert client.post("/tokens/new/").status_code == 302
        assert client.get("/profile/")["Location"] == "/account/2fa/"


def test_a_ring_officer_needs_one_too(person, ring, signed_in):
    assert signed_in(person("rita", "security_officer", ring), second_factor=False).get("/").status_code == 302


def test_with_a_second_factor_the_pages_open(officer, signed_in):
    assert signed_in(officer).get("/").status_code == 200


def test_the_api_asks_for_it_as_well(officer, signed_in):
    response = signed_in(officer, second_factor=False).get("/api/v1/people/")
    assert (response.status_code, response.json()["code"]) == (403, "second_factor_required")
    assert signed_in(officer).get("/api/v1/people/").status_code == 200


def test_a_session_older_than_the_factor_must_prove_it(officer, signed_in):
    TOTP.activate(officer, generate_totp_secret())
    client = signed_in(officer, second_factor=False)
    assert client.get("/?a=1")["Location"] == "/account/2fa/reauthenticate/?next=%2F%3Fa%3D1"
    assert client.get("/account/2fa/totp/deactivate/")["Location"].startswith("/account/2fa/reauthenticate/")


def test_another_persons_proof_does_not_count(officer, person, signed_in):
    client = signed_in(officer)
    session = client.session
    session["account_authentication_methods_user"] = str(person("ann").pk)
    session.save()
    assert client.get("/").status_code == 302


def test_password_then_code(person):
    ann = person("ann", "operator", password=PASSWORD)
    secret = generate_totp_secret()
    TOTP.activate(ann, secret)
    client = Client()
    response = client.post("/account/login/", {"login": ann.email, "password": PASSWORD})
    assert response["Location"].startswith("/account/2fa/authenticate/")
    assert "_auth_user_id" not in client.session
    assert "or one of your recovery codes" in client.get("/account/2fa/authenticate/").content.decode()
    assert client.post("/account/2fa/authenticate/", {"code": "000000"}).status_code == 200
    assert events("session.second_factor")[-1][0] == "refused"
    response = client.post("/account/2fa/authenticate/", {"code": code_for(secret)})
    assert response.status_code == 302
    assert client.get("/").content == b"home"
    outcome, leaf = events("session.sign_in")[-1]
    assert (outcome, leaf["actor"]["id"], leaf["details"]["methods"]) == ("success", str(ann.pk), ["password", "totp"])
    assert leaf["actor"]["address"] == "127.0.0.1"


def test_failed_sign_ins_are_recorded_without_what_was_typed(person):
    ann = person("ann", password=PASSWORD)
    client = Client()
    client.post("/account/login/", {"login": ann.email, "password": "wrong"})
    client.post("/account/login/", {"login": "hunter2@secret.example", "password": "wrong"})
    recorded = events("session.sign_in")
    assert [outcome for outcome, _ in recorded] == ["refused", "refused"]
    assert [leaf["target"]["id"] for _, leaf in recorded] == [str(ann.pk), ""]
    assert "hunter2" not in json.dumps(recorded)
    assert 'wrong"' not in json.dumps(recorded)


def test_signing_out_is_recorded(officer, signed_in):
    signed_in(officer).post("/account/logout/")
    assert events("session.sign_out")[0][1]["actor"]["id"] == str(officer.pk)


def test_nobody_signs_up(db):
    before = Client().get("/account/signup/")
    response = Client().post(
        "/account/signup/", {"email": "eve@example.org", "password1": PASSWORD, "password2": PASSWORD}
    )
    assert b"password1" not in before.content
    assert not events("session.sign_in")
    assert response.status_code == 200
    assert not Person.objects.exists()


def test_a_deactivated_person_is_out_at_once(officer_actor, person, signed_in):
    ann = person("ann", "operator")
    client = signed_in(ann)
    assert client.get("/people/").status_code == 200
    services.deactivate_person(actor=officer_actor, person=ann)
    assert client.get("/people/").status_code == 302
    assert client.get("/api/v1/people/").status_code == 401


def test_an_inactive_person_cannot_sign_in(person):
    ann = person("ann", password=PASSWORD, is_active=False)
    client = Client()
    client.post("/account/login/", {"login": ann.email, "password": PASSWORD})
    assert "_auth_user_id" not in client.session


def test_totp_keys_are_encrypted_at_rest(person):
    ann = person("ann")
    secret = generate_totp_secret()
    TOTP.activate(ann, secret)
    kept = Authenticator.objects.get(user=ann).data["secret"]
    assert secret not in kept
    assert get_adapter().decrypt(kept) == secret


def test_officers_keep_their_last_factor(officer, person):
    factor = TOTP.activate(officer, generate_totp_secret()).instance
    assert not get_adapter().can_delete_authenticator(factor)
    Authenticator.objects.create(user=officer, type=Authenticator.Type.WEBAUTHN, data={})
    assert get_adapter().can_delete_authenticator(factor)
    assert get_adapter().can_delete_authenticator(TOTP.activate(person("ann"), generate_totp_secret()).instance)


def just_proved(client):
    """The same client after its person typed the password again."""
    session = client.session
    session["account_authentication_methods"] += [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session.save()
    return client


def test_the_last_factor_of_an_officer_is_not_removed_over_http(officer, signed_in):
    client, totp = just_proved(signed_in(officer)), TOTP.activate(officer, generate_totp_secret()).instance
    first, last = (
        Authenticator.objects.create(
            user=officer, type=Authenticator.Type.WEBAUTHN, data={"name": name, "credential": {}}
        )
        for name in ("Laptop", "Key")
    )
    client.post(f"/account/2fa/webauthn/keys/{first.pk}/remove/")
    totp.delete()
    response = client.post(f"/account/2fa/webauthn/keys/{last.pk}/remove/")
    assert response["Location"] == "/account/2fa/webauthn/"
    left = Authenticator.objects.filter(user=officer, type__in=FIRST_RATE)
    assert list(left.values_list("pk", flat=True)) == [last.pk]
    assert "this is the last one" in str(list(get_messages(response.wsgi_request)))


def test_an_application_that_has_to_stay_comes_without_a_button_to_remove_it(officer, person, signed_in):
    path = "/account/2fa/totp/deactivate/"
    for who, stays in ((officer, True), (person("ann", "operator"), False)):
        client = just_proved(signed_in(who))
        TOTP.activate(who, generate_totp_secret())
        page = client.get(path).content.decode()
        assert ("Deactivate</button>" in page) is not stays
        assert ("Add another one first" in page) is stays


def test_a_passkey_is_not_offered_the_name_of_a_key(officer, signed_in):
    client = just_proved(signed_in(officer))
    assert client.get("/account/2fa/webauthn/add/").context["form"]["name"].value() == "Passkey"
    Authenticator.objects.create(user=officer, type=Authenticator.Type.WEBAUTHN, data={"name": "a", "credential": {}})
    assert get_adapter().generate_authenticator_name(officer, Authenticator.Type.WEBAUTHN) == "Passkey 2"


def test_set_up_link_to_second_factor_to_work(db, monkeypatch):
    # Outside a test the short transaction that adds a factor commits within its request.
    monkeypatch.setattr(transaction, "on_commit", lambda call: call())
    path = services.create_setup_link().split("//", 1)[1].split("/", 1)[1]
    client = Client()
    page = client.get(f"/{path}")
    assert (page.status_code, page["Referrer-Policy"]) == (200, "no-referrer")
    assert "no-store" in page["Cache-Control"]
    form = {"name": "Ada", "email": "ada@example.org", "password": PASSWORD, "password_again": PASSWORD}
    assert client.post(f"/{path}", form | {"password_again": "x"}).status_code == 200
    assert client.post(f"/{path}", form)["Location"] == "/account/2fa/"
    assert client.get("/people/")["Location"] == "/account/2fa/"
    assert Client().get(f"/{path}").status_code == 404
    client.post("/account/reauthenticate/?next=/account/2fa/totp/activate/", {"password": PASSWORD})
    client.get("/account/2fa/totp/activate/")
    code = code_for(client.session["mfa.totp.secret"])
    client.post("/account/2fa/totp/activate/", {"code": code})
    assert client.get("/people/").status_code == 200
    assert events("second_factor.add")[0][1]["details"]["type"] == "totp"
