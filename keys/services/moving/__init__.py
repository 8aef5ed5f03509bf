"""Moving a key from one provider to another without downtime: make, wrap twice, compare, switch, re-wrap, drop.

A move is a new version of the same key at another place. Up to the switch the old version does all the work
(`requesting`, `steps`); after it the walk of a rotation brings over what stands on it, and everything is sealed at both
places until the old version is dropped (`switching`, and `keys.services.two_places` for why that loses nothing).
"""

from keys.services.moving.control import drop_old, keep_old, pause_move, resume_move, throttle_move, undo_move
from keys.services.moving.offers import Estimate, Offer, consequences, dead_copies, dry_run, movable, places_for
from keys.services.moving.requesting import request_move
from keys.services.moving.steps import advance, due
from keys.services.moving.switching import follow, follow_rotation, lagging

__all__ = [
    "Estimate",
    "Offer",
    "advance",
    "consequences",
    "dead_copies",
    "drop_old",
    "dry_run",
    "due",
    "follow",
    "follow_rotation",
    "keep_old",
    "lagging",
    "movable",
    "pause_move",
    "places_for",
    "request_move",
    "resume_move",
    "throttle_move",
    "undo_move",
]  # fmt: skip
