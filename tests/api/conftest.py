"""Two rings with the same hierarchy each, people of every role on one, the other and everything, and their callers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from keys.dataplane import callers
from keys.models import Key
from keys.providers import registry
from keys.services.creation import create_key
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import TOKEN_SCOPES, Permission
from keyvault_portal.accounts.services import create_token
from tests.keys.conftest import forget_all
from tests.provider_services.stand_in import PLACES, Counterpart
from tests.remembered import remembered

SYSTEM = system_actor("test", *Permission)
KINDS = (
    ("root", "master", "AES-256-GCM", None),
    ("kek", "kek", "AES-256-GCM", "root"),
    ("data", "dek", "AES-256-GCM", "kek"),
    ("tokens", "token_signing", "Ed25519", "kek"),
    ("codes", "dek", "HMAC-SHA256", "kek"),
)


@pytest.fixture(autouse=True)
def _quiet(settings: Any) -> Iterator[None]:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    cache.clear()
    forget_all()
    callers.forget()
    registry.KINDS["stand_in"] = registry.Kind("Stand-in", "tests.provider_services.stand_in.StandIn")
    PLACES["there"] = Counterpart()
    yield
    del registry.KINDS["stand_in"], PLACES["there"]
    forget_all()
    callers.forget()


@dataclass
class Place:
    """One ring and the keys in it, by name."""

    ring: KeyRing
    keys: dict[str, Key] = field(default_factory=dict)


def build_place(name: str) -> Place:
    return remembered(f"place {name}", lambda: _place(name))


def _place(name: str) -> Place:
    place = Place(KeyRing.objects.create(name=name, title=name.title()))
    for key, kind, algorithm, parent in KINDS:
        place.keys[key] = create_key(
            actor=SYSTEM, ring=place.ring, name=key, title=key.title(), kind=kind, algorithm=algorithm,
            parent=place.keys[parent] if parent else None,
        )  # fmt: skip
    return place


@pytest.fixture
def here(db: None) -> Place:
    return build_place("payments")


@pytest.fixture
def there(db: None) -> Place:
    return build_place("patients")


def make_person(name: str, role: str | None = None, ring: KeyRing | None = None, **extra: Any) -> Person:
    made = Person.objects.create_person(email=f"{name}@example.org", name=name.title(), **extra)
    if role:
        RoleBinding.objects.create(person=made, role=role, ring=ring, created_by="test")
    return made


@pytest.fixture
def person(db: None) -> Callable[..., Person]:
    """person(name, role=None, ring=None)"""
    return make_person


def actor(person: Person) -> Actor:
    return actor_for_person(person, second_factor=True)


def sign_in(person: Person, *, second_factor: bool = True, **options: Any) -> Client:
    """A browser whose session has proved, or not, a second factor."""
    client = Client(**options)
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    if second_factor:
        session = client.session
        session["account_authentication_methods"] = [{"method": "mfa", "type": "totp", "at": time.time()}]
        session["account_authentication_methods_user"] = str(person.pk)
        session.save()
    return client


def token_of(owner: Person, scopes: Any = None, **limits: Any) -> str:
    """The text of a token with every scope, or with those named."""
    maker = SYSTEM if owner.kind == Person.Kind.SERVICE else actor(owner)
    scopes = sorted(TOKEN_SCOPES) if scopes is None else scopes
    return create_token(actor=maker, owner=owner, name="t", scopes=scopes, **limits)[1]


def bearer(text: str, **options: Any) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"}, **options)


@pytest.fixture
def service(here: Place) -> Client:
    """A service account of this ring, by its token."""
    return bearer(token_of(make_person("shop", "service", here.ring, kind="service"), rings=[here.ring]))


@pytest.fixture
def reader(db: None) -> Client:
    """A browser that may list everything."""
    person = make_person("olga", "security_officer")
    for role in ("auditor", "operator"):
        RoleBinding.objects.create(person=person, role=role, ring=None, created_by="test")
    return sign_in(person)
