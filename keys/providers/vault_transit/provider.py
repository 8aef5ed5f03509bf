"""The provider of keys in a transit engine: one key version of the portal is one version of a transit key, `name:vN`.

The engine has no state for a single version, only floors under which versions are refused, and (in OpenBao) a soft
deletion of the whole key. So versions are disabled, destroyed and enabled in order of age; what the floors cannot say
is refused with the reason, never done by half. The portal enforces the states of its own versions besides.
"""

import base64
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from keys.crypto import transport
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.keyforms import spki
from keys.crypto.secret import SecretBytes
from keys.hosts import HostRule, host_rule
from keys.providers.addresses import checked_timeout
from keys.providers.base import (
    TAG,
    BoundCipher,
    BoundMac,
    BoundSigner,
    Capability,
    GeneratedKey,
    Health,
    ImportOffer,
    KeyHandle,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    RemoteKey,
    RemoteState,
    Setting,
    portal_errors,
)
from keys.providers.vault_transit import importing
from keys.providers.vault_transit.connection import Connection, Identity
from keys.providers.vault_transit.specs import SPECS, Spec, Version, algorithm_of, public_key_of, spec_named
from keys.providers.vault_transit.using import PublicKeyCipher, RemoteMac, RemoteSigner, SymmetricCipher, b64


