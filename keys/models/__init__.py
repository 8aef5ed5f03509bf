"""Tables of the keys app; rows are written by `keys.services` only."""

from keys.models.keys import DataKey, Key, KeyPolicy, KeyVersion
from keys.models.moves import Move
from keys.models.providers import (
    AcceptedMetadata,
    KeyProvider,
    KeyReplica,
    ProviderFinding,
    ProviderIntent,
    ProviderRegion,
)
from keys.models.rotations import FailedItem, ReEncryptionJob, ReEncryptionRange, Rotation
from keys.models.seals import KeyholderSight, RootSeal, SealState
from keys.models.stores import CensusCount, DataStore, SealedValue
from keys.models.transfers import KeyComponent, KeyExport, KeyImport

__all__ = [
    "AcceptedMetadata", "CensusCount",
    "DataKey", "DataStore", "FailedItem", "Key", "KeyComponent", "KeyExport", "KeyImport", "KeyPolicy", "KeyProvider",
    "KeyReplica", "KeyVersion", "KeyholderSight", "Move", "ProviderFinding", "ProviderIntent", "ProviderRegion", "ReEncryptionJob",
    "ReEncryptionRange", "RootSeal", "Rotation", "SealState", "SealedValue",
]  # fmt: skip
