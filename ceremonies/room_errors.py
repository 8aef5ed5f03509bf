"""What can go wrong in the room, each with a stable code."""

from keyvault_portal.errors import Conflict, NotFound, PermissionRefused, ValidationFailed


class NotInTheRoom(NotFound):
    code, title = "not_in_the_room", "There is no such ceremony for you"


class NotYours(PermissionRefused):
    code, title = "not_your_part", "This part is somebody else's"


class PlanImpossible(ValidationFailed):
    code, title = "plan_impossible", "This plan cannot be held"


class ScriptRefused(ValidationFailed):
    code, title = "script_refused", "This script cannot be held"


class ClockChanged(Conflict):
    code, title = "clock_changed", "The clock changed during the ceremony"


class QuorumLost(Conflict):
    code, title = "quorum_unreachable", "Too few share holders are left"


class AlreadyDone(Conflict):
    code, title = "already_done", "This is done already"


class CodeRefused(PermissionRefused):
    code, title = "code_refused", "This code is not accepted"


class RehearsalNeeded(Conflict):
    code, title = "rehearsal_needed", "This script must be rehearsed first"
