"""Lists as files: only what one may see, all that matches, no formulas, and on the record."""

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client

from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Role
from keyvault_portal.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana() -> Client:
    """An operator of one ring of three."""
    person = Person.objects.create_person(email="dana@example.org", name="Dana")
    for name in ("shop", "platform"):
        KeyRing.objects.create(name=name, title=f"=HYPERLINK({name})")
    own = KeyRing.objects.create(name="own", title="=1+1")
    RoleBinding.objects.create(person=person, role=Role.OPERATOR, ring=own, created_by="test")
    client = Client()
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def body(response: Any) -> str:
    return b"".join(part if isinstance(part, bytes) else part.encode() for part in response.streaming_content).decode()


def test_csv_holds_what_one_may_see_and_no_formula(dana: Client) -> None:
    response = dana.get("/rings/?export=csv")
    assert response["Content-Disposition"] == 'attachment; filename="key-rings.csv"'
    rows = list(csv.DictReader(io.StringIO(body(response))))
    assert [(row["name"], row["title"]) for row in rows] == [("own", "'=1+1")]


def test_json_lines_keep_the_values(dana: Client) -> None:
    found = [json.loads(line) for line in body(dana.get("/rings/?export=jsonl")).splitlines()]
    assert [(row["name"], row["title"]) for row in found] == [("own", "=1+1")]


def test_the_download_is_recorded_with_its_filter(dana: Client) -> None:
    dana.get("/keys/?export=csv&q=card")
    event = AuditEvent.objects.get(action="list.export")
    assert event.actor_label == "Dana"
    assert json.loads(bytes(event.leaf))["details"] == {"filters": {"q": "card"}, "format": "csv"}


@pytest.mark.parametrize(
    "path",
    ["/keys/", "/keys/rotations/", "/keys/stores/", "/keys/census/", "/approvals/?tab=asked", "/people/", "/tokens/"],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_every_list_has_files(dana: Client, path: str, form: str) -> None:
    response = dana.get(path, query_params={"export": form, "tab": "asked"})
    assert response.status_code == 200
    assert response["Content-Disposition"].endswith(f'.{form}"')
    body(response)


def test_an_unknown_form_is_the_page(dana: Client) -> None:
    assert not dana.get("/keys/?export=xlsx").streaming
