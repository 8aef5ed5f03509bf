"""No secret of a one-time link or of a token reaches a log line, whoever writes it."""

import logging
from uuid import uuid4

import pytest
from django.contrib.auth.tokens import default_token_generator

from keyvault_portal.accounts.credentials import new_secret
from keyvault_portal.accounts.models import Person
from keyvault_portal.logs import RedactingFormatter, access_line, redact


@pytest.mark.parametrize(
    "text", ["/set-up/{id}-{secret}/", "/sign-in/{id}-{secret}/?x=1", "Bearer kvp_{id}_{secret}", "{id}-{secret}"]
)
def test_secrets_are_taken_out_and_ids_stay(text: str) -> None:
    for _ in range(200):
        identifier, secret = uuid4().hex, new_secret()
        redacted = redact(text.format(id=identifier, secret=secret))
        assert secret not in redacted
        assert identifier in redacted


@pytest.mark.parametrize("between", ["-", "%2D"])
@pytest.mark.parametrize("after", ["/", "", "/?next=/", '/"', "/ HTTP/1.1"])
def test_the_secret_of_a_password_reset_is_taken_out(between: str, after: str) -> None:
    person, secret = uuid4(), default_token_generator.make_token(Person(id=uuid4(), email="ann@example.org"))
    redacted = redact(f"GET /account/password/reset/key/{person.hex}{between}{secret}{after}")
    assert secret.rsplit("-", 1)[1] not in redacted
    assert person.hex in redacted


@pytest.mark.parametrize(
    "text",
    [
        f"/account/password/reset/key/{'a' * 32}-set-password/ HTTP/1.1",
        "/account/password/reset/key/done/",
        "/keys/d196b924-08d2-46b1-bbaa-33b06053b070/",
        "a" * 32,
        "sha256 " + "0f" * 32,
        f"act {'0f' * 32}",
        "/static/css/base.css",
    ],
)
def test_other_things_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_traces_and_arguments_are_redacted_too() -> None:
    secret = f"{uuid4().hex}-{new_secret()}"
    try:
        raise ValueError(f"/set-up/{secret}/")
    except ValueError as error:
        record = logging.LogRecord(
            "x",
            logging.ERROR,
            "x",
            1,
            "failed: %s",
            (f"/sign-in/{secret}/",),
            (type(error), error, error.__traceback__),
        )
    assert secret[33:] not in RedactingFormatter("{message}", style="{").format(record)


def test_access_line_has_no_query_string() -> None:
    assert "query" not in access_line(True) + access_line(False)
