"""Acts of authorities that others must agree to: two security officers, or as many as there are besides whoever asks."""

from keyvault_portal.approvals.services import need_officers
from keyvault_portal.approvals.services import officers_needed as needed_on

__all__ = ["POLICY_VERSION", "need_officers", "needed_on"]
POLICY_VERSION = "1"
