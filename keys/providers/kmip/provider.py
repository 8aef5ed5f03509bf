"""The provider: keys made, kept and used at a KMIP server (OASIS KMIP 1.4); encryption happens there."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind
from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    BoundCipher,
    Capability,
    GeneratedKey,
    Health,
    KeyHandle,
    KeyMissing,
    OperationUnsupported,
    ProviderFault,
    RemoteKey,
    RemoteState,
    Setting,
    portal_errors,
)
from keys.providers.kmip.connection import Connections, ServerTrouble
from keys.providers.kmip.messages import (
    MASKS,
    attributes_of,
    create,
    decrypt,
    destroy,
    encrypt,
    identify,
    kept_with,
    locate,
    register,
)
from keyvault_portal.errors import DecryptRefused, TooLarge

LABEL, IMPORTED = "keyvault-portal", "imported"  # a key's name is "LABEL ALGORITHM HEX", with IMPORTED before the HEX
NONCE_BYTES, TAG_BYTES = 12, 16
PAGE = 100
# pykmip codes a message byte by byte: a hundred kilobytes take seconds. What is larger belongs into an envelope.
MOST_BYTES = 32 * 1024
_STATES = {
    "PRE_ACTIVE": RemoteState.DISABLED,
    "ACTIVE": RemoteState.ENABLED,
    "DEACTIVATED": RemoteState.DISABLED,
    "COMPROMISED": RemoteState.DISABLED,
    "DESTROYED": RemoteState.DESTROYED,
    "DESTROYED_COMPROMISED": RemoteState.DESTROYED,
}


class KmipProvider:
    """Keys of a KMIP server; `opaque` is its unique identifier.

    Not declared: LIFECYCLE, for a KMIP key once deactivated never comes back, so "disable" could not be undone: the
    portal keeps that state, and ends the key there when its grace period is over. Nor signatures, for PyKMIP's PSS has a salt of another
    length than the portal's, nor HMAC, for it makes no such keys: both are left out until a server shows them.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.CIPHER, Capability.WRAPPER, Capability.IMPORTER, Capability.ROTATOR, Capability.DESTROYER,
         Capability.DISCOVERY, Capability.CONTEXT, Capability.METADATA}
    )  # fmt: skip
    algorithms: ClassVar[frozenset[str]] = frozenset(MASKS)
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("host", "Host", "Name or address, as the server's certificate has it."),
        Setting("port", "Port", required=False, default="5696"),
        Setting("certificate", "Client certificate", "Path of the PEM file, with the chain below its CA."),
        Setting("key", "Private key of the client certificate", "Path of the PEM file; never stored here."),
        Setting("ca", "CA file", "Path of the PEM file that the server's certificate is checked against."),
        Setting("timeout", "Time-out in seconds", required=False, default="5"),
    )

    def __init__(
        self,
        alias: str = "kmip",
        *,
        host: str,
        port: int = 5696,
        certificate: str,
        key: str,
        ca: str,
        timeout: float = 5,
    ) -> None:
        self.alias = alias
        self._server = Connections(host, int(port), certificate=certificate, key=key, ca=ca, timeout=float(timeout))

    def generate(self, algorithm: str) -> GeneratedKey:
        _need(algorithm)
        return GeneratedKey(self._server.call(lambda client: create(client, algorithm, _name(algorithm))))

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        """The next version is a new key: many servers know no Re-key, PyKMIP's among them."""
        return self.generate(handle.algorithm)

    def import_key(self, algorithm: str, material: SecretBytes) -> GeneratedKey:
        """Register the material, inside the TLS connection that both certificates authenticate (KMIP 1.4, 4.3)."""
        _need(algorithm)
        with portal_errors():
            keymaterial.prepare(algorithm, material)
        name = _name(f"{algorithm} {IMPORTED}")
        return GeneratedKey(self._server.call(lambda client: register(client, algorithm, name, material.reveal())))

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        if handle.algorithm not in MASKS or ALGORITHMS[handle.algorithm].kind is not Kind.AEAD:
            raise OperationUnsupported(f"{handle.algorithm} does not encrypt data here.")
        return _Aead(self._server, handle.opaque)

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        return self.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))

    def destroy(self, handle: KeyHandle) -> None:
        """Revoked first, as the protocol wants of an active key (KMIP 1.4, 4.21), then gone for good."""
        active = self.describe(handle).state is RemoteState.ENABLED
        self._server.call(lambda client: destroy(client, handle.opaque, active=active))

    def describe(self, handle: KeyHandle) -> RemoteKey:
        found = _remote(handle.opaque, self._server.call(lambda client: attributes_of(client, handle.opaque)))
        if found.state is RemoteState.DESTROYED:
            raise KeyMissing("The KMIP server has destroyed this key.")
        return found

    def metadata_owner(self, handle: KeyHandle) -> str:
        return handle.opaque

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """What KMIP 1.4, 3 calls attributes, as far as they say who may do what; it has no way back for most of them."""
        return {"attributes": self._server.call(lambda client: kept_with(client, handle.opaque))}

    def list_keys(self) -> Iterator[RemoteKey]:
        """Every symmetric key the client certificate may see; one destroyed while we look is left out."""
        page, offset = self._server.call(lambda client: locate(client, 0, PAGE)), 0
        while page:
            for opaque in page:
                try:
                    yield self.describe(KeyHandle("", opaque))
                except KeyMissing:
                    continue
            offset += len(page)
            page = self._server.call(lambda client, at=offset: locate(client, at, PAGE))  # type: ignore[misc]

    def check(self) -> Health:
        started = time.perf_counter()
        vendor = self._server.call(identify)
        return Health(time.perf_counter() - started, detail=vendor)


