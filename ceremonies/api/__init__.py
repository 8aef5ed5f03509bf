"""REST of ceremonies: plans and minutes, the room, the custody register, scripts. No share is ever here in clear."""

from ceremonies.api.custody import ShareSetViewSet, ShareViewSet
from ceremonies.api.plans import CeremonyViewSet
from ceremonies.api.scripts import ScriptViewSet

router_entries = (
    ("ceremonies", CeremonyViewSet, "ceremony"), ("ceremony-scripts", ScriptViewSet, "ceremony-script"),
    ("share-sets", ShareSetViewSet, "share-set"), ("shares", ShareViewSet, "share"),
)  # fmt: skip
