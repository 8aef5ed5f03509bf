"""What can go wrong with the record itself."""

from keyvault_portal.errors import PortalError


class AuditUnavailable(PortalError):
    """The act cannot be recorded, therefore it is not done."""

    status, code, title = 503, "audit_unavailable", "The audit record cannot be written"
