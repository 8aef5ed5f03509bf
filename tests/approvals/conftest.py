"""Officers of one ring, and an operation whose target is a ring's description: real rows, nothing pretended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import connection

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import KeyRing, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.services import update_ring
from keyvault_portal.approvals import registry, services
from keyvault_portal.approvals.models import ApprovalRequest

DESCRIBE = "test.describe_ring"


class DescribeRing:
    """Params: ring_id, text. Refuses the text "impossible" when it is performed."""

    def build_act(self, params: dict[str, Any]) -> registry.Act:
        ring = KeyRing.objects.get(pk=params["ring_id"])
        return registry.Act(
            operation=DESCRIBE, params=params, target_type="ring", target_id=str(ring.pk), target_label=ring.title,
            target_version=ring.description, ring_id=ring.pk, policy_version="1", consequences=["The ring reads otherwise."],
        )  # fmt: skip

    def perform(self, actor: Actor, params: dict[str, Any], request_id: UUID) -> dict[str, Any]:
        ring = KeyRing.objects.get(pk=params["ring_id"])
        assert services.is_executing(request_id, DESCRIBE, params)
        update_ring(actor=actor, ring=ring, title=ring.title, description=ring.description + params["text"])
        if params["text"] == "impossible":
            from keyvault_portal.errors import WrongState

            raise WrongState("The ring refuses.")
        if params["text"] == "crash":
            raise RuntimeError("s3cret")
        return {"url": "/rings/"}


@pytest.fixture(autouse=True)
def _operation(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = "tests.approvals.urls"
    settings.MIDDLEWARE = [
        name for name in settings.MIDDLEWARE if "whitenoise" not in name
    ]  # no files are collected here
    registry.operation(DESCRIBE, permission=Permission.RING_MANAGE, title="Describe a ring")(DescribeRing)
    cache.clear()
    yield
    del registry._operations[DESCRIBE]


@pytest.fixture
def ring(db: None) -> KeyRing:
    return KeyRing.objects.create(name="payments", title="Payments", description="a")


@pytest.fixture
def make(db: None) -> Callable[..., Actor]:
    """make(name, *roles, on=ring): a person with these roles, signed in with a second factor."""

    def make(name: str, *roles: str, on: KeyRing | None = None, second_factor: bool = True, **extra: Any) -> Actor:
        person = Person.objects.create_person(email=f"{name}@example.org", name=name.title(), **extra)
        for role in roles:
            RoleBinding.objects.create(person=person, role=role, ring=on, created_by="test")
        return actor_for_person(person, second_factor=second_factor)

    return make


@pytest.fixture
def olga(make: Callable[..., Actor]) -> Actor:
    """Who asks."""
    return make("olga", "security_officer")


@pytest.fixture
def oskar(make: Callable[..., Actor]) -> Actor:
    return make("oskar", "security_officer")


@pytest.fixture
def otto(make: Callable[..., Actor]) -> Actor:
    return make("otto", "security_officer")


@pytest.fixture
def ask(ring: KeyRing, olga: Actor, oskar: Actor, otto: Actor) -> Callable[..., ApprovalRequest]:
    """ask(threshold=2, text="b"): Olga asks; Oskar and Otto could agree."""

    def ask(threshold: int = 2, text: str = "b", actor: Actor = olga, **more: Any) -> ApprovalRequest:
        groups = more.pop("groups", [{"role": "security_officer", "threshold": threshold}])
        params = {"ring_id": str(ring.pk), "text": text}
        return services.require_or_request(
            actor, DESCRIBE, params, groups=groups, reason=more.pop("reason", "It is wrong"), **more
        )

    return ask


@contextmanager
def unguarded() -> Iterator[None]:
    """The database as its owner could change it."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing may be pending on a table that is altered
        for table in ("approvals_approvalrequest", "approvals_decision"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    yield
    with connection.cursor() as cursor:
        for table in ("approvals_approvalrequest", "approvals_decision"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@contextmanager
def at_rest() -> Iterator[None]:
    """Approve without the task that follows: what a lost message leaves."""
    from unittest.mock import patch

    with patch("keyvault_portal.approvals.services.enqueue_on_commit"):
        yield
