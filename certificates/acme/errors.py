"""Errors that ACME clients read (RFC 8555, 6.7), as members of our one family."""

from typing import Any

from keyvault_portal.errors import PortalError

PREFIX = "urn:ietf:params:acme:error:"

# What RFC 8555 and RFC 9773 say, or else what a client can act on.
_STATUS = {
    "accountDoesNotExist": 400, "alreadyReplaced": 409, "alreadyRevoked": 400, "badCSR": 400, "badNonce": 400, "badPublicKey": 400,
    "badRevocationReason": 400, "badSignatureAlgorithm": 400, "caa": 403, "connection": 400, "dns": 400, "externalAccountRequired": 403,
    "incorrectResponse": 403, "invalidContact": 400, "invalidProfile": 400, "malformed": 400, "orderNotReady": 403, "rateLimited": 429,
    "rejectedIdentifier": 400, "serverInternal": 500, "tls": 400, "unauthorized": 403, "unsupportedContact": 400,
    "unsupportedIdentifier": 400, "userActionRequired": 403,
}  # fmt: skip


class AcmeError(PortalError):
    """One error of the protocol: `kind` is the end of its URN, `extra` further members of the problem document."""

    title = "The ACME request is refused"

    def __init__(self, kind: str, detail: str, *, status: int | None = None, **extra: Any) -> None:
        self.kind = kind
        self.status, self.code = status or _STATUS[kind], f"acme_{kind}"  # type: ignore[misc]
        super().__init__(detail, **extra)

    def document(self) -> dict[str, Any]:
        """The problem document (RFC 7807) as the protocol sends and the rows keep it."""
        return {"type": PREFIX + self.kind, "detail": self.detail, "status": self.status} | self.extra


def malformed(detail: str, *, status: int = 400) -> AcmeError:
    return AcmeError("malformed", detail, status=status)
