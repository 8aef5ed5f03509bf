"""A ring, its people and a small hierarchy; caches of unwrapped material emptied around every test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from keys.models import Key
from keys.providers import registry
from keys.services import budget, creation, key_views, materials, root_key, usage
from keyvault_portal.accounts.actors import Actor, Grant
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import ROLE_PERMISSIONS, Role
from tests.remembered import remembered


def actor_of(role: Role, label: str, ring_id: UUID | None = None) -> Actor:
    """An actor of one role, without a person behind it."""
    grants = (Grant(ROLE_PERMISSIONS[role], ring_id),)
    return Actor(id=uuid4(), kind="person", label=label, grants=grants, roles=frozenset({(role.value, ring_id)}))


def forget_all() -> None:
    materials.forget()
    key_views.forget()
    usage.forget()
    budget.forget()
    root_key.forget()
    registry.forget()


@pytest.fixture(autouse=True)
def fresh_caches(settings: Any, tmp_path: Path) -> Any:
    settings.ROOT_KEY_FILE = tmp_path / "root.key"
    settings.AUDIT_KEY_FILE = tmp_path / "audit.key"
    settings.AUDIT_GROUP_COMMIT = False
    forget_all()
    yield
    forget_all()


@pytest.fixture
def officer() -> Actor:
    return actor_of(Role.SECURITY_OFFICER, "Olga Officer")


@pytest.fixture
def service() -> Actor:
    return actor_of(Role.SERVICE, "shop-backend")


@pytest.fixture
def auditor() -> Actor:
    return actor_of(Role.AUDITOR, "Aino Auditor")


@dataclass
class Tree:
    """master > kek > dek, token, mac, in one ring."""

    ring: KeyRing
    master: Key
    kek: Key
    dek: Key
    token: Key
    officer: Actor

    def make(self, name: str, kind: str, algorithm: str, parent: Key | None, **more: Any) -> Key:
        return creation.create_key(
            actor=self.officer,
            ring=self.ring,
            name=name,
            title=name.title(),
            kind=kind,
            algorithm=algorithm,
            parent=parent,
            **more,
        )


@pytest.fixture
def tree(db: None, officer: Actor) -> Tree:
    made = remembered("tree", lambda: build_tree(officer))
    made.officer = officer
    return made


def build_tree(officer: Actor) -> Tree:
    from keyvault_portal.audit.services import ensure_signing_key

    ensure_signing_key()
    root_key.ensure_root_key()
    ring = KeyRing.objects.create(name="payments", title="Payments")
    made = Tree(ring, *[None] * 4, officer)  # type: ignore[list-item]
    made.master = made.make("root", "master", "AES-256-GCM", None)
    made.kek = made.make("kek", "kek", "AES-256-GCM", made.master)
    made.dek = made.make("customers", "dek", "AES-256-GCM", made.kek)
    made.token = made.make("tokens", "token_signing", "Ed25519", made.kek)
    return made
