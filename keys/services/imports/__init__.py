"""Keys made elsewhere, brought here wrapped or in components; what opens an import and what ends it is in modules of their own."""

from keys.services.imports.bringing import why_not_brought_to
from keys.services.imports.components import compare_component, enter_component, hand_in_component, may_enter
from keys.services.imports.ending import abort_import, give_offer_back, tick_imports
from keys.services.imports.opening import open_import, open_import_of_new_key
from keys.services.imports.receiving import MOST_BYTES, finish_import, receive_upload

__all__ = [
    "MOST_BYTES",
    "abort_import",
    "compare_component",
    "enter_component",
    "finish_import",
    "give_offer_back",
    "hand_in_component",
    "may_enter",
    "open_import",
    "open_import_of_new_key",
    "receive_upload",
    "tick_imports",
    "why_not_brought_to",
]  # fmt: skip
