"""Keys given out: wrapped, or into a file of this machine, only where their policy lets them go, and written down for ever."""

from keys.services.exports.deploying import release_for_deployment
from keys.services.exports.giving import why_no_escrow, why_not
from keys.services.exports.requesting import consequences, request_export, withdraw_exportability
from keys.services.exports.wrapping import collect_export, erase_export, tick_exports, wrap_export

__all__ = [
    "collect_export", "consequences", "erase_export", "release_for_deployment", "request_export", "tick_exports",
    "why_no_escrow",
    "why_not", "withdraw_exportability", "wrap_export",
]  # fmt: skip
