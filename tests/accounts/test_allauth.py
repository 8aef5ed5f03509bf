"""What django-allauth brings: which of its pages answer, who they sign in, and what its links leave behind."""

import json
import re

import pytest
from allauth import urls as theirs
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core import mail
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, resolve, reverse

from keyvault_portal.accounts import services
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.passkeys import to_text
from keyvault_portal.audit.evidence.signatures import unbase64
from keyvault_portal.audit.models import AuditEvent
from keyvault_portal.logs import redact
from tests.accounts.test_second_factor import code_for
from tests.authenticator import SoftPasskey

PASSWORD, NEW_PASSWORD = "long horse battery 9", "short cow charger 10"

# Every page of django-allauth is decided on here: those that answer, and those that something else stands in for.
ANSWERS = {
    "account_login", "account_logout", "account_inactive", "account_reauthenticate",
    "account_signup",  # says that it is closed; other pages and mails name it
    "account_change_password", "account_set_password", "account_reset_password", "account_reset_password_done",
    "account_reset_password_from_key", "account_reset_password_from_key_done",
    "mfa_index", "mfa_authenticate", "mfa_reauthenticate", "mfa_activate_totp", "mfa_deactivate_totp",
    "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_download_recovery_codes",
    "mfa_list_webauthn", "mfa_add_webauthn", "mfa_reauthenticate_webauthn", "mfa_edit_webauthn",
    "mfa_login_webauthn",
}  # fmt: skip
GUARDED = {"mfa_remove_webauthn"}  # theirs, behind a question of ours
REPLACED = {
    "account_email": "/profile/", "account_email_verification_sent": "/profile/", "account_confirm_email": "/profile/",
    "account_confirm_login_code": "/account/login/", "usersessions_list": "/profile/",
}  # fmt: skip
ARGUMENTS = ([], ["x"], [1], ["a" * 32, "x"])


def names_in(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from names_in(pattern.url_patterns)
        else:
            yield pattern.name


def path_of(name):
    for arguments in ARGUMENTS:
        try:
            return reverse(name, args=arguments)
        except NoReverseMatch:
            continue
    raise AssertionError(f"{name} takes other arguments.")


@pytest.fixture(params=["tests.accounts.urls", "keyvault_portal.urls"])
def _addresses(request, settings):
    settings.ROOT_URLCONF = request.param


@pytest.mark.usefixtures("_addresses")
def test_every_page_of_allauth_is_decided_on():
    assert set(names_in(theirs.urlpatterns)) == ANSWERS | GUARDED | set(REPLACED)
    of_allauth = {
        name
        for name in ANSWERS | GUARDED | set(REPLACED)
        if resolve(path_of(name)).func.__module__.startswith("allauth.")
    }
    assert of_allauth == ANSWERS


@pytest.mark.usefixtures("_addresses")
def test_allauth_answers_nowhere_else():
    def modules(patterns, below=""):
        for pattern in patterns:
            route = below + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from modules(pattern.url_patterns, route)
            elif pattern.callback.__module__.startswith("allauth."):
                yield route

    assert all(route.startswith("account/") for route in modules(get_resolver().url_patterns))


@pytest.mark.parametrize(("name", "instead"), REPLACED.items())
def test_what_is_replaced_leads_on(person, signed_in, name, instead):
    client = signed_in(person("ann"))
    for answer in (client.get(path_of(name)), client.post(path_of(name))):
        assert (answer.status_code, answer["Location"]) == (302, instead)


def test_a_session_changes_no_address(person, signed_in):
    ann, client = person("ann"), signed_in(person("eve"))
    for given in ("thief@example.org", ann.email):
        for act in ("action_add", "action_primary"):
            assert client.post("/account/email/", {"email": given, act: ""})["Location"] == "/profile/"
    assert not EmailAddress.objects.exists()
    assert Person.objects.filter(email="eve@example.org").exists()


def ask_for_reset(email):
    """The path in the mail that the form sent, or None when it sent none."""
    mail.outbox.clear()
    assert Client().post("/account/password/reset/", {"email": email})["Location"] == "/account/password/reset/done/"
    return next((re.search(r"http://[^/]+(/\S+)", message.body)[1] for message in mail.outbox), None)


def refusals():
    events = AuditEvent.objects.filter(action="session.sign_in", outcome="refused").order_by("seq")
    return [json.loads(bytes(event.leaf))["details"]["code"] for event in events]


def test_a_forgotten_password_is_set_anew_and_the_secret_stays_out_of_addresses_and_logs(person):
    ann, client = person("ann", password=PASSWORD), Client()
    link = ask_for_reset("Ann@example.org")
    person_id = re.fullmatch(r"/account/password/reset/key/([0-9a-f]{32})-[^/]+/", link)[1]
    leads_to = client.get(link)["Location"]
    assert leads_to == f"/account/password/reset/key/{person_id}-set-password/"
    assert client.post(leads_to, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})["Location"].endswith(
        "/key/done/"
    )
    ann.refresh_from_db()
    assert ann.check_password(NEW_PASSWORD)
    line = redact(f'127.0.0.1 "GET {link} HTTP/1.1" 302 4.2 ms')
    assert line == f'127.0.0.1 "GET /account/password/reset/key/{person_id}... HTTP/1.1" 302 4.2 ms'
    assert redact(leads_to) == leads_to


