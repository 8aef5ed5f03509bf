"""What can go wrong with the record itself."""

from keyvault_portal.errors import Conflict, PortalError


class AuditUnavailable(PortalError):
    """The act cannot be recorded, therefore it is not done."""

    status, code, title = 503, "audit_unavailable", "The audit record cannot be written"


class Overtaken(Conflict):
    """What the act was decided on has changed since; nothing was written."""

    code, title = "overtaken", "Somebody else changed this in the meantime"

    def __init__(self) -> None:
        super().__init__(hint="Try again.")
