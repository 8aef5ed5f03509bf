"""A ring called transit with keys of several algorithms, and a service's token for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from keys.services.creation import create_key
from tests.api.conftest import SYSTEM, Place, _place, _quiet, make_person, token_of
from tests.remembered import remembered

__all__ = ["_quiet"]
KEYS = (
    ("k", "dek", "AES-256-GCM"), ("p256", "token_signing", "ECDSA-P256-SHA256"), ("ed", "token_signing", "Ed25519"),
    ("rsa", "token_signing", "RSA-3072-PSS-SHA256"), ("mac", "dek", "HMAC-SHA256"),
)  # fmt: skip


def _ring() -> Place:
    place = _place("transit")
    for name, kind, algorithm in KEYS:
        place.keys[name] = create_key(
            actor=SYSTEM, ring=place.ring, name=name, title=name, kind=kind, algorithm=algorithm, parent=place.keys["kek"],
        )  # fmt: skip
    return place


@pytest.fixture
def ring(db: None) -> Place:
    return remembered("transit ring", _ring)


@pytest.fixture
def token(ring: Place) -> str:
    return token_of(make_person("shop", "service", ring.ring, kind="service"), rings=[ring.ring])


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        return self.body["data"]

    @property
    def error(self) -> str:
        (sentence,) = self.body["errors"]
        return str(sentence)


type Ask = Callable[..., Answer]


@pytest.fixture
def ask(token: str) -> Ask:
    """ask(method, path, body): what the portal answers below /v1/."""

    def send(method: str, path: str, body: Any = None, *, token: str | None = token) -> Answer:
        headers = {"X-Vault-Token": token} if token else {}
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        response: Any = (
            Client(headers=headers).generic(method, f"/v1/{path}")
            if body is None
            else getattr(Client(headers=headers), method.lower())(f"/v1/{path}", **options)
        )
        return Answer(response.status_code, response.json(), response.headers)

    return send
