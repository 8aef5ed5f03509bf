"""While the portal's own database restarts every caller is told to try again, in the form that it reads."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.test import Client

from tests.api.conftest import Place, bearer, make_person, sign_in, token_of


@pytest.fixture
def token(here: Place) -> str:
    return token_of(make_person("shop", "service", here.ring, kind="service"), rings=[here.ring])


@pytest.fixture
def away(officer: Client, token: str) -> Iterator[None]:
    def refuse(*statement: Any) -> None:
        raise OperationalError("the database system is starting up") from psycopg.errors.CannotConnectNow()

    with connection.execute_wrapper(refuse):
        yield


@pytest.fixture
def officer(db: None) -> Client:
    return sign_in(make_person("olga", "security_officer"), raise_request_exception=False)


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("path", ["keys", "keys/{}/encrypt"])
def test_a_program_is_told_when_to_try_again(officer: Client, token: str, here: Place, path: str) -> None:
    url = f"/api/v1/{path.format(here.keys['data'].pk)}"
    for window in (officer, bearer(token, raise_request_exception=False)):
        answer = window.post(url, {"plaintext": "AAAA"}, content_type="application/json")
        assert (answer.status_code, answer["Content-Type"]) == (503, "application/problem+json")
        assert (answer.json()["code"], answer["Retry-After"]) == ("database_unavailable", "5")


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize("path", ["/", "/keys/", "/account/login/"])
def test_a_person_is_told_on_a_page(officer: Client, path: str) -> None:
    answer = officer.get(path)
    assert answer.status_code == 503
    assert "The portal&#x27;s own database does not answer" in answer.content.decode()


def test_another_failure_of_the_database_stays_a_mistake(officer: Client, here: Place) -> None:
    def fail(*statement: Any) -> None:
        raise OperationalError("out of shared memory") from psycopg.errors.OutOfMemory()

    with connection.execute_wrapper(fail):
        answer = officer.get("/api/v1/keys")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


@pytest.mark.parametrize("missing", [psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn])
def test_a_database_that_was_not_prepared_is_named(officer: Client, token: str, here: Place, missing: Any) -> None:
    def lack(*statement: Any) -> None:
        raise ProgrammingError("relation does not exist") from missing()

    with connection.execute_wrapper(lack):
        page = officer.get("/keys/")
        told = officer.get("/api/v1/keys"), bearer(token, raise_request_exception=False).get("/v1/payments/keys/data")
    assert (page.status_code, "./manage.py set_up" in page.content.decode()) == (503, True)
    for answer in told:
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unprepared")


def test_a_wrong_statement_stays_a_mistake(officer: Client, here: Place) -> None:
    def fail(*statement: Any) -> None:
        raise ProgrammingError("syntax error") from psycopg.errors.SyntaxError()

    with connection.execute_wrapper(fail):
        assert officer.get("/keys/").status_code == 500
