"""Cloud KMS behind the portal's contract: one crypto key per key of the portal, its versions are theirs."""

import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.cloud.kms_v1.types import CryptoKey, CryptoKeyVersion, ImportJob

from keys.crypto import transport
from keys.crypto.keyforms import spki
from keys.crypto.secret import SecretBytes
from keys.providers.addresses import checked_timeout, service_address
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
    OperationUnsupported,
    ProviderFault,
    RemoteKey,
    RemoteState,
    Setting,
    portal_errors,
)
from keys.providers.gcp_kms import metadata
from keys.providers.gcp_kms.algorithms import (
    CIPHERS,
    DECRYPTERS,
    LEVELS,
    LIMITS,
    MACS,
    NAMES,
    ROWS,
    SIGNERS,
    SOFTWARE_ONLY,
)
from keys.providers.gcp_kms.bound import PublicKeyCipher, SymmetricCipher, VersionMac, VersionSigner
from keys.providers.gcp_kms.connection import HOSTS, Connection, checked_account, intact
from keyvault_portal.errors import DecryptRefused, ProviderUnavailable, ValidationFailed

_State = CryptoKeyVersion.CryptoKeyVersionState
STATES = {
    _State.ENABLED: RemoteState.ENABLED,
    _State.DISABLED: RemoteState.DISABLED,
    _State.PENDING_GENERATION: RemoteState.DISABLED,  # there, and not yet of use
    _State.PENDING_IMPORT: RemoteState.PENDING_IMPORT,
    _State.DESTROY_SCHEDULED: RemoteState.PENDING_DELETION,
    _State.DESTROYED: RemoteState.DESTROYED,
    _State.GENERATION_FAILED: RemoteState.DESTROYED,
    _State.IMPORT_FAILED: RemoteState.DESTROYED,
}
_UNFINISHED = {_State.PENDING_GENERATION, _State.PENDING_IMPORT}
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}")
_VERSION = re.compile(r"/cryptoKeys/[A-Za-z0-9_-]{1,63}/cryptoKeyVersions/[0-9]{1,9}")
LABEL = {"managed-by": "keyvault-portal"}
# An HSM takes its time over a new RSA key; the wait is between calls, which have their own time-out.
GENERATION_SECONDS = 60.0


