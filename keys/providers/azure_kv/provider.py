"""A vault behind the portal's contract: one key of the vault per key of the portal, its versions are theirs."""

import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from azure.keyvault.keys import JsonWebKey, KeyClient, KeyOperation, KeyProperties, KeyVaultKey
from azure.keyvault.keys.crypto import KeyWrapAlgorithm

from keys.crypto import transport
from keys.crypto.secret import SecretBytes
from keys.providers.addresses import checked_timeout, service_address
from keys.providers.azure_kv.bound import GcmCipher, OaepCipher, VaultSigner
from keys.providers.azure_kv.connection import Connection, Identity
from keys.providers.azure_kv.keyforms import (
    ROWS,
    VAULT_ROWS,
    Row,
    algorithm_of,
    private_jwk,
    public_key_of,
    sent_in_transfer,
    transfer_jwk,
    word,
)
from keys.providers.azure_kv.remote import (
    ENDS,
    ORIGIN,
    OWNER,
    described,
    in_bin,
    kept_with,
    rotation_days,
    set_back,
    with_rotation,
)
from keys.providers.base import (
    TAG,
    BoundCipher,
    BoundSigner,
    Capability,
    CredentialsRefused,
    GeneratedKey,
    Health,
    ImportOffer,
    KeyHandle,
    KeyMissing,
    OperationUnsupported,
    ProviderFault,
    RemoteKey,
    Setting,
    portal_errors,
)
from keys.providers.publichalf import no_context
from keyvault_portal.errors import ValidationFailed

HOSTS = ("*.vault.azure.net", "*.managedhsm.azure.net")
IDENTITIES = ("managed_identity", "workload_identity", "client_secret")
KEK = "portal-import-kek"
BIN_SECONDS = 60.0


