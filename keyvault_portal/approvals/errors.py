"""What can be wrong with a decision, each with a stable code."""

from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed


class NeedsMoreAgreement(Conflict):
    code, title = "more_agreement_needed", "What was agreed to needs further agreement"


class AlreadyDecided(Conflict):
    code, title = "already_decided", "This request is decided already"


class RequestExpired(Conflict):
    code, title = "approval_expired", "This request has expired"


class ActChanged(Conflict):
    code, title = "act_changed", "The target changed since this act was agreed to"


class DecidedTwice(Conflict):
    code, title = "already_counted", "You have decided on this request before"


class SelfApproval(PermissionRefused):
    code, title = "self_approval", "Nobody approves an own request"


class NotEligible(PermissionRefused):
    code, title = "not_eligible", "Your agreement does not count here"


class SecondFactorNeeded(PermissionRefused):
    code, title = "second_factor_required", "Sign in with a second factor first"


class SignatureNeeded(PermissionRefused):
    code, title = "signature_required", "Your own signature is asked for"


class SignatureRefused(PermissionRefused):
    code, title = "signature_refused", "The signature is not accepted"


class QuorumUnreachable(ValidationFailed):
    code, title = "quorum_unreachable", "Too few people could agree"