class GcpKmsProvider:
    """`opaque` is the full name of a crypto key version: projects/…/cryptoKeys/…/cryptoKeyVersions/N.

    Cloud KMS alone decides how long a scheduled destruction waits (30 days unless the key says otherwise), and knows
    none at once. Material is brought through import jobs, wrapped (RSA_OAEP_3072_SHA256_AES_256) before it leaves.
    `hosts` is for the program's own use: what a person registers goes to Google only.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        set(Capability) - {Capability.DATA_KEYS, Capability.EXPORTER, Capability.REPLICAS}
    )
    algorithms: frozenset[str] = frozenset(ROWS)
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("project", "Project", "The identifier of the Google Cloud project."),
        Setting("location", "Location", "A region such as europe-west6, or global.", default="global"),
        Setting("key_ring", "Key ring", "It must exist already."),
        Setting(
            "credentials",
            "Service account key (JSON)",
            "Leave empty to use the identity of the machine the portal runs on: safer, nothing to keep secret.",
            required=False,
            secret=True,
        ),
        Setting(
            "endpoint", "Endpoint", "Only for a private endpoint.", False, default="https://cloudkms.googleapis.com"
        ),
        Setting("protection_level", "Protection", "", False, choices=("SOFTWARE", "HSM"), default="SOFTWARE"),
        Setting("timeout", "Time-out in seconds", "", False, default="5"),
    )

    def __init__(
        self,
        alias: str,
        *,
        project: str,
        location: str,
        key_ring: str,
        credentials: str = "",
        endpoint: str = "https://cloudkms.googleapis.com",
        protection_level: str = "SOFTWARE",
        timeout: float | str = 5.0,
        hosts: tuple[str, ...] = HOSTS,
    ) -> None:
        for name, value in (("project", project), ("location", location), ("key_ring", key_ring)):
            if not _PART.fullmatch(value):
                raise ValidationFailed("This is not a name.", errors={name: ["This is not a name."]})
        self.alias = alias
        self._ring = f"projects/{project}/locations/{location}/keyRings/{key_ring}"
        if protection_level not in LEVELS:
            raise ValidationFailed(
                "There is no such protection.", errors={"protection_level": ["There is no such protection."]}
            )
        self._level = LEVELS[protection_level]
        if protection_level == "HSM":
            self.algorithms = frozenset(ROWS) - SOFTWARE_ONLY
        account = checked_account(credentials) if credentials else None
        self._connection = Connection(
            service_address(endpoint, hosts, field="endpoint"), account, checked_timeout(timeout)
        )
        self._job = ""

    # Making keys

    def generate(self, algorithm: str, *, tag: str = "") -> GeneratedKey:
        key = self._create_key(algorithm, tag)
        return self._finished(f"{key.name}/cryptoKeyVersions/1", algorithm)

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        key = self._key(handle)
        request = {"parent": key, "crypto_key_version": {}}
        made = self._finished(self._connection.call("create_crypto_key_version", request).name, handle.algorithm)
        self._make_primary(made.opaque, handle.algorithm)
        return made

    def import_key(self, algorithm: str, material: SecretBytes, *, tag: str = "") -> GeneratedKey:
        job = self._import_job()
        with portal_errors():
            wrapped = transport.wrap_for_offer(_receiver(job), transport.Method.RSA_AES_KW, material)
        try:
            return self._import(algorithm, job.name, wrapped, tag)
        except DecryptRefused:
            raise ProviderFault(
                "The key service refuses the material.", hint="Check that it fits the algorithm."
            ) from None

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        """The key of an import job: no key waits, so nothing is left behind by an offer that nobody takes up."""
        self._has(algorithm)
        job = self._import_job()
        return ImportOffer(_receiver(job), transport.Method.RSA_AES_KW, "", job.name.encode(), job.expire_time)

    def take_import(self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "") -> GeneratedKey:
        job = offer.token.decode(errors="replace")
        if not job.startswith(f"{self._ring}/importJobs/"):
            raise KeyMissing
        return self._import(algorithm, job, wrapped, tag)

    def _import(self, algorithm: str, job: str, wrapped: bytes, tag: str) -> GeneratedKey:
        """A key of one imported version; raises DecryptRefused when the service could not open or use the material."""
        key = self._create_key(algorithm, tag, importing=True)
        request = {
            "parent": key.name, "algorithm": ROWS[algorithm][1], "import_job": job, "wrapped_key": wrapped,
        }  # fmt: skip
        version = self._connection.call("import_crypto_key_version", request, opening=True).name
        made = self._finished(version, algorithm)
        self._make_primary(made.opaque, algorithm)
        return made

    def _has(self, algorithm: str) -> None:
        if algorithm not in self.algorithms:
            raise OperationUnsupported(f"Cloud KMS has no {algorithm}.")

    def _create_key(self, algorithm: str, tag: str, *, importing: bool = False) -> CryptoKey:
        self._has(algorithm)
        purpose, name = ROWS[algorithm]
        request = {
            "parent": self._ring,
            "crypto_key_id": f"portal-{secrets.token_hex(16)}",
            "crypto_key": {
                "purpose": purpose,
                "version_template": {"algorithm": name, "protection_level": self._level},
                "labels": LABEL | ({TAG: tag.lower()} if tag else {}),
            },
            "skip_initial_version_creation": importing,
        }
        return self._connection.call("create_crypto_key", request)

    def _finished(self, version: str, algorithm: str) -> GeneratedKey:
        """Wait until the version is ready; raises ProviderUnavailable, ProviderFault, DecryptRefused (an import)."""
        end, pause = time.monotonic() + GENERATION_SECONDS, 0.05
        while (state := self._version(version).state) in _UNFINISHED:
            if time.monotonic() > end:
                raise ProviderUnavailable("The key service is still making the key.")
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
        if state is _State.IMPORT_FAILED:
            raise DecryptRefused
        if state is not _State.ENABLED:
            raise ProviderFault("The key service could not make the key.")
        public = self._public_key(version) if algorithm in DECRYPTERS | SIGNERS else None
        return GeneratedKey(opaque=version, public_key=public)

    def _make_primary(self, version: str, algorithm: str) -> None:
        if algorithm in CIPHERS:  # the others have no primary version
            key, _, number = version.partition("/cryptoKeyVersions/")
            self._connection.call("update_crypto_key_primary_version", {"name": key, "crypto_key_version_id": number})

    def _import_job(self) -> ImportJob:
        """An import job that takes material now; each lives three days and serves many imports."""
        if self._job:
            job: ImportJob = self._connection.call("get_import_job", {"name": self._job})
            if job.state == ImportJob.ImportJobState.ACTIVE:
                return job
        request = {
            "parent": self._ring,
            "import_job_id": f"portal-{secrets.token_hex(8)}",
            "import_job": {
                "import_method": ImportJob.ImportMethod.RSA_OAEP_3072_SHA256_AES_256,
                "protection_level": self._level,
            },
        }
        job = self._connection.call("create_import_job", request)
        end = time.monotonic() + GENERATION_SECONDS
        while job.state == ImportJob.ImportJobState.PENDING_GENERATION:
            if time.monotonic() > end:
                raise ProviderUnavailable("The key service is still preparing the import.")
            time.sleep(0.1)
            job = self._connection.call("get_import_job", {"name": job.name})
        self._job = job.name
        return job

    def _public_key(self, version: str) -> bytes:
        answer = self._connection.call("get_public_key", {"name": version})
        pem = intact(answer.pem.encode(), answer.pem_crc32c)
        try:
            return spki(load_pem_public_key(pem))
        except ValueError:
            raise ProviderFault("The key service's public key cannot be read.") from None

    # Using keys

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        version = self._pinned(handle)
        if handle.algorithm in CIPHERS:
            return SymmetricCipher(self._connection, version, LIMITS[self._level])
        if handle.algorithm in DECRYPTERS:
            return PublicKeyCipher(self._connection, version, handle.algorithm, self._public_of(handle))
        raise OperationUnsupported(f"{handle.algorithm} does not encrypt data.")

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        return self.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))

    def signer(self, handle: KeyHandle) -> BoundSigner:
        if handle.algorithm not in SIGNERS:
            raise OperationUnsupported(f"{handle.algorithm} does not sign.")
        return VersionSigner(self._connection, self._pinned(handle), handle.algorithm, self._public_of(handle))

    def authenticator(self, handle: KeyHandle) -> BoundMac:
        if handle.algorithm not in MACS:
            raise OperationUnsupported(f"{handle.algorithm} makes no authentication codes.")
        return VersionMac(self._connection, self._pinned(handle), LIMITS[self._level])

    def _public_of(self, handle: KeyHandle) -> bytes:
        return handle.public_key or self._public_key(handle.opaque)

    def _pinned(self, handle: KeyHandle) -> str:
        """The version's name, when it is one of this key ring's; raises KeyMissing."""
        if not handle.opaque.startswith(self._ring) or not _VERSION.fullmatch(handle.opaque[len(self._ring) :]):
            raise KeyMissing
        return handle.opaque

    def _key(self, handle: KeyHandle) -> str:
        return self._pinned(handle).partition("/cryptoKeyVersions/")[0]

    # The lives of keys

    def disable(self, handle: KeyHandle) -> None:
        self._set_state(handle, _State.DISABLED)

    def enable(self, handle: KeyHandle) -> None:
        self._set_state(handle, _State.ENABLED)

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        """Destroy after the time that the key, made long ago, fixed for all its versions: `days` cannot change it."""
        due: datetime = self._connection.call("destroy_crypto_key_version", {"name": self._pinned(handle)}).destroy_time
        return due

    def cancel_deletion(self, handle: KeyHandle) -> None:
        self._connection.call("restore_crypto_key_version", {"name": self._pinned(handle)})
        self.enable(handle)  # Cloud KMS restores a version as disabled

    def destroy(self, handle: KeyHandle) -> None:
        raise OperationUnsupported("Cloud KMS destroys nothing at once.", hint="Schedule the deletion.")

    def _set_state(self, handle: KeyHandle, state: int) -> None:
        request = {
            "crypto_key_version": {"name": self._pinned(handle), "state": state},
            "update_mask": {"paths": ["state"]},
        }
        self._connection.call("update_crypto_key_version", request)

    # What is really there

    def describe(self, handle: KeyHandle) -> RemoteKey:
        version = self._version(self._pinned(handle))
        remote = _remote(self._connection.call("get_crypto_key", {"name": self._key(handle)}), version)
        has_public = remote.state is RemoteState.ENABLED and remote.algorithm in DECRYPTERS | SIGNERS
        return replace(remote, public_key=self._public_key(version.name)) if has_public else remote

    def metadata_owner(self, handle: KeyHandle) -> str:
        return self._key(handle)

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """The IAM policy and the labels of the key with all its versions."""
        return metadata.read(self._connection, self._key(handle))

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        metadata.restore(self._connection, self._key(handle), wanted, tag.lower())

    def rotates_with(self, handle: KeyHandle) -> str:
        return self._key(handle)

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        """The first time so many days from now; only keys that encrypt have a schedule there."""
        if handle.algorithm not in CIPHERS:
            raise OperationUnsupported("Cloud KMS rotates only keys that encrypt by itself.")
        metadata.set_rotation(self._connection, self._key(handle), days)

    def list_keys(self) -> Iterator[RemoteKey]:
        for key in self._connection.pages("list_crypto_keys", {"parent": self._ring}):
            for version in self._connection.pages("list_crypto_key_versions", {"parent": key.name}):
                yield _remote(key, version)

    def check(self) -> Health:
        """Read the key ring."""
        start = time.perf_counter()
        self._connection.call("get_key_ring", {"name": self._ring})
        return Health(time.perf_counter() - start, self._connection.identity, self._ring)

    def _version(self, name: str) -> CryptoKeyVersion:
        found: CryptoKeyVersion = self._connection.call("get_crypto_key_version", {"name": name})
        return found


def _receiver(job: ImportJob) -> bytes:
    """The RSA key of an import job, SPKI DER."""
    try:
        return spki(load_pem_public_key(job.public_key.pem.encode()))
    except ValueError:
        raise ProviderFault("The key of the import job cannot be read.") from None


def _remote(key: CryptoKey, version: CryptoKeyVersion) -> RemoteKey:
    rotation: Any = key.rotation_period
    return RemoteKey(
        opaque=version.name,
        name=key.name.rpartition("/")[2],
        state=STATES.get(version.state, RemoteState.DISABLED),
        algorithm=NAMES.get(version.algorithm),
        created_at=version.create_time,
        deletion_due_at=version.destroy_time if version.state == _State.DESTROY_SCHEDULED else None,
        rotation_days=rotation.days if rotation else None,
        imported=bool(version.import_job),
        tags=dict(key.labels),
    )
