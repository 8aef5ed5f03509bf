"""Tables of the keys app; rows are written by `keys.services` only."""

from keys.models.keys import DataKey, Key, KeyPolicy, KeyVersion
from keys.models.providers import KeyProvider, KeyReplica, ProviderFinding, ProviderIntent, ProviderRegion
from keys.models.rotations import FailedItem, ReEncryptionJob, ReEncryptionRange, Rotation
from keys.models.seals import KeyholderSight, RootSeal, SealState
from keys.models.stores import CensusCount, DataStore, SealedValue

__all__ = [
    "CensusCount", "DataKey", "DataStore", "FailedItem", "Key", "KeyPolicy", "KeyProvider", "KeyReplica", "KeyVersion", "KeyholderSight",
    "ProviderFinding", "ProviderIntent", "ProviderRegion", "ReEncryptionJob", "ReEncryptionRange", "RootSeal", "Rotation", "SealState", "SealedValue",
]  # fmt: skip
