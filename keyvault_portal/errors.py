"""One family of errors for services, pages, REST, data plane and commands; `edges` renders it."""

from typing import Any, ClassVar


class PortalError(Exception):
    """Something the caller can be told: a stable code, a sentence, and what to do next.

    `detail` says what is wrong with this request, `hint` what the person may do about it; neither ever
    holds a secret. `extra` is machine-readable context that the renderers include as it is.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    title: ClassVar[str] = "The request cannot be served"

    def __init__(self, detail: str = "", *, hint: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.hint = hint
        self.extra = extra


class NotAuthenticated(PortalError):
    status, code, title = 401, "not_authenticated", "Sign in first"


class PermissionRefused(PortalError):
    status, code, title = 403, "permission_refused", "You may not do this"


class NotFound(PortalError):
    status, code, title = 404, "not_found", "There is no such thing"


class Conflict(PortalError):
    status, code, title = 409, "conflict", "The present state does not allow this"


class WrongState(Conflict):
    code, title = "wrong_state", "The present state does not allow this"


class LimitExceeded(Conflict):
    code, title = "use_limit_exceeded", "The key has reached its safe limit of uses"


class ValidationFailed(PortalError):
    status, code, title = 422, "validation_failed", "Some values are not acceptable"

    def __init__(self, detail: str = "", *, errors: dict[str, list[str]] | None = None, hint: str = "") -> None:
        super().__init__(detail, hint=hint, errors=errors or {})
        self.errors = errors or {}


class DecryptRefused(PortalError):
    """Deliberately says nothing about the cause: a decryption oracle starts with a helpful error."""

    code, title = "decrypt_failed", "Decryption failed"

    def __init__(self) -> None:
        super().__init__(self.title)


class TooLarge(PortalError):
    status, code, title = 413, "too_large", "The request is too large"


class Throttled(PortalError):
    status, code, title = 429, "throttled", "Too many requests"


class ProviderUnavailable(PortalError):
    status, code, title = 503, "provider_unavailable", "The key provider does not answer"


class StoreUnavailable(PortalError):
    status, code, title = 503, "store_unavailable", "The data store does not answer"


class DatabaseUnavailable(PortalError):
    status, code, title = 503, "database_unavailable", "The portal's own database does not answer"


class DatabaseUnprepared(PortalError):
    status, code, title = 503, "database_unprepared", "The database is not prepared for this release"


class Sealed(PortalError):
    status, code, title = 503, "sealed", "The portal is sealed"


class ApprovalRequired(PortalError):
    """Not a failure: the act waits for agreement; `request_id` is the approval to follow."""

    status, code, title = 202, "approval_required", "Other people must agree first"

    def __init__(self, request_id: Any, detail: str = "") -> None:
        super().__init__(detail, request_id=str(request_id))
        self.request_id = request_id
