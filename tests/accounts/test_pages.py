"""Pages: who may open them, and that every form works as plain HTML."""

import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.test import Client

from keyvault_portal.accounts import services
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person


class NoMail(BaseEmailBackend):
    def send_messages(self, messages):
        raise OSError


@pytest.fixture
def client(officer, signed_in):
    return signed_in(officer)


@pytest.fixture
def ann(person):
    return person("ann", "operator")


def test_pages_ask_who_is_there(db):
    for path in ("/people/", "/people/invite/", "/rings/", "/tokens/", "/tokens/new/", "/profile/"):
        assert Client().get(path)["Location"].startswith("/account/login/?next=")


@pytest.mark.parametrize("path", ["/people/invite/", "/rings/new/"])
def test_pages_that_change_are_closed_to_others(path, ann, signed_in):
    assert signed_in(ann).get(path).status_code == 403


def test_people_without_any_role_see_their_own_account_only(person, signed_in):
    client = signed_in(person("newcomer"))
    assert client.get("/people/").status_code == 403
    assert client.get("/profile/").status_code == 200


def test_inviting_a_person(client):
    form = {"kind": "person", "email": "new@example.org", "name": "New", "site": "Bonn", "reporting_line": ""}
    assert client.get("/people/invite/").status_code == 200
    response = client.post("/people/invite/", form)
    made = Person.objects.get(email="new@example.org")
    assert response["Location"] == f"/people/{made.pk}/"
    assert "/sign-in/" in mail.outbox[0].body
    again = client.post("/people/invite/", form)
    assert (again.status_code, "Somebody uses this address already." in again.content.decode()) == (422, True)


def test_the_invited_sign_in_with_their_link(client, officer_actor, person):
    newcomer = person("newcomer")
    path = "/" + services.create_sign_in_link(actor=officer_actor, person=newcomer).split("/", 3)[3]
    browser = Client()
    assert browser.get(path).status_code == 200
    assert browser.get(path).status_code == 200
    assert browser.post(path)["Location"] == "/account/password/set/"
    assert browser.session["_auth_user_id"] == str(newcomer.pk)
    assert Client().post(path).status_code == 404


def test_giving_and_taking_a_role(client, ann, ring):
    page = f"/people/{ann.pk}/roles/"
    assert client.get(page).context["form"]["role"].subwidgets[0].data["value"] == "", "no role is offered first"
    assert client.post(page, {"ring": ""}).status_code == 422
    assert client.post(page, {"role": "auditor", "ring": str(ring.pk)}).status_code == 302
    assert client.post(page, {"role": "auditor", "ring": str(ring.pk)}).status_code == 422
    binding = ann.bindings.get(role="auditor")
    assert client.get(f"/roles/{binding.pk}/remove/").status_code == 200
    assert ann.bindings.filter(role="auditor").exists()
    client.post(f"/roles/{binding.pk}/remove/")
    assert not ann.bindings.filter(role="auditor").exists()


def test_what_others_must_agree_to_is_asked_for_as_elsewhere(client, ann, person):
    oskar = person("oskar", "security_officer")
    for who, asks in ((oskar, True), (ann, False)):
        binding = who.bindings.get()
        for page, button in (
            (f"/people/{who.pk}/deactivate/", "deactivate"),
            (f"/roles/{binding.pk}/remove/", "take it away"),
        ):
            said = client.get(page).content.decode()
            assert ("Others must agree first" in said) is asks
            assert (f"Ask to {button}" in said) is asks
        Person.objects.filter(pk=who.pk).update(is_active=False)
        assert ("Ask to reactivate" in client.get(f"/people/{who.pk}/reactivate/").content.decode()) is asks


def test_deactivating_tells_what_ends_first(client, ann):
    page = client.get(f"/people/{ann.pk}/deactivate/").content.decode()
    assert "sessions end at once" in page
    client.post(f"/people/{ann.pk}/deactivate/")
    assert not Person.objects.get(pk=ann.pk).is_active
    assert client.get(f"/people/{ann.pk}/").status_code == 200
    assert client.get(f"/people/{ann.pk}/reactivate/").status_code == 200
    client.post(f"/people/{ann.pk}/reactivate/")
    assert Person.objects.get(pk=ann.pk).is_active


