"""A remote provider kept in this process, with faults on demand.

It is enough here because these tests are about what stands around a provider: what is written down, tried again, given
up and shown. That the real providers keep the contract is proved against real counterparts in tests/providers.
"""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

from keys.crypto import keymaterial
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    TAG,
    BoundCipher,
    BoundSigner,
    Capability,
    CredentialsRefused,
    GeneratedKey,
    Health,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderThrottled,
    RemoteKey,
    RemoteState,
    Setting,
)
from keys.providers.local import LocalProvider
from keyvault_portal.errors import ProviderUnavailable

SECRET = "hunter2-of-the-stand-in"


@dataclass
class Held:
    """One key as the counterpart holds it."""

    algorithm: str
    material: SecretBytes
    public_key: bytes | None
    tag: str
    state: RemoteState = RemoteState.ENABLED
    due: datetime | None = None
    rotation_days: int | None = None
    imported: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    policy: dict[str, list[str]] = field(default_factory=lambda: {"may_decrypt": ["portal"]})


@dataclass
class Counterpart:
    """What is at the other end: keys, the calls it got, and what is wrong with it just now."""

    keys: dict[str, Held] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    down: bool = False
    throttled: bool = False
    refuses: bool = False
    slow: float = 0.0
    held_up: threading.Event | None = None  # nobody gets an answer until it is set
    confused: bool = False  # answers with another key than asked for
    lose_answer: bool = False  # does what it is told, and the answer never arrives
    after_making: object = None  # called when a key was made, before the answer
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, call: str) -> None:
        self.calls.append(call)
        if self.slow:
            time.sleep(self.slow)
        if self.held_up:
            self.held_up.wait(60)
        if self.down:
            raise ProviderUnavailable("The stand-in does not answer.")
        if self.throttled:
            raise ProviderThrottled("The stand-in asks for patience.")
        if self.refuses:
            raise CredentialsRefused("The stand-in does not know us.")


PLACES: dict[str, Counterpart] = {}


