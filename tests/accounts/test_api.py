"""REST: tokens and sessions as callers, object-level checks, pages, and a number of queries that does not grow."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.request import Request

from keyvault_portal.accounts import services
from keyvault_portal.accounts.api_auth import SessionAuthentication
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import ApiToken, RoleBinding

JSON = "application/json"


@pytest.fixture
def as_token(officer_actor, person):
    def make(owner, scopes):
        _, text = services.create_token(actor=actor_for_person(owner), owner=owner, name="t", scopes=scopes)
        return Client(headers={"Authorization": f"Bearer {text}"})

    return make


@pytest.fixture
def rita(person, ring):
    return person("rita", "security_officer", ring)


def ids(response):
    return {row["id"] for row in response.json()["results"]}


def test_a_token_reads_within_its_scopes(officer, as_token):
    assert as_token(officer, ["person.view"]).get("/api/v1/people/").status_code == 200
    refused = as_token(officer, ["key.view"]).get("/api/v1/people/")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_refused")


def test_a_token_is_not_its_owner(officer, as_token, session):
    """What is a person's own, and not in a token's scopes, is not the token's."""
    open_session = session(officer)
    as_token(officer, ["key.view"])
    client = as_token(officer, ["tls.view"])
    assert client.get("/api/v1/sessions/").json()["results"] == []
    assert [row["scopes"] for row in client.get("/api/v1/tokens/").json()["results"]] == [["tls.view"]]
    assert len(as_token(officer, ["token.view"]).get("/api/v1/tokens/").json()["results"]) == 3
    assert ids(as_token(officer, ["person.manage"]).get("/api/v1/sessions/")) == {open_session.pk}


@pytest.mark.parametrize(("change", "said"), [
    ({"revoked_at": timezone.now()}, "This token was revoked."), ({"expires_at": timezone.now()}, "This token has expired."),
    ({"cidrs": ["192.0.2.0/24"]}, "This token is not accepted from here."),
])  # fmt: skip
def test_whoever_has_the_secret_is_told_what_is_wrong(officer, as_token, change, said):
    client = as_token(officer, ["person.view"])
    ApiToken.objects.update(**change)
    response = client.get("/api/v1/people/")
    assert (response.status_code, response.json()["detail"]) == (401, said)
    text = client.defaults["HTTP_AUTHORIZATION"]
    guess = Client(headers={"Authorization": text[:-4] + ("AAAA" if text[-4:] != "AAAA" else "BBBB")})
    assert guess.get("/api/v1/people/").json()["detail"] == "This token is not accepted."


def test_a_wrong_token_is_401_and_says_nothing(db):
    response = Client(headers={"Authorization": "Bearer kvp_x"}).get("/api/v1/people/")
    assert (response.status_code, response.json()["detail"]) == (401, "This token is not accepted.")


def test_a_token_needs_no_csrf_and_makes_no_tokens(officer, as_token):
    client = as_token(officer, ["ring.manage", "key.view"])
    assert client.post("/api/v1/rings/", {"name": "n", "title": "N"}, content_type=JSON).status_code == 201
    refused = client.post("/api/v1/tokens/", {"name": "n", "scopes": ["key.view"]}, content_type=JSON)
    assert refused.status_code == 403


def test_a_tokens_text_is_in_one_answer_only(officer, signed_in):
    client = signed_in(officer)
    made = client.post("/api/v1/tokens/", {"name": "n", "scopes": ["key.view"]}, content_type=JSON)
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    assert made.json()["text"].startswith("kvp_")
    again = client.get(f"/api/v1/tokens/{made.json()['id']}/").json()
    assert not {"text", "digest"} & set(again)
    assert client.post(f"/api/v1/tokens/{made.json()['id']}/revoke/").json()["revoked_at"]


def test_people_are_created_edited_and_found(officer, signed_in):
    client = signed_in(officer)
    made = client.post("/api/v1/people/", {"name": "Ann", "email": "ann@example.org"}, content_type=JSON)
    assert made.status_code == 201
    url = f"/api/v1/people/{made.json()['id']}/"
    assert client.patch(url, {"site": "Bonn"}, content_type=JSON).json()["site"] == "Bonn"
    moved = client.patch(url, {"email": "Ann.Berg@example.org"}, content_type=JSON).json()
    assert (moved["email"], moved["site"]) == ("ann.berg@example.org", "Bonn")
    assert client.patch(url, {"email": officer.email}, content_type=JSON).status_code == 422
    assert ids(client.get("/api/v1/people/?q=ann.berg@")) == {made.json()["id"]}
    assert client.post(url + "deactivate/").json()["is_active"] is False
    assert client.post(url + "deactivate/").status_code == 409
    assert not {"password", "digest"} & set(client.get(url).json())