class VaultTransitProvider:
    """Works with the keys of one engine; material never leaves the server."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CIPHER,
            Capability.WRAPPER,
            Capability.SIGNER,
            Capability.MAC,
            Capability.DATA_KEYS,
            Capability.LIFECYCLE,
            Capability.SELF_ROTATION,
            Capability.DESTROYER,
            Capability.DISCOVERY,
            Capability.ROTATOR,
            Capability.IMPORTER,
            Capability.DIRECT_IMPORT,
            Capability.EXPORTER,
            Capability.CONTEXT,
            Capability.TAGS,
            Capability.METADATA,
            Capability.METADATA_RESTORE,
        }
    )
    algorithms: ClassVar[frozenset[str]] = frozenset(SPECS)
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("address", "Address", "For example https://vault.example.org:8200"),
        Setting("mount", "Path of the transit engine", required=False, default="transit"),
        Setting("namespace", "Namespace", required=False),
        Setting("token_file", "File with the token", "Kept fresh by an agent on this machine: the portal stores nothing.", required=False),
        Setting("role_id", "AppRole: role ID", required=False),
        Setting("secret_id", "AppRole: secret ID", required=False, secret=True),
        Setting("approle_mount", "Path of the AppRole method", required=False, default="approle"),
        Setting("token", "Token", "If there is neither a file nor an AppRole.", required=False, secret=True),
        Setting("ca_file", "File with the certificate authority", "Leave empty for the system's.", required=False),
        Setting("timeout", "Time-out in seconds", required=False, default="5"),
    )  # fmt: skip

    def __init__(
        self,
        alias: str = "vault_transit",
        *,
        address: str,
        mount: str = "transit",
        namespace: str = "",
        token_file: str = "",
        role_id: str = "",
        secret_id: str = "",
        approle_mount: str = "approle",
        token: str = "",
        ca_file: str = "",
        timeout: float | str = 5,
        rule: HostRule | None = None,
    ) -> None:
        self.alias = alias
        identity = Identity(token.strip(), token_file, role_id, secret_id, approle_mount)
        self._connection = Connection(
            address.strip().rstrip("/"),
            mount.strip("/"),
            namespace,
            identity,
            ca_file,
            checked_timeout(timeout),
            rule or host_rule(),
        )

    def generate(self, algorithm: str, *, tag: str = "", exportable: bool = False) -> GeneratedKey:
        spec, name = spec_named(algorithm), _new_name(algorithm, tag)
        options: dict[str, Any] = {"exportable": exportable}
        if spec.key_size:
            options["key_size"] = spec.key_size
        self._connection.call("post", f"keys/{name}", type=spec.key_type, **options)
        return self._made(Version(name, 1))

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        """The next version of the same transit key; the older ones stay as they are."""
        name = Version.of(handle.opaque).name
        answer = self._connection.call("post", f"keys/{name}/rotate")
        latest = answer.get("latest_version") or self._read(name)["latest_version"]
        return self._made(Version(name, int(latest)))

    def _made(self, version: Version) -> GeneratedKey:
        return GeneratedKey(opaque=str(version), public_key=public_key_of(self._read(version.name), version.number))

    def export_key(self, handle: KeyHandle, kek: SecretBytes) -> bytes:
        """The engine gives the version out over TLS, and it is wrapped here at once; raises KeyUnusable if it may not."""
        version, spec = Version.of(handle.opaque), spec_named(handle.algorithm)
        if not self._present(version).get("exportable"):
            raise KeyUnusable("This transit key was not made exportable.")
        with portal_errors(), importing.take(self._connection, spec, version) as material:
            return transport.wrap_under(kek, material)

    def import_key(
        self, algorithm: str, material: SecretBytes, *, tag: str = "", exportable: bool = False
    ) -> GeneratedKey:
        """Bring material under the engine's own wrapping key; the key can be rotated there afterwards."""
        name = _new_name(algorithm, tag)
        importing.bring(self._connection, spec_named(algorithm), name, material, exportable=exportable)
        return self._made(Version(name, 1))

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        spec_named(algorithm)
        return ImportOffer(spki(importing.wrapping_key(self._connection)), transport.Method.RSA_AES_KW)

    def take_import(
        self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "", exportable: bool = False
    ) -> GeneratedKey:
        name = _new_name(algorithm, tag)
        importing.pass_on(self._connection, spec_named(algorithm), name, wrapped, exportable=exportable)
        return self._made(Version(name, 1))

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        spec, version = _bound(handle, Operation.DECRYPT)
        if ALGORITHMS[spec.algorithm].kind is Kind.AEAD:
            return SymmetricCipher(self._connection, version)
        return PublicKeyCipher(self._connection, version, spec, self._public_key(handle, version))

    def _public_key(self, handle: KeyHandle, version: Version) -> bytes:
        return handle.public_key or public_key_of(self._read(version.name), version.number) or b""

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        return self.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))

    def generate_data_key(self, handle: KeyHandle, aad: bytes, length: int = 32) -> tuple[SecretBytes, bytes]:
        """Of 16, 32 or 64 bytes, the engine's own sizes; raises OperationUnsupported for others."""
        version = _bound(handle, Operation.DECRYPT)[1]
        if length not in {16, 32, 64}:
            raise OperationUnsupported("The transit engine makes data keys of 16, 32 or 64 bytes.")
        answer = self._connection.call(
            "post",
            f"datakey/plaintext/{version.name}",
            bits=length * 8,
            key_version=version.number,
            associated_data=b64(aad),
        )
        return SecretBytes(base64.b64decode(answer["plaintext"])), version.payload(answer["ciphertext"])

    def signer(self, handle: KeyHandle) -> BoundSigner:
        spec, version = _bound(handle, Operation.SIGN)
        return RemoteSigner(self._connection, version, spec, self._public_key(handle, version))

    def authenticator(self, handle: KeyHandle) -> BoundMac:
        spec, version = _bound(handle, Operation.MAC)
        return RemoteMac(self._connection, version, spec)

    def disable(self, handle: KeyHandle) -> None:
        """Raise the floor above the version; the latest one, with none enabled before it, is soft-deleted with its key."""
        version = Version.of(handle.opaque)
        key = self._present(version)
        if _state(key, version) is RemoteState.DISABLED:
            return
        if version.number > _floor(key):
            raise OperationUnsupported(
                "The transit engine disables versions in order of age only.", hint="Disable the older versions first."
            )
        if version.number < key["latest_version"]:
            self._set_floor(version.name, version.number + 1)
        else:
            self._soft_delete("delete", f"keys/{version.name}/soft-delete")

    def enable(self, handle: KeyHandle) -> None:
        version = Version.of(handle.opaque)
        key = self._present(version)
        if key.get("soft_deleted"):
            self._soft_delete("post", f"keys/{version.name}/soft-delete-restore")
        if version.number >= _floor(key):
            return
        if version.number < _floor(key) - 1:
            raise OperationUnsupported(
                "The transit engine enables versions in order of age only.", hint="Enable the newer versions first."
            )
        self._set_floor(version.name, version.number)

    def _set_floor(self, name: str, number: int) -> None:
        self._connection.call(
            "post", f"keys/{name}/config", min_decryption_version=number, min_encryption_version=number
        )

    def _soft_delete(self, method: str, path: str) -> None:
        try:
            self._connection.call(method, path)
        except KeyMissing:
            raise OperationUnsupported("This server cannot disable the latest version of a transit key.") from None

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        """The engine has no waiting time: the version is disabled, and the portal destroys it when the days are over."""
        self.disable(handle)
        return datetime.now(UTC) + timedelta(days=days)

    def cancel_deletion(self, handle: KeyHandle) -> None:
        self.enable(handle)

    def destroy(self, handle: KeyHandle) -> None:
        """Trim an older version, or delete the key with its last one; at once, and for ever."""
        version = Version.of(handle.opaque)
        key = self._present(version)
        if version.number > max(int(key["min_available_version"]), 1):
            raise OperationUnsupported(
                "The transit engine destroys versions in order of age only.", hint="Destroy the older versions first."
            )
        if version.number == key["latest_version"]:
            self._connection.call("post", f"keys/{version.name}/config", deletion_allowed=True)
            self._connection.call("delete", f"keys/{version.name}")
            return
        self._set_floor(version.name, max(_floor(key), version.number + 1))
        self._connection.call("post", f"keys/{version.name}/trim", min_available_version=version.number + 1)

    def _read(self, name: str) -> dict[str, Any]:
        return self._connection.call("get", f"keys/{name}")

    def _present(self, version: Version) -> dict[str, Any]:
        key = self._read(version.name)
        if version.number not in _versions(key):
            raise KeyMissing("The transit engine has no such version of the key.")
        return key

    def describe(self, handle: KeyHandle) -> RemoteKey:
        version = Version.of(handle.opaque)
        return _remote(self._present(version), version)

    def metadata_owner(self, handle: KeyHandle) -> str:
        return Version.of(handle.opaque).name

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """The configuration of the key with all its versions."""
        return {"config": _config(self._present(Version.of(handle.opaque)))}

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        """Raises OperationUnsupported where a key has become exportable: the engine never takes that back."""
        version, right = Version.of(handle.opaque), wanted["config"]
        there = _config(self._present(version))
        if any(there[name] and not right[name] for name in _ONE_WAY):
            raise OperationUnsupported(
                "A transit key that can be exported stays so for ever.",
                hint="Rotate to a new key, and destroy this one.",
            )
        changed = {name: right.get(name, 0) for name in _TWO_WAY if there.get(name, 0) != right.get(name, 0)}
        if changed:
            self._connection.call("post", f"keys/{version.name}/config", **changed)

    def rotates_with(self, handle: KeyHandle) -> str:
        return Version.of(handle.opaque).name

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        """Of the key with all its versions."""
        version = Version.of(handle.opaque)
        self._present(version)
        self._connection.call("post", f"keys/{version.name}/config", auto_rotate_period=f"{24 * (days or 0)}h")

    def list_keys(self) -> Iterator[RemoteKey]:
        """Every version that can still be had of every key."""
        try:
            names = self._connection.call("list", "keys").get("keys", [])
        except KeyMissing:
            return  # an engine without keys answers that there is no such path
        for name in names:
            with suppress(KeyMissing):  # deleted since the names were read
                key = self._read(name)
                yield from (_remote(key, Version(name, number)) for number in _versions(key))

    def check(self) -> Health:
        started = time.perf_counter()
        told = self._connection.request("get", "auth/token/lookup-self")
        seconds = time.perf_counter() - started
        left = told.get("ttl")
        return Health(seconds, str(told.get("display_name", "")), f"token valid for {left} s" if left else "")


