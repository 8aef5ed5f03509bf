"""From what the server and its library say to the portal's errors: here and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from hvac import exceptions

from keys.providers.base import (
    CredentialsRefused,
    KeyMissing,
    KeyUnusable,
    OperationUnsupported,
    ProviderFault,
    ProviderThrottled,
)
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable

# A key type that no server knows: sent along with data, it keeps the engine from making a key that is not there.
NO_SUCH_TYPE = "existing-keys-only"

# The engine answers 400 to all of these; only its words tell them apart.
_WORDS: tuple[tuple[str, type[PortalError]], ...] = (
    (f"unknown key type {NO_SUCH_TYPE}", KeyMissing),
    ("key not found", KeyMissing),
    ("no such key version", KeyMissing),
    ("higher than the latest key version", KeyMissing),
    ("key version does not exist", KeyMissing),
    ("version is too new", KeyMissing),
    ("too old", KeyUnusable),
    ("less than the minimum", KeyUnusable),
    ("soft-deleted", KeyUnusable),
    ("missing client token", CredentialsRefused),
    ("invalid role or secret ID", CredentialsRefused),
    ("invalid secret id", CredentialsRefused),
)

_KINDS: tuple[tuple[type[exceptions.VaultError], type[PortalError]], ...] = (
    (exceptions.Forbidden, CredentialsRefused),
    (exceptions.Unauthorized, CredentialsRefused),
    (exceptions.RateLimitExceeded, ProviderThrottled),
    (exceptions.InvalidPath, KeyMissing),
)


_UNOPENED = ("ciphertext", "decrypt", "unwrap", "crypto/rsa")


@contextmanager
def vault_errors(*, decrypting: bool = False) -> Iterator[None]:
    """Raise the portal's errors instead of the library's; never quotes the server, whose words may hold what was sent."""
    try:
        yield
    except exceptions.VaultError as error:
        raise _portal_error(error, decrypting) from None
    except (requests.ConnectionError, requests.Timeout):
        raise ProviderUnavailable("The server of the transit engine does not answer.") from None
    except (OSError, ValueError):  # broken HTTP or JSON, and a certificate authority's file that is none
        raise ProviderUnavailable("The server of the transit engine gives no answer that can be read.") from None


def _portal_error(error: exceptions.VaultError, decrypting: bool) -> PortalError:
    said = " ".join(map(str, error.errors or []))
    if isinstance(error, exceptions.InvalidRequest):
        return _of_words(said, decrypting)
    if decrypting and isinstance(error, exceptions.InternalServerError) and any(word in said for word in _UNOPENED):
        return DecryptRefused()  # an import says 500, where the other operations say 400
    if isinstance(error, exceptions.UnexpectedError) and "unsupported" in said:  # 405 has no class of its own
        return OperationUnsupported("The server does not know this call.")
    if isinstance(error, exceptions.VaultDown | exceptions.VaultNotInitialized):
        return ProviderUnavailable("The server is sealed, or not ready.", hint="Unseal it, then try again.")
    return next((kind() for cause, kind in _KINDS if isinstance(error, cause)), ProviderUnavailable())


def _of_words(said: str, decrypting: bool) -> PortalError:
    for words, kind in _WORDS:
        if words in said:
            return kind()
    return DecryptRefused() if decrypting else ProviderFault("The transit engine refused the request.")