def test_editing_a_person(client, ann):
    assert b"Ann" in client.get(f"/people/{ann.pk}/edit/").content
    client.post(
        f"/people/{ann.pk}/edit/", {"name": "Anna", "email": ann.email, "site": "", "reporting_line": "Treasury"}
    )
    ann.refresh_from_db()
    assert (ann.name, ann.reporting_line, ann.email) == ("Anna", "Treasury", "ann@example.org")
    assert not mail.outbox


def test_an_address_is_changed_even_when_nobody_can_be_told(client, ann, officer, settings):
    page, form = f"/people/{ann.pk}/edit/", {"name": "Ann", "site": "", "reporting_line": ""}
    taken = client.post(page, form | {"email": officer.email.upper()})
    assert (taken.status_code, "Somebody uses this address already." in taken.content.decode()) == (422, True)
    settings.MAILERS = {"default": {"BACKEND": "tests.accounts.test_pages.NoMail"}}
    told = client.post(page, form | {"email": "anna@example.org"}, follow=True).content.decode()
    assert "the mail that says so was not sent" in told
    assert Person.objects.get(pk=ann.pk).email == "anna@example.org"


def test_rings_are_made_and_edited(client):
    response = client.post("/rings/new/", {"name": "payments", "title": "Payments", "description": ""})
    ring = KeyRing.objects.get()
    assert response["Location"] == f"/rings/{ring.pk}/"
    assert client.get("/rings/").status_code == 200
    assert client.get(f"/rings/{ring.pk}/").status_code == 200
    assert b"Payments" in client.get(f"/rings/{ring.pk}/edit/").content
    client.post(f"/rings/{ring.pk}/edit/", {"title": "Cards", "description": "All cards"})
    ring.refresh_from_db()
    assert (ring.name, ring.title) == ("payments", "Cards")


def test_a_token_is_shown_once_and_revoked(client, officer):
    form = {"owner": str(officer.pk), "name": "cli", "scopes": ["key.view"], "cidrs": "10.0.0.0/8\n2001:db8::/32"}
    assert client.get("/tokens/new/").status_code == 200
    created = client.post("/tokens/new/", form)
    token = ApiToken.objects.get()
    assert created.status_code == 201
    assert f"kvp_{token.pk.hex}_" in created.content.decode()
    assert f"acts as {officer}, within its scopes" in created.content.decode(), "the token's name is nobody's"
    assert "no-store" in created["Cache-Control"]
    assert token.cidrs == ["10.0.0.0/8", "2001:db8::/32"]
    assert "kvp_" not in client.get("/tokens/").content.decode()
    assert client.get(f"/tokens/{token.pk}/revoke/").status_code == 200
    client.post(f"/tokens/{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_at
    assert client.get("/tokens/?state=revoked").status_code == 200


def test_a_token_form_says_what_is_wrong(client, officer):
    form = {"owner": str(officer.pk), "name": "cli", "scopes": ["key.view"], "cidrs": "10.0.0.1/8"}
    response = client.post("/tokens/new/", form)
    assert (response.status_code, "is not a network" in response.content.decode()) == (422, True)


def test_a_token_for_another_person_is_no_choice(client, ann):
    assert client.post("/tokens/new/", {"owner": str(ann.pk), "name": "x", "scopes": ["key.view"]}).status_code == 422


def test_ending_my_other_sessions(ann, signed_in):
    here, there = signed_in(ann), signed_in(ann)
    here.get("/")
    there.get("/")
    assert here.get("/profile/").status_code == 200
    here.post("/profile/sessions/end-others/")
    assert here.get("/profile/").status_code == 200
    assert there.get("/profile/").status_code == 302


@pytest.mark.parametrize(
    "query", ["q=ann", "role=operator", "kind=person", "is_active=true", "sort=-name", "role=nonsense"]
)
def test_people_are_filtered(client, ann, query):
    response = client.get(f"/people/?{query}")
    assert response.status_code == 200
    assert (ann.email in response.content.decode()) == ("nonsense" not in query)


def test_a_broken_cursor_is_the_callers_fault(client):
    assert client.get("/people/?cursor=x").status_code == 422