def _new_name(algorithm: str, tag: str) -> str:
    """Transit keys have no tags, so the name ends with it after a dot, which no other part of it holds."""
    name = f"portal-{spec_named(algorithm).algorithm.lower()}-{uuid.uuid4().hex}"
    return f"{name}.{tag}" if tag else name


def _tags(name: str) -> dict[str, str]:
    _, dot, tag = name.rpartition(".")
    return {TAG: tag} if dot and name.startswith("portal-") else {}


def _bound(handle: KeyHandle, operation: Operation) -> tuple[Spec, Version]:
    spec = spec_named(handle.algorithm)
    if operation not in ALGORITHMS[spec.algorithm].operations:
        raise OperationUnsupported(f"{spec.algorithm} does not {operation}.")
    return spec, Version.of(handle.opaque)


def _versions(key: dict[str, Any]) -> range:
    return range(max(int(key["min_available_version"]), 1), int(key["latest_version"]) + 1)


def _floor(key: dict[str, Any]) -> int:
    return max(int(key["min_decryption_version"]), int(key["min_available_version"]), 1)


def _state(key: dict[str, Any], version: Version) -> RemoteState:
    refused = key.get("soft_deleted") or version.number < _floor(key)
    return RemoteState.DISABLED if refused else RemoteState.ENABLED


_ONE_WAY = ("exportable", "allow_plaintext_backup")
_TWO_WAY = ("deletion_allowed", "min_encryption_version")


def _config(key: dict[str, Any]) -> dict[str, Any]:
    """Without the floor under which versions are disabled, which is their state; encryption has a floor of its own if it differs."""
    told = {name: bool(key.get(name)) for name in (*_ONE_WAY, "deletion_allowed", "derived", "convergent_encryption")}
    apart = int(key.get("min_encryption_version") or 0)
    return told | ({"min_encryption_version": apart} if apart not in {0, _floor(key)} else {})


def _remote(key: dict[str, Any], version: Version) -> RemoteKey:
    made = (key.get("keys") or {}).get(str(version.number))
    if isinstance(made, dict):
        made = made.get("creation_time")
    period = int(key.get("auto_rotate_period") or 0)
    return RemoteKey(
        opaque=str(version),
        name=version.name,
        state=_state(key, version),
        algorithm=algorithm_of(version.name, key),
        created_at=_time(made),
        rotation_days=-(-period // 86400) or None,
        imported=bool(key.get("imported_key")),
        extractable=bool(key.get("exportable") or key.get("allow_plaintext_backup")),
        tags=_tags(version.name),
        public_key=public_key_of(key, version.number) if made else None,
    )


def _time(value: Any) -> datetime | None:
    """The engine gives seconds for symmetric keys and a date for the others, and nothing for versions under the floor."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(value) if isinstance(value, str) else None
