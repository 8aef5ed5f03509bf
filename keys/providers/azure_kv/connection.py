"""One connection to a vault: credentials, time-outs, and the one place where its errors become the portal's."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient

from keys.crypto.secret import SecretBytes
from keys.providers.base import (
    CredentialsRefused,
    KeyMissing,
    KeyUnusable,
    ProviderFault,
    ProviderThrottled,
)
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable

_KEY = re.compile(r"/keys/([0-9A-Za-z-]{1,127})/([0-9a-f]{32})")

# The options that requests for tokens share with those to the vault.
_TIMING = ("connection_timeout", "read_timeout", "retry_total", "connection_verify")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the portal is in Entra ID; the secret is for an application only, machines have their own identity."""

    kind: str
    tenant_id: str = ""
    client_id: str = ""
    secret: SecretBytes | None = None


class Connection:
    """Calls of one vault; thread-safe, opened at the first call.

    The library repeats nothing by itself: how often and when a call is tried again is the portal's to decide.
    `options` reach every request of the library, those for tokens too.
    """

    def __init__(
        self, vault: str, identity: Identity, timeout: float, options: dict[str, Any], login: dict[str, Any]
    ) -> None:
        self.vault = vault
        self.identity = identity
        self._options = {"connection_timeout": timeout, "read_timeout": timeout, "retry_total": 0, **options}
        self._login = login
        self._lock = threading.Lock()
        self._client: KeyClient | None = None
        self.crypto = lru_cache(maxsize=1024)(self._crypto)

    def call(self, act: Callable[[KeyClient], Any], *, opening: bool = False) -> Any:
        """One act of the client; with `opening`, a refused argument is a refused decryption."""
        with azure_errors(opening=opening):
            return act(self._opened())

    def pages(self, act: Callable[[KeyClient], Any]) -> Iterator[Any]:
        """Every item of a listing, fetched page by page."""
        with azure_errors():
            yield from act(self._opened())

    def named(self, opaque: str) -> tuple[str, str]:
        """Name and version of a key identifier of this vault; raises KeyMissing for any other address."""
        found = _KEY.fullmatch(opaque.removeprefix(self.vault)) if opaque.startswith(self.vault) else None
        if found is None:
            raise KeyMissing
        return found[1], found[2]

    def work(self, opaque: str, act: Callable[[CryptographyClient], Any], *, opening: bool = False) -> Any:
        """Use a key; raises KeyUnusable for one that waits in the vault's bin."""
        name, version = self.named(opaque)
        try:
            with azure_errors(opening=opening):
                return act(self.crypto(name, version))
        except KeyMissing:
            if self.deleted(name) is not None:
                raise KeyUnusable from None
            raise

    def deleted(self, name: str) -> Any:
        """The key in the vault's bin, or None."""
        try:
            return self.call(lambda client: client.get_deleted_key(name))
        except KeyMissing:
            return None

    def _crypto(self, name: str, version: str) -> CryptographyClient:
        client = self._opened().get_cryptography_client(name, key_version=version)
        # Left to itself the client fetches the key's public half in order to work locally. For a symmetric key in an
        # HSM there is none, and the library then wraps under a random key of its own (azure-keyvault-keys 4.11).
        client._initialized = True
        return client

    def _opened(self) -> KeyClient:
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = KeyClient(self.vault, self._credential(), **self._options)
        return self._client

    def _credential(self) -> TokenCredential:
        who, timing = self.identity, {name: value for name, value in self._options.items() if name in _TIMING}
        named = {name: value for name, value in (("tenant_id", who.tenant_id), ("client_id", who.client_id)) if value}
        try:
            if who.kind == "client_secret":
                secret = who.secret.reveal().decode() if who.secret else ""
                return ClientSecretCredential(who.tenant_id, who.client_id, secret, **self._login, **timing)
            if who.kind == "workload_identity":
                return WorkloadIdentityCredential(**named, **timing)
            return ManagedIdentityCredential(client_id=who.client_id or None, **timing)
        except ValueError:
            raise CredentialsRefused(
                "This machine has no such identity.", hint="Give it one, or use a client secret."
            ) from None


@contextmanager
def azure_errors(*, opening: bool = False) -> Iterator[None]:
    """Name every failure of the library in the portal's words; its own text may quote a request and is dropped."""
    try:
        yield
    except ClientAuthenticationError:
        raise CredentialsRefused(hint="Check the portal's identity in Entra ID, and its secret.") from None
    except ResourceNotFoundError:
        raise KeyMissing from None
    except HttpResponseError as error:
        raise _translated(error.status_code or 0, _reason(error), opening) from None
    except AzureError:
        raise ProviderUnavailable from None
    except (ValueError, NotImplementedError):
        raise ProviderFault("The vault gave an answer that does not fit its address.") from None


def _reason(error: HttpResponseError) -> str:
    """The vault's inner code, such as KeyDisabled or ForbiddenByRbac: both come with the status 403."""
    try:
        told = json.loads(error.response.text())["error"]  # type: ignore[union-attr]
        return str({name.lower(): value for name, value in told.items()}["innererror"]["code"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def _translated(code: int, reason: str, opening: bool) -> PortalError:
    if code == 409 or (code == 403 and reason.startswith("Key")):
        return KeyUnusable()
    if code == 400 and opening:
        return DecryptRefused()
    if code in {401, 403}:
        return CredentialsRefused(hint="Check the roles of the portal's identity in the vault.")
    if code >= 500:
        return ProviderUnavailable()
    return (
        ProviderThrottled() if code == 429 else ProviderFault(f"The vault refuses the request with the status {code}.")
    )
