"""One error, four renderings: page, problem document, plain JSON, command line."""

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions as rest

from keyvault_portal import edges, errors

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(person, signed_in):
    return signed_in(person("ann", "operator"))


def test_a_page_says_status_detail_and_hint_escaped(client):
    response = client.get("/failing/refused/")
    text = response.content.decode()
    assert response.status_code == 403
    assert "You may not do this" in text
    assert "Not &lt;you&gt;." in text
    assert "Ask." in text


def test_a_page_names_the_fields(client):
    response = client.get("/failing/invalid/")
    assert response.status_code == 422
    assert "Too short." in response.content.decode()


def test_a_page_leads_to_sign_in(client):
    response = client.get("/failing/sign-in/")
    assert response["Location"] == "/account/login/?next=/failing/sign-in/"


def test_a_page_leads_to_the_approval_with_a_message(client):
    response = client.get("/failing/agreement/")
    assert response.status_code == 302
    request_with_htmx = client.get("/failing/agreement/", headers={"HX-Request": "true"})
    assert request_with_htmx["HX-Redirect"] == response["Location"]


def test_below_api_paths_errors_are_problem_documents(client):
    response = client.get("/api/failing/refused/")
    assert response["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "urn:keyvault-portal:problem:permission_refused",
        "title": "You may not do this",
        "status": 403,
        "detail": "Not <you>.",
        "code": "permission_refused",
        "hint": "Ask.",
    }


def test_throttling_says_when_to_come_back(client):
    assert client.get("/api/failing/throttled/")["Retry-After"] == "7"
    assert client.get("/failing/throttled/")["Retry-After"] == "7"


def test_agreement_is_202_with_its_address(client):
    response = client.get("/api/failing/agreement/")
    assert response.status_code == 202
    assert response["Location"] == "/api/v1/approvals/3f0a8c52-0000-4000-8000-000000000000"
    assert response.json()["request_id"] == "3f0a8c52-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404("secret"), 404, "not_found"),
        (PermissionDenied("secret"), 403, "permission_refused"),
        (ValidationError({"name": ["Wrong."]}), 422, "validation_failed"),
        (ValidationError("Wrong."), 422, "validation_failed"),
        (rest.ValidationError({"a": [{"b": ["Wrong."]}]}), 422, "validation_failed"),
        (rest.ParseError(), 400, "bad_request"),
        (rest.NotAuthenticated(), 401, "not_authenticated"),
        (rest.AuthenticationFailed("secret"), 401, "not_authenticated"),
        (rest.PermissionDenied(), 403, "permission_refused"),
        (rest.NotFound("secret"), 404, "not_found"),
        (rest.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (rest.NotAcceptable(), 406, "not_acceptable"),
        (rest.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (rest.Throttled(wait=3), 429, "throttled"),
        (errors.DecryptRefused(), 400, "decrypt_failed"),
        (errors.Sealed(), 503, "sealed"),
    ],
)
def test_every_known_error_has_a_stable_code(error, status, code):
    response = edges.problem_response(error, {})
    assert (response.status_code, response.data["status"], response.data["code"]) == (status, status, code)
    assert response.content_type == "application/problem+json"
    assert "secret" not in str(response.data)


def test_nested_field_errors_read_as_paths():
    response = edges.problem_response(rest.ValidationError({"rings": [{}, {"name": ["Wrong."]}], "x": "Bad."}), {})
    assert response.data["errors"] == {"rings.1.name": ["Wrong."], "x": ["Bad."]}


def test_an_unknown_error_is_left_to_the_log():
    assert edges.problem_response(RuntimeError("secret"), {}) is None


def test_a_server_error_says_nothing_of_its_cause():
    response = edges.server_error(RequestFactory().get("/api/x/"))
    assert (response.status_code, b"internal_error" in response.content) == (500, True)


def test_the_command_line_says_it_in_one_line():
    said = edges.cli_error(errors.WrongState("It is closed.", hint="Open it."))
    assert str(said) == "The present state does not allow this. It is closed. Open it."


def test_the_api_asks_who_calls():
    response = Client().get("/api/v1/people/")
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_an_endpoint_that_names_no_permission_is_closed(person, signed_in):
    assert signed_in(person("olga", "security_officer")).get("/api/closed/").status_code == 403


def test_unknown_pages_are_problems_too(client):
    assert client.get("/api/nothing").json()["code"] == "not_found"
    assert "There is no such thing" in client.get("/nothing").content.decode()


def test_a_missing_csrf_token_is_refused(officer, signed_in):
    inside = signed_in(officer)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = inside.cookies
    body = {"name": "r", "title": "R"}
    assert strict.post("/api/v1/rings/", body, content_type="application/json").status_code == 403
    assert inside.post("/api/v1/rings/", body, content_type="application/json").status_code == 201


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        (False, "203.0.113.5", "127.0.0.1"),
        (True, "203.0.113.5", "203.0.113.5"),
        (True, "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        (True, "nonsense", None),
        (True, None, "127.0.0.1"),
    ],
)
def test_whose_address_counts(settings, trusted, forwarded, expected):
    from keyvault_portal.accounts.web import client_address

    settings.TRUST_PROXY = trusted
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", headers=headers)) == expected
