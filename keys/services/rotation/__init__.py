"""Rotation: three phases as one state machine. Introduce, re-encrypt, decommission."""

from keys.services.rotation.control import (
    cancel,
    decide_failed,
    give_up_open,
    open_items,
    pause,
    resume,
    retry_failed,
    throttle,
)
from keys.services.rotation.ending import cancel_decommission, consequences, request_decommission, tick_completions
from keys.services.rotation.estimates import Estimate, dry_run
from keys.services.rotation.schedule import tick_schedules
from keys.services.rotation.starting import (
    refuse_while_moving,
    request_rotation,
    rotate_compromised,
    settle,
    take_into_use,
    tick_introductions,
)

__all__ = [
    "Estimate", "cancel", "cancel_decommission", "consequences", "decide_failed", "dry_run",
    "give_up_open", "open_items", "pause",
    "refuse_while_moving", "request_decommission", "request_rotation", "resume", "retry_failed", "rotate_compromised",
    "settle", "take_into_use", "throttle", "tick_completions", "tick_introductions", "tick_schedules",
]  # fmt: skip
