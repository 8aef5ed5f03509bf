"""The provider of keys in AWS KMS: one key version of the portal is one KMS key, named by its ARN.

KMS's own rotation keeps the key's id and chooses the version by itself, so no handle could pin a version and no census
could tell them apart. A rotation here therefore makes a new KMS key that names its predecessor; an operator who wants
KMS's rotation besides may switch it on, and `describe` shows it.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from keys.crypto import keymaterial
from keys.crypto.algorithms import ALGORITHMS, Kind, Operation
from keys.crypto.secret import SecretBytes
from keys.hosts import HostRule, host_rule
from keys.providers.addresses import checked_timeout
from keys.providers.aws_kms import importing, metadata, replicas
from keys.providers.aws_kms.connection import Connection, Place, key_id, parse_replicas
from keys.providers.aws_kms.errors import aws_errors
from keys.providers.aws_kms.replicas import STATES
from keys.providers.aws_kms.specs import SPECS, Spec, spec_of
from keys.providers.aws_kms.using import PublicKeyCipher, RemoteMac, RemoteSigner, SymmetricCipher, encryption_context
from keys.providers.base import (
    TAG,
    BoundCipher,
    BoundMac,
    BoundSigner,
    Capability,
    CredentialsRefused,
    GeneratedKey,
    Health,
    ImportOffer,
    KeyHandle,
    KeyMissing,
    OperationUnsupported,
    ProviderThrottled,
    Quota,
    Region,
    RemoteKey,
    RemoteState,
    Replica,
    Setting,
    portal_errors,
)
from keys.providers.quotas import quota_of
from keyvault_portal.errors import PortalError, ValidationFailed

_DAYS = range(7, 31)


class AwsKmsProvider:
    """Works with the keys of one account and region, and with their replicas; material never leaves KMS."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.CIPHER,
            Capability.WRAPPER,
            Capability.SIGNER,
            Capability.MAC,
            Capability.DATA_KEYS,
            Capability.LIFECYCLE,
            Capability.DESTROYER,
            Capability.DISCOVERY,
            Capability.ROTATOR,
            Capability.IMPORTER,
            Capability.DIRECT_IMPORT,
            Capability.CONTEXT,
            Capability.TAGS,
            Capability.REPLICAS,
            Capability.METADATA,
            Capability.METADATA_RESTORE,
            Capability.SELF_ROTATION,
        }
    )
    algorithms: ClassVar[frozenset[str]] = frozenset(SPECS)
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("region", "Region", "Where the keys are, for example eu-central-1."),
        Setting("replica_regions", "Replica regions", "New keys get a replica in each, used when the first region is down. "
                "Separated by commas; region=https://address for one with an endpoint of its own.", required=False),
        Setting("endpoint", "Endpoint", "Only for a VPC endpoint: its https address.", required=False),
        Setting("profile", "Profile", "A profile of the machine's AWS configuration.", required=False),
        Setting("role_arn", "Role", "ARN of a role to assume for every call.", required=False),
        Setting("access_key_id", "Access key", "Leave empty to use the machine's own identity, which is safer.", required=False),
        Setting("secret_access_key", "Secret access key", required=False, secret=True),
        Setting("timeout", "Time-out in seconds", required=False, default="5"),
    )  # fmt: skip

    def __init__(
        self,
        alias: str = "aws_kms",
        *,
        region: str,
        replica_regions: str = "",
        endpoint: str = "",
        profile: str = "",
        role_arn: str = "",
        access_key_id: str = "",
        secret_access_key: str = "",
        timeout: float | str = 5,
        rule: HostRule | None = None,
    ) -> None:
        self.alias = alias
        credentials = {
            "profile_name": profile,
            "aws_access_key_id": access_key_id,
            "aws_secret_access_key": secret_access_key,
        }
        self._connection = Connection(
            Place(region.strip(), endpoint.strip()),
            parse_replicas(replica_regions),
            rule or host_rule(),
            checked_timeout(timeout),
            {name: value for name, value in credentials.items() if value},
            role_arn,
        )

    @property
    def quota(self) -> Quota | None:
        """What AWS publishes for the region."""
        return quota_of("aws_kms", self._connection.primary.region)

    def generate(self, algorithm: str, *, tag: str = "") -> GeneratedKey:
        return self._usable(self._create(_spec(algorithm), "Made by KeyVault Portal", tag), algorithm)

    def rotate(self, handle: KeyHandle) -> GeneratedKey:
        """A new KMS key of the same kind; the module says why."""
        self._describe(handle.opaque, "")
        made = self._create(
            _spec(handle.algorithm), f"Made by KeyVault Portal, successor of {key_id(handle.opaque)}", ""
        )
        return self._usable(made, handle.algorithm)

    def _create(self, spec: Spec, description: str, tag: str, *, external: bool = False) -> str:
        """The ARN of a new key. Imported ones have no replicas, each of which would need the material brought again."""
        with aws_errors():
            answer = self._connection.client().create_key(
                KeySpec=spec.key_spec,
                KeyUsage=spec.usage,
                Description=description,
                MultiRegion=bool(self._connection.replicas) and not external,
                Origin="EXTERNAL" if external else "AWS_KMS",
                Tags=[{"TagKey": TAG, "TagValue": tag}] if tag else [],
            )
        return str(answer["KeyMetadata"]["Arn"])

    def _usable(self, arn: str, algorithm: str, material: SecretBytes | None = None) -> GeneratedKey:
        """Finish what `_create` began; a key that cannot be finished is given back, not left behind."""
        handle = KeyHandle(algorithm, arn)
        try:
            if material is not None:
                with aws_errors():
                    importing.bring(self._connection.client(), arn, material)
            replicas.make(self._connection, arn)
            return GeneratedKey(opaque=arn, public_key=self._public_key(handle))
        except PortalError:
            with suppress(PortalError):
                self.schedule_deletion(handle, min(_DAYS))
            raise

    @property
    def region_names(self) -> tuple[str, ...]:
        return tuple(place.region for place in self._connection.places)

    def replicas(self, handle: KeyHandle) -> list[Replica]:
        """One for each region of the settings; none for a key that was made without, which AWS never gives any."""
        return replicas.look(self._connection, handle.opaque)

    def align_replicas(self, handle: KeyHandle, state: RemoteState, days: int) -> None:
        """Policy and tags of a new copy are those of the key: KMS by itself gives it the default policy."""
        replicas.align(self._connection, handle.opaque, state, days)

    def _public_key(self, handle: KeyHandle) -> bytes | None:
        if ALGORITHMS[handle.algorithm].symmetric:
            return None
        return handle.public_key or bytes(self._connection.call("get_public_key", handle.opaque)["PublicKey"])

    def import_key(self, algorithm: str, material: SecretBytes, *, tag: str = "") -> GeneratedKey:
        """Bring material under KMS's own wrapping key; a key whose import fails is scheduled for deletion.

        Raises ProviderFault for material that does not fit the algorithm, before anything is made.
        """
        spec = _spec(algorithm)
        with portal_errors():
            keymaterial.prepare(algorithm, material)
        arn = self._create(spec, "Made by KeyVault Portal from imported material", tag, external=True)
        return self._usable(arn, algorithm, material)

    def offer_import(self, algorithm: str, *, tag: str = "") -> ImportOffer:
        arn = self._create(_spec(algorithm), "Made by KeyVault Portal, waiting for its material", tag, external=True)
        with aws_errors():
            return importing.offer(self._connection.client(), arn, symmetric=ALGORITHMS[algorithm].symmetric)

    def take_import(self, algorithm: str, offer: ImportOffer, wrapped: bytes, *, tag: str = "") -> GeneratedKey:
        with aws_errors(decrypting=True):
            importing.take(self._connection.client(), offer, wrapped)
        handle = KeyHandle(algorithm, offer.opaque)
        return GeneratedKey(opaque=offer.opaque, public_key=self._public_key(handle))

    def cipher(self, handle: KeyHandle) -> BoundCipher:
        spec = _spec(handle.algorithm, Operation.DECRYPT)
        if ALGORITHMS[spec.algorithm].kind is Kind.AEAD:
            return SymmetricCipher(self._connection, handle.opaque)
        return PublicKeyCipher(self._connection, handle.opaque, spec, self._public_key(handle) or b"")

    def wrap(self, handle: KeyHandle, material: SecretBytes, aad: bytes) -> bytes:
        return self.cipher(handle).encrypt(material.reveal(), aad)

    def unwrap(self, handle: KeyHandle, wrapped: bytes, aad: bytes) -> SecretBytes:
        return SecretBytes(self.cipher(handle).decrypt(wrapped, aad))

    def generate_data_key(self, handle: KeyHandle, aad: bytes, length: int = 32) -> tuple[SecretBytes, bytes]:
        answer = self._connection.call(
            "generate_data_key", handle.opaque, NumberOfBytes=length, EncryptionContext=encryption_context(aad)
        )
        return SecretBytes(answer["Plaintext"]), bytes(answer["CiphertextBlob"])

    def signer(self, handle: KeyHandle) -> BoundSigner:
        spec = _spec(handle.algorithm, Operation.SIGN)
        return RemoteSigner(self._connection, handle, spec, self._public_key(handle) or b"")

    def authenticator(self, handle: KeyHandle) -> BoundMac:
        return RemoteMac(self._connection, handle.opaque, _spec(handle.algorithm, Operation.MAC))

    def disable(self, handle: KeyHandle) -> None:
        self._everywhere("disable_key", handle)

    def enable(self, handle: KeyHandle) -> None:
        self._everywhere("enable_key", handle)

    def schedule_deletion(self, handle: KeyHandle, days: int) -> datetime:
        """Between 7 and 30 days, KMS's own limits; raises ValidationFailed outside of them."""
        if days not in _DAYS:
            raise ValidationFailed("AWS KMS deletes after 7 to 30 days.", errors={"days": ["7 to 30"]})
        answer = self._everywhere("schedule_key_deletion", handle, PendingWindowInDays=days)
        # A primary key waits for its replicas first; then its own time starts, and it has no date yet.
        due = answer.get("DeletionDate") or self.describe(handle).deletion_due_at
        return due if isinstance(due, datetime) else datetime.fromtimestamp(time.time() + days * 86400).astimezone()

    def cancel_deletion(self, handle: KeyHandle) -> None:
        self._everywhere("cancel_key_deletion", handle)
        self.enable(handle)

    def destroy(self, handle: KeyHandle) -> None:
        raise OperationUnsupported("AWS KMS destroys no key at once.", hint="Schedule its deletion.")

    def _everywhere(self, operation: str, handle: KeyHandle, **parameters: Any) -> dict[str, Any]:
        """Replicas first: their states are their own, and one left behind would stay usable. Returns the primary's answer."""
        for place in replicas.places_of(self._connection, handle.opaque):
            with suppress(KeyMissing), aws_errors():
                getattr(self._connection.client(place), operation)(KeyId=key_id(handle.opaque), **parameters)
        with aws_errors():
            client = self._connection.client()
            answer: dict[str, Any] = getattr(client, operation)(KeyId=key_id(handle.opaque), **parameters)
            return answer

    def rotates_with(self, handle: KeyHandle) -> str:
        return handle.opaque

    def set_rotation(self, handle: KeyHandle, days: int | None) -> None:
        """KMS keeps the key's id; between 90 and 2560 days, symmetric keys that KMS made, copies follow by themselves."""
        metadata.set_rotation(self._connection.client(), handle.opaque, days)

    def describe(self, handle: KeyHandle) -> RemoteKey:
        found = self._describe(handle.opaque, "")
        if found.algorithm is None or ALGORITHMS[found.algorithm].symmetric or found.state is not RemoteState.ENABLED:
            return found
        return replace(found, public_key=self._public_key(KeyHandle(found.algorithm, found.opaque)))

    def metadata_owner(self, handle: KeyHandle) -> str:
        return handle.opaque

    def metadata(self, handle: KeyHandle) -> dict[str, Any]:
        """The key policy and the tags, of a copy its own."""
        return metadata.read(self._connection.client_for(handle.opaque), handle.opaque)

    def restore_metadata(self, handle: KeyHandle, wanted: dict[str, Any], *, tag: str = "") -> None:
        metadata.restore(self._connection.client_for(handle.opaque), handle.opaque, wanted, tag)

    def list_keys(self) -> Iterator[RemoteKey]:
        """The account's own keys of the region; those that AWS's services keep for themselves are left out."""
        with aws_errors():
            client = self._connection.client()
            names: dict[str, str] = {}
            for page in client.get_paginator("list_aliases").paginate():
                names.update({row["TargetKeyId"]: row["AliasName"] for row in page["Aliases"] if "TargetKeyId" in row})
            for page in client.get_paginator("list_keys").paginate():
                for row in page["Keys"]:
                    if names.get(row["KeyId"], "").startswith("alias/aws/"):
                        continue
                    with suppress(KeyMissing):  # deleted since the page was read
                        yield self._describe(row["KeyArn"], names.get(row["KeyId"], ""))

    def _describe(self, key: str, name: str) -> RemoteKey:
        with aws_errors():
            client = self._connection.client()
            found = client.describe_key(KeyId=key)["KeyMetadata"]
            spec = spec_of(found.get("KeySpec", ""), found["KeyUsage"])
            readable = found["KeyState"] not in {"PendingDeletion", "PendingReplicaDeletion"}
            tags = [
                tag
                for page in (client.get_paginator("list_resource_tags").paginate(KeyId=key) if readable else ())
                for tag in page["Tags"]
            ]
            rotation = None
            if readable and found.get("KeySpec") == "SYMMETRIC_DEFAULT" and found["Origin"] == "AWS_KMS":
                status = client.get_key_rotation_status(KeyId=key)
                rotation = status.get("RotationPeriodInDays", 365) if status["KeyRotationEnabled"] else None
        return RemoteKey(
            opaque=found["Arn"],
            name=name.removeprefix("alias/") or found.get("Description") or found["KeyId"],
            state=STATES.get(found["KeyState"], RemoteState.DISABLED),
            algorithm=spec.algorithm if spec else None,
            created_at=found.get("CreationDate"),
            deletion_due_at=found.get("DeletionDate"),
            rotation_days=rotation,
            imported=found["Origin"] == "EXTERNAL",
            tags={tag["TagKey"]: tag["TagValue"] for tag in tags},
        )

    def check(self) -> Health:
        """Every region is asked at once. It is healthy while one answers; what the first refuses is no replica's to grant."""
        places = self._connection.places
        with ThreadPoolExecutor(len(places)) as pool:
            asked = list(pool.map(self._ask, places))
        served = [answer for answer in asked if answer.error is None]
        first = asked[0].error
        if first is not None and (not served or isinstance(first, (ProviderThrottled, CredentialsRefused))):
            raise first
        regions = tuple(
            Region(place.region, place is places[0], answer.seconds, answer.error.detail if answer.error else "")
            for place, answer in zip(places, asked, strict=True)
        )
        account = next((answer.account for answer in served if answer.account), "")
        where = next(region for region in regions if region.seconds is not None)
        detail = f"region {where.name}" + ("" if where.primary else f"; {regions[0].name} does not answer")
        return Health(
            where.seconds or 0.0, f"account {account}" if account else "", detail, regions if len(places) > 1 else ()
        )

    def _ask(self, place: Place) -> "_Answer":
        started = time.perf_counter()
        try:
            with aws_errors():
                keys = self._connection.client(place).list_keys(Limit=1)["Keys"]
        except PortalError as error:
            return _Answer(None, "", error)
        return _Answer(time.perf_counter() - started, keys[0]["KeyArn"].split(":")[4] if keys else "", None)


class _Answer(NamedTuple):
    seconds: float | None
    account: str
    error: PortalError | None


def _spec(algorithm: str, operation: Operation | None = None) -> Spec:
    spec = SPECS.get(algorithm)
    if spec is None:
        raise OperationUnsupported(f"AWS KMS has no {algorithm} keys.")
    if operation is not None and operation not in ALGORITHMS[algorithm].operations:
        raise OperationUnsupported(f"{algorithm} does not {operation}.")
    return spec
