"""What django-allauth brings: which of its pages answer, who they sign in, and what its links leave behind."""

import re

import pytest
from allauth import urls as theirs
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, resolve, reverse

from keyvault_portal.accounts.models import Person
from keyvault_portal.logs import redact

PASSWORD, NEW_PASSWORD = "long horse battery 9", "short cow charger 10"

# Every page of django-allauth is decided on here: those that answer, and those that something else stands in for.
ANSWERS = {
    "account_login", "account_logout", "account_inactive", "account_reauthenticate",
    "account_signup",  # says that it is closed; other pages and mails name it
    "account_change_password", "account_set_password", "account_reset_password", "account_reset_password_done",
    "account_reset_password_from_key", "account_reset_password_from_key_done",
    "mfa_index", "mfa_authenticate", "mfa_reauthenticate", "mfa_activate_totp", "mfa_deactivate_totp",
    "mfa_view_recovery_codes", "mfa_generate_recovery_codes", "mfa_download_recovery_codes",
    "mfa_list_webauthn", "mfa_add_webauthn", "mfa_reauthenticate_webauthn", "mfa_remove_webauthn", "mfa_edit_webauthn",
    "mfa_login_webauthn",
}  # fmt: skip
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
    assert set(names_in(theirs.urlpatterns)) == ANSWERS | set(REPLACED)
    of_allauth = {
        name for name in ANSWERS | set(REPLACED) if resolve(path_of(name)).func.__module__.startswith("allauth.")
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