class AzureKeyVaultProvider:
    """`opaque` is the key identifier with its version: https://vault/keys/name/version.

    A vault has RSA and EC keys only: it encrypts small data to a public key and binds no context. Symmetric keys, and
    with them authenticated encryption, need a Managed HSM (`managed_hsm`). A vault deletes a key with all its
    versions, so a version whose siblings still live is disabled and marked; with the last one the key itself goes to
    the vault's bin, for as long as the vault keeps it. Material for an HSM travels wrapped under a key of that HSM
    (Azure's BYOK procedure); material for a software vault travels as JWK inside TLS, the only way it offers.
    `hosts`, `ca_file`, `authority` and `verify_challenge` are for the program's own use, never a form's.
    """

    capabilities: frozenset[Capability] = frozenset(
        set(Capability) - {Capability.DATA_KEYS, Capability.MAC, Capability.EXPORTER, Capability.REPLICAS}
    )
    algorithms: frozenset[str] = frozenset(ROWS)
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("vault_url", "Vault URL", "https://NAME.vault.azure.net, or https://NAME.managedhsm.azure.net."),
        Setting("managed_hsm", "Managed HSM", "It has symmetric keys.", False, choices=("no", "yes"), default="no"),
        Setting(
            "protection",
            "Protection",
            "HSM needs the premium tier.",
            False,
            choices=("software", "hsm"),
            default="software",
        ),
        Setting(
            "credential",
            "Identity",
            "The identity of the machine needs no secret: prefer it.",
            False,
            choices=IDENTITIES,
            default="managed_identity",
        ),
        Setting("tenant_id", "Tenant", "Of an application with a client secret.", False),
        Setting("client_id", "Client", "Of an application, or of a user-assigned identity.", False),
        Setting("client_secret", "Client secret", "", False, secret=True),
        Setting("timeout", "Time-out in seconds", "", False, default="5"),
    )

    def __init__(
        self,
        alias: str,
        *,
        vault_url: str,
        managed_hsm: str = "no",
        protection: str = "software",
        credential: str = "managed_identity",
        tenant_id: str = "",
        client_id: str = "",
        client_secret: str = "",
        timeout: float | str = 5.0,
        hosts: tuple[str, ...] = HOSTS,
        ca_file: str = "",
        authority: str = "",
        verify_challenge: bool = True,
    ) -> None:
        _one_of("managed_hsm", managed_hsm, ("no", "yes"))
        _one_of("protection", protection, ("software", "hsm"))
        _one_of("credential", credential, IDENTITIES)
        self.alias = alias
        vault = service_address(vault_url, hosts, field="vault_url")
        if managed_hsm == "yes":
            self._hsm = True
        else:
            self._hsm = protection == "hsm"
            self.algorithms = frozenset(VAULT_ROWS)
            self.capabilities = self.capabilities - {Capability.CONTEXT}
        if not self._hsm:
            self.capabilities = self.capabilities - {Capability.DIRECT_IMPORT}
        options: dict[str, Any] = {"verify_challenge_resource": verify_challenge}
        if ca_file:
            options["connection_verify"] = ca_file
        login = {"authority": authority, "disable_instance_discovery": True} if authority else {}
        secret = SecretBytes(client_secret.encode()) if client_secret else None
        if credential == "client_secret" and not (secret and tenant_id and client_id):
            raise ValidationFailed(
                "An application needs its tenant, client and secret.", errors={"credential": ["Fill in all three."]}
            )
        self._connection = Connection(
            vault, Identity(credential, tenant_id, client_id, secret), checked_timeout(timeout), options, login
        )

    # Making keys

    def generate(self, algorithm: str, *, tag: str = "") -> GeneratedKey:
        return self._create(f"portal-{secrets.token_hex(16)}", algorithm, tag)

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        """A new version under the same name; creating it works for symmetric and imported keys too."""
        return self._create(self._connection.named(handle.opaque)[0], handle.algorithm)

    def import_key(self, algorithm: str, material: SecretBytes, *, tag: str = "") -> GeneratedKey:
        row = self._row(algorithm)
        if not self._hsm:
            return self._import(algorithm, private_jwk(row, material), tag)
        offer = self.offer_import(algorithm)
        with portal_errors():
            wrapped = transport.wrap_for_offer(offer.public_key, offer.method, material)
        return self._import(algorithm, transfer_jwk(row, wrapped, offer.token.decode()), tag)

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        """The HSM's key exchange key, whose identifier is the token; raises OperationUnsupported in a software vault."""
        self._row(algorithm)
        if not self._hsm:
            raise OperationUnsupported("A software vault hands out no wrapping key.", hint="Choose another way.")
        kek = self._exchange_key()
        return ImportOffer(
            public_key_of(kek.key) or b"",
            transport.Method.RSA_AES_KW_SHA1,
            "",
            str(kek.key.kid).encode(),  # type: ignore[attr-defined]
        )

    def take_import(self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "") -> GeneratedKey:
        """Material wrapped for the offer, bare or in the `.byok` file of an HSM vendor's tool."""
        kid = offer.token.decode(errors="replace")
        jwk = transfer_jwk(self._row(algorithm), sent_in_transfer(wrapped, kid), kid)
        return self._import(algorithm, jwk, tag)

    def _import(self, algorithm: str, jwk: JsonWebKey, tag: str) -> GeneratedKey:
        name, tags = f"portal-{secrets.token_hex(16)}", _tags(tag) | {ORIGIN: "imported"}
        made = self._connection.call(
            lambda client: client.import_key(name, jwk, hardware_protected=self._hsm, tags=tags), opening=True
        )
        return self._generated(made, algorithm)

    def _create(self, name: str, algorithm: str, tag: str = "") -> GeneratedKey:
        row = self._row(algorithm)
        kind = f"{row.kind}-HSM" if self._hsm else row.kind
        sized = {"curve": row.curve} if row.curve else {"size": row.size}
        made = self._connection.call(
            lambda client: client.create_key(name, kind, key_operations=list(row.operations), tags=_tags(tag), **sized)
        )
        return self._generated(made, algorithm)

    def _row(self, algorithm: str) -> Row:
        if algorithm not in self.algorithms:
            raise OperationUnsupported(f"This vault has no {algorithm}.")
        return ROWS[algorithm]

    def _generated(self, made: KeyVaultKey, algorithm: str) -> GeneratedKey:
        opaque = str(made.id)
        self._connection.named(opaque)
        if algorithm_of(made.key) != algorithm:
            raise ProviderFault("The vault made another key than was asked for.")
        return GeneratedKey(opaque=opaque, public_key=public_key_of(made.key))

    def _exchange_key(self) -> KeyVaultKey:
        """The HSM's RSA key under which material travels in; it can do nothing else."""
        only: list[str | KeyOperation] = [KeyOperation.import_key]
        try:
            found: KeyVaultKey = self._connection.call(lambda client: client.get_key(KEK))
        except KeyMissing:
            found = self._connection.call(
                lambda client: client.create_rsa_key(
                    KEK, size=4096, hardware_protected=True, key_operations=only, tags=_tags()
                )
            )
        key: Any = found.key
        if word(key.kty) != "RSA-HSM" or key.key_ops != ["import"]:
            raise ProviderFault(
                f"The key {KEK} in the vault is not fit for imports.", hint="Remove it; a new one is made."
            )
        return found

    # Using keys

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        self._connection.named(handle.opaque)
        if handle.algorithm == "AES-256-GCM":
            return GcmCipher(self._connection, handle.opaque)
        if handle.algorithm in VAULT_ROWS and ROWS[handle.algorithm].jose == "RSA-OAEP-256":
            return OaepCipher(self._connection, handle.opaque, handle.algorithm, self._public_of(handle))
        raise OperationUnsupported(f"{handle.algorithm} does not encrypt data.")

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        if handle.algorithm != "AES-256-KW":
            return self.cipher(handle).encrypt(material.reveal(), aad)
        no_context(handle.algorithm, aad)
        kind = KeyWrapAlgorithm.aes_256
        done = self._connection.work(handle.opaque, lambda client: client.wrap_key(kind, material.reveal()))
        return bytes(done.encrypted_key)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        if handle.algorithm != "AES-256-KW":
            return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))
        no_context(handle.algorithm, aad)
        kind = KeyWrapAlgorithm.aes_256
        done = self._connection.work(handle.opaque, lambda client: client.unwrap_key(kind, wrapped), opening=True)
        return SecretBytes(done.key)

    def signer(self, handle: KeyHandle) -> BoundSigner:
        if handle.algorithm not in VAULT_ROWS or KeyOperation.sign not in ROWS[handle.algorithm].operations:
            raise OperationUnsupported(f"{handle.algorithm} does not sign.")
        return VaultSigner(self._connection, handle.opaque, handle.algorithm, self._public_of(handle))

    def _public_of(self, handle: KeyHandle) -> bytes:
        found = handle.public_key or public_key_of(self._version(handle).key)
        if found is None:
            raise ProviderFault("The vault's key has no public half.")
        return found

    # The lives of keys

    def disable(self, handle: KeyHandle) -> None:
        self._update(handle, enabled=False)

    def enable(self, handle: KeyHandle) -> None:
        self._update(handle, enabled=True)

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        """To the bin with the key, for the vault's own time, or this version marked and disabled while others live."""
        name, version = self._connection.named(handle.opaque)
        if not self._others_live(name, version):
            return self._to_bin(name)
        due = datetime.now(UTC) + timedelta(days=days)
        tags = self._version(handle).properties.tags or {}
        self._update(handle, enabled=False, tags=tags | {ENDS: due.isoformat(timespec="seconds")})
        return due

    def cancel_deletion(self, handle: KeyHandle) -> None:
        name, _ = self._connection.named(handle.opaque)
        if self._connection.deleted(name) is not None:
            self._connection.call(lambda client: client.begin_recover_deleted_key(name).wait(BIN_SECONDS))
        tags = dict(self._version(handle).properties.tags or {})
        tags.pop(ENDS, None)
        self._update(handle, enabled=True, tags=tags)

    def destroy(self, handle: KeyHandle) -> None:
        """Purge the key; raises OperationUnsupported while other versions live, and in a vault that forbids purging."""
        name, version = self._connection.named(handle.opaque)
        binned = self._connection.deleted(name)
        properties: KeyProperties = (binned or self._version(handle)).properties
        if "Purgeable" not in word(properties.recovery_level):
            raise OperationUnsupported("The vault has purge protection: nothing in it is destroyed before its time.")
        if binned is None:
            if self._others_live(name, version):
                raise OperationUnsupported("A vault destroys a key with all its versions, and others of this key live.")
            self._to_bin(name)
        self._connection.call(lambda client: client.purge_deleted_key(name))

    def _to_bin(self, name: str) -> datetime:
        poller = self._connection.call(lambda client: client.begin_delete_key(name))
        self._connection.call(lambda _: poller.wait(BIN_SECONDS))
        return poller.result().scheduled_purge_date or datetime.now(UTC)

    def _others_live(self, name: str, version: str) -> bool:
        return any(found.version != version and ENDS not in (found.tags or {}) for found in self._versions(name))

    def _versions(self, name: str) -> Iterator[KeyProperties]:
        return self._connection.pages(lambda client: client.list_properties_of_key_versions(name))

    def _update(self, handle: KeyHandle, **changes: Any) -> None:
        name, version = self._connection.named(handle.opaque)
        self._connection.call(lambda client: client.update_key_properties(name, version, **changes))

    # What is really there

    def describe(self, handle: KeyHandle) -> RemoteKey:
        name, _ = self._connection.named(handle.opaque)
        try:
            return described(self._version(handle), self._rotation_days(name))
        except KeyMissing:
            found = self._connection.deleted(name)
            if found is None:
                raise
            return in_bin(found, handle.opaque)

    def metadata_owner(self, handle: KeyHandle) -> str:
        self._connection.named(handle.opaque)
        return handle.opaque

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """The attributes and tags of the version; who may use it is the vault's, or its subscription's, and not a key's."""
        return kept_with(self._version(handle))

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        """Raises OperationUnsupported for a date that was not there: a vault takes none away."""
        found = self._version(handle)
        self._update(handle, **set_back(found, wanted, tag))

    def rotates_with(self, handle: KeyHandle) -> str:
        return self._connection.named(handle.opaque)[0]

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        """The rest of the key's rotation policy, notices and expiry, stays as it is."""
        name, _ = self._connection.named(handle.opaque)
        there = self._connection.call(lambda client: client.get_key_rotation_policy(name))
        policy = with_rotation(there, days)
        self._connection.call(lambda client: client.update_key_rotation_policy(name, policy))

    def list_keys(self) -> Iterator[RemoteKey]:
        """Every version, and of a key in the bin its latest one; the key that imports travel under is not one of them."""
        for key in self._connection.pages(KeyClient.list_properties_of_keys):
            if key.name != KEK:
                yield from self._list_versions(key.name)
        for key in self._connection.pages(KeyClient.list_deleted_keys):
            if (found := self._connection.deleted(key.name)) is not None:
                yield in_bin(found, str(found.id))

    def _list_versions(self, name: str) -> Iterator[RemoteKey]:
        try:
            rotation = self._rotation_days(name)
            for found in self._versions(name):
                yield described(self._version(KeyHandle("", str(found.id))), rotation)
        except KeyMissing:
            return  # it went while we listed

    def check(self) -> Health:
        """Read one entry of the list of keys."""
        start = time.perf_counter()
        next(self._connection.pages(lambda client: client.list_properties_of_keys(max_page_size=1)), None)
        who = self._connection.identity
        return Health(time.perf_counter() - start, who.client_id or who.kind, self._connection.vault)

    def _version(self, handle: KeyHandle) -> KeyVaultKey:
        name, version = self._connection.named(handle.opaque)
        found: KeyVaultKey = self._connection.call(lambda client: client.get_key(name, version))
        return found

    def _rotation_days(self, name: str) -> int | None:
        """The vault's own rotation; None too where reading the policy needs a role we lack, or the key has none."""
        with suppress(CredentialsRefused, ProviderFault):
            return rotation_days(self._connection.call(lambda client: client.get_key_rotation_policy(name)))
        return None


def _tags(tag: str = "") -> dict[str, str]:
    return {OWNER: "keyvault-portal"} | ({TAG: tag} if tag else {})


def _one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValidationFailed("There is no such choice.", errors={field: [f"Choose one of: {', '.join(choices)}."]})