def _need(algorithm: str) -> None:
    if algorithm not in MASKS:
        raise OperationUnsupported(f"The KMIP provider makes no {algorithm} keys.")


def _name(what: str) -> str:
    return f"{LABEL} {what} {os.urandom(16).hex()}"


def _remote(opaque: str, said: dict[str, Any]) -> RemoteKey:
    name = str(said.get("Name", ""))
    label, algorithm, *rest = [*name.split(" "), ""]
    ours = label == LABEL and algorithm in MASKS
    created = said.get("Initial Date")
    return RemoteKey(
        opaque=opaque,
        name=name,
        state=_STATES.get(getattr(said.get("State"), "name", ""), RemoteState.DISABLED),
        algorithm=algorithm if ours else _algorithm(said),
        created_at=datetime.fromtimestamp(created, UTC) if created else None,
        imported=ours and IMPORTED in rest,
        extractable=not said.get("Sensitive", False),
    )


def _algorithm(said: dict[str, Any]) -> str | None:
    """Of a key made by others."""
    kind, bits = getattr(said.get("Cryptographic Algorithm"), "name", ""), said.get("Cryptographic Length")
    return "AES-256-GCM" if (kind, bits) == ("AES", 256) else None


class _Aead:
    """AES-GCM at the server; the nonce is ours, so that no server repeats one."""

    __slots__ = ("_opaque", "_server")

    def __init__(self, server: Connections, opaque: str) -> None:
        self._server, self._opaque = server, opaque

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        if len(plaintext) > MOST_BYTES:
            raise TooLarge(f"The KMIP provider encrypts at most {MOST_BYTES} bytes at once.", hint="Use an envelope.")
        nonce = os.urandom(NONCE_BYTES)
        sealed, tag = self._server.call(lambda client: encrypt(client, self._opaque, plaintext, nonce, aad))
        if len(sealed) != len(plaintext) or len(tag) != TAG_BYTES:
            raise ProviderFault("The KMIP server's ciphertext has not the length of AES-GCM.")
        return nonce + sealed + tag

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        if not NONCE_BYTES + TAG_BYTES <= len(payload) <= NONCE_BYTES + TAG_BYTES + MOST_BYTES:
            raise DecryptRefused
        nonce, sealed, tag = payload[:NONCE_BYTES], payload[NONCE_BYTES:-TAG_BYTES], payload[-TAG_BYTES:]
        try:
            return self._server.call(lambda client: decrypt(client, self._opaque, sealed, nonce, aad, tag))
        except ServerTrouble:
            # If the server still knows its key, it is well, and what is wrong is the ciphertext.
            self._server.call(lambda client: attributes_of(client, self._opaque))
            raise DecryptRefused from None
