"""A hierarchy of the portal's own keys, a stand-in elsewhere, and data under the key that moves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.utils import timezone

from keys.crypto.envelope import Envelope
from keys.models import Key, Move, ProviderIntent
from keys.services import key_views, materials, moving, operations, reencryption, rotation, segments
from keys.services.policies import PolicyValues
from keys.services.providers import breaker, work
from keyvault_portal.accounts.actors import Actor
from tests.keys.conftest import Tree
from tests.provider_services.conftest import (
    auditor,
    far,
    fresh_caches,
    kinds,
    officer,
    operator,
    register,
    sealing,
    service,
    there,
    tree,
)

__all__ = [
    "auditor", "far", "fresh_caches", "kinds", "officer", "operator", "register", "sealing", "service", "there", "tree",
]  # fmt: skip
ALONE = PolicyValues(cryptoperiod_days=90, destroy_roles=["security_officer"])
CONTEXT = {"table": "customers"}


def forget() -> None:
    """What other processes would see at once."""
    materials.forget()
    key_views.forget()


def fresh(move: Move) -> Move:
    return Move.objects.select_related("old_version", "new_version", "rotation", "key").get(pk=move.pk)


def hurry(move: Move) -> None:
    """Let whatever waits be due."""
    now = timezone.now()
    Move.objects.filter(pk=move.pk).update(next_try_at=None)
    ProviderIntent.objects.filter(state="waiting").update(next_try_at=now)
    ProviderIntent.objects.filter(state="calling").update(lease_until=now)


def turn(move: Move) -> Move:
    """What workers and ticks do once, with nothing left to wait for."""
    forget()
    hurry(move)
    for intent in ProviderIntent.objects.exclude(state__in=["done", "failed"]).order_by("created_at"):
        work.perform(intent.pk)
    moving.advance(move.pk)
    now = fresh(move)
    if now.rotation is not None and now.rotation.state == "re_encrypting":
        for job in now.rotation.jobs.exclude(state__in=["done", "failed"]):
            try:
                while reencryption.work(job.pk, 5.0):
                    pass
            except Exception as error:
                fatal = getattr(error, "status", 500) != 503
                reencryption.note_trouble(job.pk, error, fatal=fatal)
        rotation.settle(now.rotation.pk)
    moving.follow(move.pk)
    return fresh(move)


def drive(move: Move, until: str = "re_wrapped") -> Move:
    """Let workers go on until the move is in this state."""
    for _ in range(12):
        found = turn(move)
        if found.state == until:
            return found
    raise AssertionError(f"{found.state}: {found.last_error} {found.rotation and found.rotation.last_error}")


@dataclass
class Holdings:
    """Everything that was ever protected under a KEK, with what has to come out of it."""

    service: Actor
    tree: Tree
    kek: Key
    envelopes: list[tuple[Envelope, bytes]] = field(default_factory=list)
    texts: list[tuple[Key, str, bytes]] = field(default_factory=list)
    segment_keys: dict[Any, bytes] = field(default_factory=dict)
    made: int = 0

    def add(self) -> None:
        """An envelope, a child key with a text under it, and a segment data key."""
        forget()
        number = self.made + 1
        plaintext = f"secret {number}".encode()
        envelope = operations.envelope_encrypt(self.service, self.kek.pk, plaintext, CONTEXT)
        child = self.tree.make(f"child-{self.kek.name}-{number}", "dek", "AES-256-GCM", self.kek, policy=ALONE)
        key_views.forget()
        text = operations.encrypt(self.service, child.pk, plaintext, CONTEXT).ciphertext
        version = materials.active_version(child)
        with segments.SegmentWriter(version, "test") as writer:
            writer.seal(b"x", b"")
        row = version.data_keys.get()
        self.segment_keys[row.pk] = materials.data_key_materials([row.pk])[row.pk].reveal()
        self.envelopes.append((envelope, plaintext))
        self.texts.append((child, text, plaintext))
        self.made = number

    def renew(self) -> None:
        """What an application does with envelopes that stand in no registered store: write them anew."""
        forget()
        renewed = []
        for envelope, plaintext in self.envelopes:
            assert operations.envelope_decrypt(self.service, envelope) == plaintext
            renewed.append((operations.envelope_encrypt(self.service, self.kek.pk, plaintext, CONTEXT), plaintext))
        self.envelopes = renewed

    def check(self) -> None:
        """The full comparison: everything ever protected is opened and compared."""
        forget()
        for envelope, plaintext in self.envelopes:
            assert operations.envelope_decrypt(self.service, envelope) == plaintext
        for child, text, plaintext in self.texts:
            assert operations.decrypt(self.service, child.pk, text, CONTEXT).plaintext == plaintext
        found = materials.data_key_materials(list(self.segment_keys))
        assert {pk: secret.reveal() for pk, secret in found.items()} == self.segment_keys
        assert self.made
        assert len(self.segment_keys) == self.made


@pytest.fixture
def holdings(tree: Tree, service: Actor) -> Callable[[Key], Holdings]:
    return lambda kek: Holdings(service, tree, kek)


@pytest.fixture
def kek(tree: Tree) -> Key:
    """A KEK of the portal's own that an officer may move alone."""
    return tree.make("moving-kek", "kek", "AES-256-GCM", tree.master, policy=ALONE, exportable=True)


@pytest.fixture
def start(officer: Actor) -> Callable[..., Move]:
    """start(key, target): the move as it was asked for."""

    def ask(key: Key, target: str = "far", **more: Any) -> Move:
        return moving.request_move(actor=officer, key_id=key.pk, target=target, reason="to the HSM", **more)

    return ask


def closed(alias: str = "far") -> None:
    breaker.answered(alias)
