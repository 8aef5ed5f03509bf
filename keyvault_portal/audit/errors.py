"""What can go wrong with the record itself."""

from typing import Self

from keyvault_portal.errors import Conflict, PortalError


class AuditUnavailable(PortalError):
    """The act cannot be recorded, therefore it is not done."""

    status, code, title = 503, "audit_unavailable", "The audit record cannot be written"

    @classmethod
    def because_of(cls, cause: BaseException) -> Self:
        """An error of its own for one of the threads that waited for the same write: each adds its own traceback."""
        own = cls(cause.detail if isinstance(cause, AuditUnavailable) else "")
        own.__cause__ = cause
        return own


class Overtaken(Conflict):
    """What the act was decided on has changed since; nothing was written."""

    code, title = "overtaken", "Somebody else changed this in the meantime"

    def __init__(self) -> None:
        super().__init__(hint="Try again.")
