"""People with roles, and clients signed in as they would be after a second factor."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from allauth.mfa.totp.internal import auth as totp
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache import cache
from django.test import Client

from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission
from tests.api.conftest import sign_in

SYSTEM = system_actor("test", *Permission)


@pytest.fixture(autouse=True)
def _own_urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.accounts.urls"
    cache.clear()


@pytest.fixture(autouse=True)
def _one_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code of an application that is made in a test is still that of the half-minute when it arrives."""
    now = time.time()
    monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: now))


@pytest.fixture
def ring(db: None) -> KeyRing:
    return KeyRing.objects.create(name="payments", title="Payments")


@pytest.fixture
def other_ring(db: None) -> KeyRing:
    return KeyRing.objects.create(name="patients", title="Patients")


@pytest.fixture
def person(db: None) -> Callable[..., Person]:
    """make(name, role=None, ring=None): a person, with a role if named."""

    def make(name: str, role: str | None = None, ring: KeyRing | None = None, **extra: Any) -> Person:
        made = Person.objects.create_person(email=f"{name}@example.org", name=name.title(), **extra)
        if role:
            RoleBinding.objects.create(person=made, role=role, ring=ring, created_by="test")
        return made

    return make


@pytest.fixture
def officer(person: Callable[..., Person]) -> Person:
    return person("olga", "security_officer")


@pytest.fixture
def officer_actor(officer: Person) -> Actor:
    return actor_for_person(officer, second_factor=True)


@pytest.fixture
def session() -> Callable[..., UserSession]:
    """session(person, ip): an open browser session of theirs, as the list of sessions knows it."""

    def make(person: Person, ip: str = "192.0.2.1") -> UserSession:
        store = SessionStore()
        store.create()
        return UserSession.objects.create(user=person, ip=ip, session_key=store.session_key, user_agent="browser")

    return make


@pytest.fixture
def signed_in() -> Callable[..., Client]:
    """signed_in(person, second_factor=True): a browser whose session has proved, or not, a second factor."""

    return sign_in