def test_a_ring_officer_sees_that_ring_only(rita, officer, person, ring, other_ring, signed_in):
    here, there = person("here", "operator", ring), person("there", "operator", other_ring)
    client = signed_in(rita)
    assert ids(client.get("/api/v1/people/")) == {str(p.pk) for p in (rita, officer, here)}
    assert ids(client.get("/api/v1/rings/")) == {str(ring.pk)}
    assert client.get(f"/api/v1/people/{there.pk}/").status_code == 404
    assert client.get(f"/api/v1/rings/{other_ring.pk}/").status_code == 404
    assert client.get(f"/people/{there.pk}/").status_code == 404
    assert client.get(f"/people/{here.pk}/").status_code == 200
    assert client.get(f"/rings/{other_ring.pk}/").status_code == 404
    binding = there.bindings.get()
    assert client.delete(f"/api/v1/role-bindings/{binding.pk}/").status_code == 404
    assert RoleBinding.objects.filter(pk=binding.pk).exists()


@pytest.mark.parametrize(("whose", "where", "status"), [(0, 0, 201), (0, 1, 422), (1, 0, 422), (0, None, 403)])
def test_ids_in_bodies_are_checked(rita, person, ring, other_ring, signed_in, whose, where, status):
    people = [person("here", "auditor", ring), person("there", "auditor", other_ring)]
    rings = [ring, other_ring]
    body = {
        "person": str(people[whose].pk),
        "role": "operator",
        "ring": None if where is None else str(rings[where].pk),
    }
    response = signed_in(rita).post("/api/v1/role-bindings/", body, content_type=JSON)
    assert response.status_code == status
    assert RoleBinding.objects.filter(role="operator").count() == (status == 201)


def test_tokens_are_seen_by_owner_and_by_ring(rita, officer_actor, person, ring, other_ring, signed_in):
    shop = person("shop", "service", kind="service")

    def make(*rings):
        token, _ = services.create_token(actor=officer_actor, owner=shop, name="t", scopes=["key.view"], rings=rings)
        return str(token.pk)

    inside = make(ring)
    make(other_ring)
    make(ring, other_ring)
    everywhere = make()
    assert ids(signed_in(rita).get("/api/v1/tokens/")) == {inside}
    assert signed_in(rita).post(f"/api/v1/tokens/{everywhere}/revoke/").status_code == 404
    assert ids(signed_in(person("custodian", "custodian")).get("/api/v1/tokens/")) == set()


def test_auditors_read_and_change_nothing(person, ring, signed_in):
    ann = person("ann", "auditor")
    client = signed_in(ann)
    for path in ("people", "rings", "role-bindings", "tokens", "sessions"):
        assert client.get(f"/api/v1/{path}/").status_code == 200
    assert client.post("/api/v1/people/", {"name": "X", "email": "x@example.org"}, content_type=JSON).status_code == 403
    assert client.patch(f"/api/v1/rings/{ring.pk}/", {"title": "X"}, content_type=JSON).status_code == 403
    assert client.delete(f"/api/v1/role-bindings/{ann.bindings.get().pk}/").status_code == 403


def test_sessions_of_others_are_for_officers(officer, person, signed_in):
    ann = person("ann", "operator")
    browser = signed_in(ann)
    browser.get("/")
    [session] = browser.get("/api/v1/sessions/").json()["results"]
    eve = signed_in(person("eve", "operator"))
    assert eve.delete(f"/api/v1/sessions/{session['id']}/").status_code == 404
    assert signed_in(officer).delete(f"/api/v1/sessions/{session['id']}/").status_code == 204
    assert browser.get("/api/v1/people/").status_code == 401


def test_pages_of_the_api_follow_on(officer, person, signed_in):
    for number in range(5):
        person(f"p{number}")
    client, seen, url = signed_in(officer), [], "/api/v1/people/?page_size=2"
    while url:
        page = client.get(url).json()
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
    assert seen == ["Olga", "P0", "P1", "P2", "P3", "P4"]


@pytest.mark.parametrize(
    "path", ["/people/", "/tokens/", "/rings/", "/api/v1/people/", "/api/v1/tokens/", "/api/v1/role-bindings/"]
)
def test_queries_do_not_grow(path, officer, officer_actor, person, ring, signed_in, django_assert_num_queries):
    def fill(prefix, count):
        for number in range(count):
            made = person(f"{prefix}{number}", "service", ring, kind="service")
            services.create_token(actor=officer_actor, owner=made, name="t", scopes=["key.view"], rings=[ring])

    client = signed_in(officer)
    fill("a", 2)
    client.get(path)
    with CaptureQueriesContext(connection) as few:
        assert client.get(path).status_code == 200
    fill("b", 12)
    with django_assert_num_queries(len(few)):
        assert client.get(path).status_code == 200


def test_a_session_of_somebody_inactive_is_nobodys(rf, person):
    """Whatever the sessions' own backend says: the API asks again."""
    request = rf.get("/api/v1/people/")
    request.user = person("ann", is_active=False)
    assert SessionAuthentication().authenticate(Request(request)) is None
