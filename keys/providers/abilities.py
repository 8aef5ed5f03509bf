"""What each kind of provider can do and what it cannot, in words, and why not: the pages and the table in the docs read this."""

from collections.abc import Iterator
from dataclasses import dataclass

from keys.providers.base import Capability

WORDS: dict[Capability, tuple[str, str]] = {
    Capability.CIPHER: ("Encrypts data", "The portal encrypts data under keys that it wraps"),
    Capability.WRAPPER: ("Wraps keys", "Wraps no keys"),
    Capability.SIGNER: ("Signs", "Does not sign"),
    Capability.MAC: ("Authenticates messages", "Does not authenticate messages"),
    Capability.IMPORTER: ("Takes keys made elsewhere", "Takes no keys made elsewhere"),
    Capability.DIRECT_IMPORT: (
        "Takes keys wrapped for itself, unseen by the portal",
        "A worker opens keys on their way in",
    ),
    Capability.EXPORTER: ("Gives exportable keys out, wrapped", "Gives no key out: its keys can never be exported"),
    Capability.ROTATOR: ("Has versions of its own", "Has no versions of its own: each is a key there"),
    Capability.DATA_KEYS: ("Makes data keys in one call", "Data keys are made here and wrapped there"),
    Capability.LIFECYCLE: ("Disables and deletes keys", "Has no states: the portal alone refuses disabled keys"),
    Capability.DESTROYER: ("Ends keys for good", "Ends no key: the portal forgets it, and it stays there"),
    Capability.DISCOVERY: ("Lists what it has", "Cannot list its keys: nothing is compared"),
    Capability.REPLICAS: ("Keeps copies in other regions", "Keeps no copies in other regions"),
    Capability.CONTEXT: ("Binds the context itself", "The portal binds the context"),
    Capability.METADATA: (
        "Tells policy and tags: a change is seen",
        "Tells no policy and no tags: a change of them stays unseen",
    ),
    Capability.METADATA_RESTORE: (
        "Takes policy and tags back",
        "Policy and tags are put back by hand, at the provider",
    ),
    Capability.SELF_ROTATION: (
        "Its own rotation is seen, and set from here",
        "Rotates nothing by itself: the portal does",
    ),
    Capability.TAGS: ("Marks its keys", "Keeps no marks: a lost answer may leave an unknown key"),
}

_C = Capability
_NEVER_OUT = "It gives no key out, to anybody."
# Why a kind lacks a capability; the contract suite holds that nothing is missing here, and nothing is said too much.
WHY_NOT: dict[str, dict[Capability, str]] = {
    "local": {
        _C.ROTATOR: "The portal's own versions are rows of its inventory, each with material of its own.",
        _C.DATA_KEYS: "Nothing is saved by it: no call leaves the portal.",
        _C.LIFECYCLE: "The portal's own states are the only ones.",
        _C.DESTROYER: "The wrapped material is erased with the version.",
        _C.DISCOVERY: "There is no second list to compare the inventory with.",
        _C.TAGS: "A key is written in the transaction that makes it, so no answer can be lost.",
        _C.DIRECT_IMPORT: "The portal that would hand out the wrapping key is the one that opens it.",
        _C.REPLICAS: "The database is what is replicated.",
        _C.METADATA: "Policies and labels are rows that change by audited acts only.",
        _C.METADATA_RESTORE: "Policies and labels are rows that change by audited acts only.",
        _C.SELF_ROTATION: "The portal's own schedule is the key's policy.",
    },
    "aws_kms": {_C.EXPORTER: _NEVER_OUT},
    "gcp_kms": {
        _C.DATA_KEYS: "Cloud KMS has no such call.",
        _C.EXPORTER: _NEVER_OUT,
        _C.REPLICAS: "A multi-region location keeps its copies by itself, and tells of none.",
    },
    "azure_kv": {
        _C.DATA_KEYS: "A vault has no such call.",
        _C.MAC: "Keys of vaults make no codes; signing and wrapping is all they do.",
        _C.EXPORTER: "A vault releases keys to attested machines only.",
        _C.REPLICAS: "Microsoft keeps the copies of a vault, and tells of none.",
        _C.CONTEXT: "Without a Managed HSM there are RSA and EC keys only, which bind no context.",
        _C.DIRECT_IMPORT: "A software vault hands out no wrapping key; the premium tier and a Managed HSM do.",
    },
    "pkcs11": {
        _C.MAC: "HMAC keys of tokens differ too much to be offered; keep them in the portal or in a KMS.",
        _C.DATA_KEYS: "PKCS#11 has no such call.",
        _C.TAGS: "The only text on an object is its label, which says what the key is for.",
        _C.REPLICAS: "A token has no regions; clusters are the vendor's.",
        _C.SELF_ROTATION: "PKCS#11 has no schedule.",
    },
    "vault_transit": {_C.REPLICAS: "A cluster replicates as a whole, and that is its operator's."},
    "kmip": {
        _C.SIGNER: "PyKMIP, which is what can be tested, signs PSS with a salt of another length.",
        _C.MAC: "PyKMIP, which is what can be tested, makes no HMAC keys.",
        _C.DATA_KEYS: "KMIP has no such operation.",
        _C.LIFECYCLE: "A deactivated KMIP key never comes back, so disabling could not be undone: the portal keeps that state.",
        _C.TAGS: "KMIP 1.4 has names, which clients may change, and no tags.",
        _C.EXPORTER: "Keys are made Sensitive, and those come out under a key of the server's only.",
        _C.DIRECT_IMPORT: "KMIP hands out no wrapping key: Register takes the material inside the TLS connection that both certificates "
            "authenticate, so the worker that brings it holds it for a moment.",
        _C.REPLICAS: "Clusters are the server's own business.",
        _C.SELF_ROTATION: "KMIP has dates for a key's end and none for its rotation.",
        _C.METADATA_RESTORE: "KMIP lets a client change names, and nothing that decides over use.",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ability:
    """One capability in words; `reason` says why it is missing, empty where it is there."""

    capability: Capability
    has: bool
    words: str
    reason: str


def abilities(kind: str, has: frozenset[Capability]) -> Iterator[Ability]:
    """Every capability, for a provider of this kind that declares `has`."""
    for capability, (there, missing) in WORDS.items():
        if capability in has:
            yield Ability(capability, True, there, "")
        else:
            yield Ability(capability, False, missing, WHY_NOT.get(kind, {}).get(capability, ""))
