"""What a ceremony refuses, each with a code of its own, so that the room can say which share and why."""

from keyvault_portal.errors import Conflict, PortalError, Throttled, ValidationFailed


class ShareRefused(ValidationFailed):
    """Words that are no share, or not the share asked for; never says which word."""

    code, title = "share_refused", "This share cannot be taken"


class ShareMistyped(ShareRefused):
    code, title = "share_mistyped", "These words are not a share"


class ShareOfAnotherSet(ShareRefused):
    code, title = "share_of_another_set", "This share belongs to another set"


class ShareOfOldGeneration(ShareRefused):
    code, title = "share_of_old_generation", "This share belongs to a generation that has ended"


class ShareUnknown(ShareRefused):
    code, title = "share_unknown", "This share is not the one that was handed out"


class ShareOfAnotherPerson(ShareRefused):
    code, title = "share_of_another_person", "This share was handed to somebody else"


class SealedWrongly(ShareRefused):
    """Not encrypted to this ceremony's key for this step by this custodian; one error whatever differs."""

    code, title = "sealed_wrongly", "This was not sealed for this ceremony, step and custodian"


class SplitRefused(ValidationFailed):
    code, title = "split_refused", "The secret cannot be split in this way"


class PackageRefused(ValidationFailed):
    code, title = "package_refused", "The escrow package cannot be used"


class ShareGivenAlready(Conflict):
    code, title = "share_given_already", "This share was given already"


class ShareShownAlready(Conflict):
    code, title = "share_shown_already", "This share was shown already"


class AttemptOver(Conflict):
    code, title = "attempt_over", "This attempt is over"


class SessionOver(Conflict):
    code, title = "session_over", "The ceremony process holds nothing of this ceremony"


class SessionOpen(Conflict):
    code, title = "session_open", "The ceremony process has begun this ceremony already"


class NotReady(Conflict):
    code, title = "not_ready", "Something else must happen first"


class QuorumMissing(Conflict):
    code, title = "quorum_missing", "Not enough shares were given"


class SecretNotRecovered(ShareRefused):
    """The shares, or the passphrase, make another secret than the one that was split."""

    code, title = "secret_not_recovered", "These shares together do not recover the secret"


class TooManyTries(Throttled):
    code, title = "too_many_tries", "Too many wrong tries"


class ProcessUnavailable(PortalError):
    status, code, title = 503, "ceremony_process_unavailable", "The ceremony process does not answer"