class StandIn:
    """Tags, states, discovery, ciphers and signers; destruction only after a waiting time, as the cloud has it."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CIPHER, Capability.SIGNER, Capability.IMPORTER, Capability.LIFECYCLE, Capability.DESTROYER, Capability.DISCOVERY,
            Capability.CONTEXT, Capability.TAGS, Capability.METADATA, Capability.METADATA_RESTORE, Capability.SELF_ROTATION,
        }
    )  # fmt: skip
    algorithms: ClassVar[frozenset[str]] = frozenset({"AES-256-GCM", "Ed25519", "ECDSA-P256-SHA256"})
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("place", "Place", help="Which stand-in."),
        Setting("password", "Password", secret=True, required=False),
        Setting("mode", "Mode", required=False, choices=("calm", "strict"), default="calm"),
    )
    built: ClassVar[list[str]] = []

    def __init__(self, alias: str, place: str, password: str = "", mode: str = "calm", timeout: float = 5.0) -> None:
        self.alias, self.timeout, self.password, self.mode = alias, timeout, password, mode
        self.there = PLACES[place]
        self.software = LocalProvider()
        type(self).built.append(alias)

    def generate(self, algorithm: str, *, tag: str = "") -> GeneratedKey:
        if algorithm not in self.algorithms:
            raise OperationUnsupported(f"The stand-in has no {algorithm}.")
        self.there.enter("generate")
        made = keymaterial.generate(algorithm)
        return self._keep(Held(algorithm, made.private, made.public, tag))

    def import_key(self, algorithm: str, material: SecretBytes, *, tag: str = "") -> GeneratedKey:
        self.there.enter("import")
        checked = self.software.import_key(algorithm, material)
        return self._keep(Held(algorithm, material, checked.public_key, tag, imported=True))

    def _keep(self, held: Held) -> GeneratedKey:
        opaque = f"stand-in/{uuid4()}"
        self.there.keys[opaque] = held
        if callable(self.there.after_making):
            self.there.after_making()
        if self.there.lose_answer:
            self.there.lose_answer = False
            raise ProviderUnavailable("The answer of the stand-in was lost.")
        if self.there.confused:
            opaque = next(iter(self.there.keys))
        return GeneratedKey(opaque, public_key=held.public_key)

    def _held(self, handle: KeyHandle, *, use: bool = False) -> Held:
        held = self.there.keys.get(handle.opaque)
        if held is None:
            raise KeyMissing("The stand-in has no such key.")
        if use and held.state is not RemoteState.ENABLED:
            raise KeyUnusable(f"The key is {held.state} at the stand-in.")
        return held

    def _software(self, handle: KeyHandle) -> KeyHandle:
        held = self._held(handle, use=True)
        return KeyHandle(held.algorithm, material=lambda: held.material)

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        return _Cipher(self, handle)

    def signer(self, handle: KeyHandle) -> BoundSigner:
        return _Signer(self, handle)

    def disable(self, handle: KeyHandle) -> None:
        self._to("disable", handle, RemoteState.DISABLED)

    def enable(self, handle: KeyHandle) -> None:
        self._to("enable", handle, RemoteState.ENABLED)

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        assert 7 <= days <= 30
        held = self._to("schedule_deletion", handle, RemoteState.PENDING_DELETION)
        held.due = datetime.now(UTC) + timedelta(days=days)
        return held.due

    def cancel_deletion(self, handle: KeyHandle) -> None:
        if self._held(handle).state is not RemoteState.PENDING_DELETION:
            raise KeyUnusable("The key waits for no deletion.")
        self._to("cancel_deletion", handle, RemoteState.ENABLED).due = None

    def destroy(self, handle: KeyHandle) -> None:
        self._held(handle)
        raise OperationUnsupported("The stand-in destroys keys only after a waiting time.")

    def _to(self, call: str, handle: KeyHandle, state: RemoteState) -> Held:
        self.there.enter(call)
        held = self._held(handle)
        held.state = state
        return held

    def describe(self, handle: KeyHandle) -> RemoteKey:
        self.there.enter("describe")
        return self._remote(handle.opaque, self._held(handle))

    def list_keys(self) -> Iterator[RemoteKey]:
        self.there.enter("list_keys")
        for opaque, held in list(self.there.keys.items()):
            yield self._remote(opaque, held)

    def metadata_owner(self, handle: KeyHandle) -> str:
        return handle.opaque

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        self.there.enter("metadata")
        held = self._held(handle)
        if held.state is RemoteState.PENDING_DELETION:
            raise KeyUnusable("The stand-in tells nothing of a key that waits for its deletion.")
        return {"policy": dict(held.policy), "tags": dict(held.tags)}

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        self.there.enter("restore_metadata")
        held = self._held(handle)
        held.policy, held.tags, held.tag = dict(wanted["policy"]), dict(wanted["tags"]), tag

    def rotates_with(self, handle: KeyHandle) -> str:
        return handle.opaque

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        self.there.enter("set_rotation")
        self._held(handle).rotation_days = days

    def _remote(self, opaque: str, held: Held) -> RemoteKey:
        tags = {**({TAG: held.tag} if held.tag else {}), **held.tags}
        return RemoteKey(
            opaque, opaque.partition("/")[2], held.state, held.algorithm, deletion_due_at=held.due,
            rotation_days=held.rotation_days, imported=held.imported, tags=tags,
        )  # fmt: skip

    def check(self) -> Health:
        started = time.perf_counter()
        self.there.enter("check")
        return Health(time.perf_counter() - started, identity=f"portal at {os.name}")


class _Cipher:
    def __init__(self, keeper: StandIn, handle: KeyHandle) -> None:
        self.keeper, self.handle = keeper, handle

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        self.keeper.there.enter("encrypt")
        return self.keeper.software.cipher(self.keeper._software(self.handle)).encrypt(plaintext, aad)

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        self.keeper.there.enter("decrypt")
        return self.keeper.software.cipher(self.keeper._software(self.handle)).decrypt(payload, aad)


class _Signer:
    def __init__(self, keeper: StandIn, handle: KeyHandle) -> None:
        self.keeper, self.handle = keeper, handle

    def sign(self, message: bytes) -> bytes:
        self.keeper.there.enter("sign")
        return self.keeper.software.signer(self.keeper._software(self.handle)).sign(message)

    def verify(self, message: bytes, signature: bytes) -> bool:
        return self.keeper.software.signer(self.keeper._software(self.handle)).verify(message, signature)


class Untagged(StandIn):
    """The same without tags: what an older token offers."""

    capabilities: ClassVar[frozenset[Capability]] = StandIn.capabilities - {Capability.TAGS}

    def generate(self, algorithm: str) -> GeneratedKey:  # type: ignore[override]
        return super().generate(algorithm)


class WrapOnly:
    """Wraps keys and does nothing else, and has no states: the least a provider may be."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.WRAPPER})
    algorithms: ClassVar[frozenset[str]] = frozenset({"AES-256-GCM"})
    settings: ClassVar[tuple[Setting, ...]] = (Setting("place", "Place"),)

    def __init__(self, alias: str, place: str, timeout: float = 5.0) -> None:
        self.alias, self.inner = alias, StandIn(alias, place)

    def generate(self, algorithm: str) -> GeneratedKey:
        return self.inner.generate(algorithm)

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        assert len(material.reveal()) == 32
        return self.inner.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.inner.cipher(handle).decrypt(wrapped, aad))
