"""What goes wrong at a provider, in the portal's words; and the errors of `keys.crypto` turned into them."""

from collections.abc import Iterator
from contextlib import contextmanager

from keys.crypto.errors import CryptoError, DecryptFailed, InvalidKey, LimitExceeded, MalformedEnvelope
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, TooLarge


class OperationUnsupported(PortalError):
    """The provider, or the algorithm's row, does not do this."""

    status, code, title = 422, "operation_unsupported", "The key cannot do this"


class ProviderThrottled(ProviderUnavailable):
    """The provider is there and asks for patience; a later try succeeds."""

    code, title = "provider_throttled", "The key provider asks to slow down"


class CredentialsRefused(ProviderUnavailable):
    """The provider does not accept who we say we are; trying again does not help before somebody acts."""

    code, title = "provider_credentials_refused", "The key provider refuses the portal's credentials"


class KeyMissing(PortalError):
    """The provider knows no such key: deleted behind our back, or another account."""

    status, code, title = 409, "provider_key_missing", "The key provider does not know this key"


class KeyUnusable(PortalError):
    """The provider knows the key and its state forbids the use: disabled, or waiting for deletion."""

    status, code, title = 409, "provider_key_unusable", "The key provider refuses to use this key"


class ProviderFault(PortalError):
    """The provider answered with something it should never answer: damaged material, a wrong length."""

    status, code, title = 500, "provider_fault", "The key provider failed"


@contextmanager
def portal_errors() -> Iterator[None]:
    """Turn the errors of `keys.crypto` into the portal's; decryption failures lose their cause on purpose."""
    try:
        yield
    except CryptoError as error:
        raise portal_error(error) from None


def portal_error(error: CryptoError) -> PortalError:
    """What `portal_errors` raises for `error`; for calls so many that a context manager would show."""
    match error:
        case DecryptFailed() | MalformedEnvelope():
            return DecryptRefused()
        case LimitExceeded():
            return TooLarge(str(error))
        case InvalidKey():
            return ProviderFault("The key's material is damaged or of the wrong size.")
    return OperationUnsupported(str(error))
