"""From what AWS and its library say to the portal's errors: here and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore import exceptions
from botocore.parsers import ResponseParserError

from keys.providers.base import (
    CredentialsRefused,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
)
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, ValidationFailed

_CODES: dict[type[PortalError], frozenset[str]] = {
    KeyMissing: frozenset({"NotFoundException"}),
    KeyUnusable: frozenset({"DisabledException", "KMSInvalidStateException", "ExpiredImportTokenException"}),
    OperationUnsupported: frozenset({"UnsupportedOperationException", "InvalidKeyUsageException"}),
    ProviderThrottled: frozenset(
        {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "SlowDown"}
    ),
    CredentialsRefused: frozenset(
        {
            "AccessDeniedException", "AccessDenied", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
            "InvalidClientTokenId", "InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
            "NotAuthorized", "NotAuthorizedException", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException",
            "RequestExpired", "RequestTimeTooSkewed",
        }
    ),
    ProviderUnavailable: frozenset(
        {"KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure", "ServiceUnavailable"}
    ),
}  # fmt: skip
_BY_CODE = {code: error for error, codes in _CODES.items() for code in codes}
# AWS General Reference, Signature Version 4: a signature is good for five minutes around AWS's own time.
_CLOCK_CODES = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_CLOCK_WORDS = ("Signature expired", "Signature not yet current")
_REFUSED_CIPHERTEXT = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
)


def error_code(error: exceptions.ClientError) -> str:
    """The service's own name of its error, empty if it gave none."""
    return str(error.response.get("Error", {}).get("Code", "")).rpartition("#")[2]


@contextmanager
def aws_errors(*, decrypting: bool = False) -> Iterator[None]:
    """Raise the portal's errors instead of the library's; never quotes the library, whose text may hold what was sent."""
    try:
        yield
    except exceptions.ClientError as error:
        raise _portal_error(error, decrypting) from None
    except _NO_CREDENTIALS:
        raise CredentialsRefused(
            "The portal has no credentials for AWS.", hint="Give the machine a role, or register an access key."
        ) from None
    except exceptions.ParamValidationError:
        raise ProviderFault("A value does not have the form that AWS KMS asks for.") from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError, ResponseParserError) as error:
        # One family holds refused connections, time-outs, broken TLS and answers that are none; and, wrapped, what the
        # host rule said while connecting.
        inner = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, PortalError):
            raise inner from None
        raise ProviderUnavailable("AWS KMS does not answer.") from None
    except exceptions.BotoCoreError:
        raise ValidationFailed(
            "The AWS library refuses these settings.", hint="Check region, profile and role."
        ) from None


def _portal_error(error: exceptions.ClientError, decrypting: bool) -> PortalError:
    code, status = error_code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _REFUSED_CIPHERTEXT or (decrypting and (code == "ValidationException" or _foreign(error))):
        return DecryptRefused()
    if found := _BY_CODE.get(code):
        return _wrong_clock() if _about_time(error) else found()
    if status == 429:
        return ProviderThrottled()
    if status >= 500:
        return ProviderUnavailable()
    if status in {401, 403}:
        return CredentialsRefused()
    return ProviderFault("AWS KMS refused the request.", hint=f"Its word for it: {code[:60]}" if code.isalnum() else "")


def _about_time(error: exceptions.ClientError) -> bool:
    return error_code(error) in _CLOCK_CODES or any(word in str(error) for word in _CLOCK_WORDS)


def _wrong_clock() -> PortalError:
    return CredentialsRefused(
        "AWS refuses requests signed at the time that this machine's clock shows.",
        hint="Set the clock: AWS allows five minutes.",
    )


def _foreign(error: exceptions.ClientError) -> bool:
    """KMS denies access to a ciphertext that names no key of ours (after tampering too); denied rights say "not authorized"."""
    return error_code(error) == "AccessDeniedException" and "not authorized" not in str(error)
