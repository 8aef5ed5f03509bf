"""A hierarchy of the portal's own keys, and a registered provider with a stand-in at the other end."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from keys.models import Key, KeyProvider, ProviderIntent
from keys.provider_tasks import provider_work
from keys.providers import registry
from keys.services import stores
from keys.services.providers import breaker, registration
from keys.services.ratelimit import shared_memory
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Role
from tests.keys.conftest import Tree, actor_of, auditor, fresh_caches, officer, service, tree
from tests.provider_services.stand_in import PLACES, Counterpart, StandIn
from tests.remembered import remembered

__all__ = ["auditor", "fresh_caches", "officer", "service", "tree"]
HERE = "tests.provider_services.stand_in"


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-ins are kinds like any other; what is counted about them is forgotten."""
    monkeypatch.setitem(registry.KINDS, "stand_in", registry.Kind("Stand-in", f"{HERE}.StandIn"))
    monkeypatch.setitem(registry.KINDS, "untagged", registry.Kind("Stand-in without tags", f"{HERE}.Untagged"))
    monkeypatch.setitem(registry.KINDS, "wrap_only", registry.Kind("Stand-in that only wraps", f"{HERE}.WrapOnly"))
    StandIn.built.clear()
    yield
    memory = shared_memory()
    for name in memory.scan_iter("kvp:*"):
        if any(part in name for part in (b"breaker", b"latency", b"complaints", b"rate:provider", b"kvp:sent")):
            memory.delete(name)
    PLACES.clear()


@pytest.fixture
def there() -> Counterpart:
    """The other end."""
    name = str(uuid4())
    PLACES[name] = Counterpart()
    PLACES["there"] = PLACES[name]
    return PLACES[name]


def register(actor: Actor, kind: str = "stand_in", alias: str = "far", **values: Any) -> KeyProvider:
    return registration.register_provider(
        actor=actor, kind=kind, alias=alias, title=f"The {alias} one", values={"place": "there", **values}
    )


@pytest.fixture
def far(there: Counterpart, tree: Tree, officer: Actor) -> KeyProvider:
    """A registered provider."""
    return register(officer)


@pytest.fixture
def sealing(tree: Tree) -> Key:
    """The portal can seal values of its own."""
    return remembered("sealing", lambda: _sealing(tree))


def _sealing(tree: Tree) -> Key:
    key = tree.make("portal", "dek", "AES-256-GCM", tree.kek)
    stores.register_sealed_values(actor=tree.officer, key=key)
    return key


@pytest.fixture
def remote_key(tree: Tree) -> Callable[..., Key]:
    """remote_key(name): a KEK at the far provider, not made yet."""

    def make(name: str = "far-kek", kind: str = "kek", algorithm: str = "AES-256-GCM", **more: Any) -> Key:
        parent = {"kek": tree.master, "master": None}.get(kind, tree.kek)
        return tree.make(name, kind, algorithm, parent, provider=more.pop("provider", "far"), **more)

    return make


def intent_of(key: Key, act: str = "create") -> ProviderIntent:
    return ProviderIntent.objects.filter(version__key=key, act=act).latest("created_at")


def work(key: Key, act: str = "create") -> ProviderIntent:
    """Let a worker do the newest intent of this kind, and give the row back."""
    intent = intent_of(key, act)
    provider_work(str(intent.pk))
    intent.refresh_from_db()
    return intent


def hurry(intent: ProviderIntent) -> None:
    """Let the time to try again have come."""
    from django.utils import timezone

    ProviderIntent.objects.filter(pk=intent.pk, state="waiting").update(next_try_at=timezone.now())
    ProviderIntent.objects.filter(pk=intent.pk, state="calling").update(lease_until=timezone.now())


@pytest.fixture
def operator() -> Actor:
    return actor_of(Role.OPERATOR, "Otto Operator")


def closed(alias: str = "far") -> None:
    breaker.answered(alias)