def test_a_reset_goes_to_the_address_of_the_person_only(person):
    ann = person("ann", password=PASSWORD)
    EmailAddress.objects.create(user=ann, email="thief@example.org", primary=True)
    assert ask_for_reset("thief@example.org") is None
    assert ask_for_reset(ann.email)
    assert [message.to for message in mail.outbox] == [[ann.email]]


def test_a_service_is_sent_no_reset(person):
    person("shop", kind="service")
    assert ask_for_reset("shop@example.org") is None
    assert not mail.outbox


def by_password(client, who, become):
    become()
    return client.post("/account/login/", {"login": who.email, "password": PASSWORD})


def by_code(client, who, become):
    secret = generate_totp_secret()
    TOTP.activate(who, secret)
    client.post("/account/login/", {"login": who.email, "password": PASSWORD})
    become()
    return client.post("/account/2fa/authenticate/", {"code": code_for(secret)})


def by_passkey(client, who, become):
    passkey = SoftPasskey()
    passkey.register(who.pk)
    become()
    options = client.get("/account/2fa/webauthn/login/", headers={"Accept": "application/json"}).json()
    answer = json.loads(passkey.sign(unbase64(options["request_options"]["publicKey"]["challenge"])))
    answer["response"]["userHandle"] = to_text(who.pk.hex.encode())
    return client.post("/account/2fa/webauthn/login/", {"credential": json.dumps(answer)})


def by_reset(client, who, become):
    form = client.get(ask_for_reset(who.email))["Location"]
    become()
    client.post(form, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    return client.post("/account/login/", {"login": who.email, "password": NEW_PASSWORD})


WAYS = pytest.mark.parametrize("way", [by_password, by_code, by_passkey, by_reset])


@pytest.fixture
def ann(person, settings):
    settings.PORTAL_ORIGIN = "http://localhost"
    return person("ann", password=PASSWORD)


@WAYS
def test_an_active_person_signs_in_by_each_way(ann, way):
    client = Client(SERVER_NAME="localhost")
    assert way(client, ann, lambda: None)["Location"] == "/"
    assert client.session["_auth_user_id"] == str(ann.pk)


@WAYS
@pytest.mark.parametrize("state", [{"kind": "service"}, {"is_active": False}], ids=["service", "inactive"])
def test_nobody_else_signs_in_by_any_way(ann, way, state):
    client = Client(SERVER_NAME="localhost")
    answer = way(client, ann, lambda: Person.objects.filter(pk=ann.pk).update(**state))
    assert answer["Location"] == "/account/inactive/"
    assert "Only an active person can sign in." in client.get("/account/inactive/").content.decode()
    assert not {"_auth_user_id", "account_login", "account_authentication_methods"} & set(client.session.keys())
    assert refusals()[-1] == "no_active_person"


def test_a_link_signs_in_nobody_but_a_person(ann, officer_actor):
    path = "/" + services.create_sign_in_link(actor=officer_actor, person=ann).split("/", 3)[3]
    Person.objects.filter(pk=ann.pk).update(kind="service")
    client = Client()
    assert client.post(path)["Location"] == "/account/inactive/"
    assert "_auth_user_id" not in client.session


def test_a_stranger_is_not_told_what_an_address_stands_for(person):
    person("shop", kind="service", password=PASSWORD)
    pages = [
        Client().post("/account/login/", {"login": f"{name}@example.org", "password": "wrong"}).content.decode()
        for name in ("shop", "ghost")
    ]
    shop, ghost = (re.sub(r"[A-Za-z0-9]{64}|shop|ghost", "", page) for page in pages)  # tokens against forged requests
    assert shop == ghost
