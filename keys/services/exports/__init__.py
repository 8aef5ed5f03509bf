"""Keys given out: always wrapped, only where their policy lets them go, and written down for ever."""

from keys.services.exports.requesting import consequences, request_export, withdraw_exportability
from keys.services.exports.wrapping import collect_export, erase_export, tick_exports, wrap_export

__all__ = [
    "collect_export", "consequences", "erase_export", "request_export", "tick_exports", "withdraw_exportability", "wrap_export",
]  # fmt: skip
