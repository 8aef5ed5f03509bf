"""REST: keys, versions, their providers, rotations, stores, the census and the advisor; each action is one service."""

from rest_framework.viewsets import ViewSetMixin

from keys.api.advisor import AdvisorViewSet
from keys.api.keys import KeyViewSet
from keys.api.moves import MoveViewSet
from keys.api.providers import ProviderViewSet, WorkViewSet
from keys.api.rotations import RotationViewSet
from keys.api.seals import RootSealViewSet
from keys.api.stores import CensusViewSet, StoreViewSet
from keys.api.transfers import ExportViewSet, ImportViewSet

router_entries: list[tuple[str, type[ViewSetMixin], str]] = [
    ("keys", KeyViewSet, "key"),
    ("providers", ProviderViewSet, "provider"),
    ("imports", ImportViewSet, "import"),
    ("exports", ExportViewSet, "export"),
    ("provider-work", WorkViewSet, "provider-work"),
    ("moves", MoveViewSet, "move"),
    ("rotations", RotationViewSet, "rotation"),
    ("seals", RootSealViewSet, "seal"),
    ("stores", StoreViewSet, "store"),
    ("census", CensusViewSet, "census"),
    ("advisor", AdvisorViewSet, "advisor"),
]
