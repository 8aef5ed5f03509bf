"""REST: keys, versions, rotations, stores and the census; each action is one service."""

from keys.api.keys import KeyViewSet
from keys.api.rotations import RotationViewSet
from keys.api.stores import CensusViewSet, StoreViewSet

router_entries = [
    ("keys", KeyViewSet, "key"),
    ("rotations", RotationViewSet, "rotation"),
    ("stores", StoreViewSet, "store"),
    ("census", CensusViewSet, "census"),
]
