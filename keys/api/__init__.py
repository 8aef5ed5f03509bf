"""REST: keys, versions, their providers, rotations, stores and the census; each action is one service."""

from keys.api.keys import KeyViewSet
from keys.api.moves import MoveViewSet
from keys.api.providers import ProviderViewSet, WorkViewSet
from keys.api.rotations import RotationViewSet
from keys.api.stores import CensusViewSet, StoreViewSet

router_entries = [
    ("keys", KeyViewSet, "key"),
    ("providers", ProviderViewSet, "provider"),
    ("provider-work", WorkViewSet, "provider-work"),
    ("moves", MoveViewSet, "move"),
    ("rotations", RotationViewSet, "rotation"),
    ("stores", StoreViewSet, "store"),
    ("census", CensusViewSet, "census"),
]
