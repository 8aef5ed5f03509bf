"""One connection to Cloud KMS: credentials, time-outs, and the one place where its errors become the portal's."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google.auth
import google_crc32c
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceRestTransport
from google.oauth2 import service_account
from google.protobuf.json_format import ParseError

from keys.crypto.secret import SecretBytes
from keys.providers.addresses import service_address
from keys.providers.base import CredentialsRefused, KeyMissing, KeyUnusable, ProviderFault, ProviderThrottled
from keyvault_portal.errors import DecryptRefused, PortalError, ProviderUnavailable, ValidationFailed

SCOPE = "https://www.googleapis.com/auth/cloudkms"
HOSTS = ("*.googleapis.com",)


class Connection:
    """Calls of one key service; thread-safe, opened at the first call.

    The library repeats nothing by itself: how often and when a call is tried again is the portal's to decide.
    """

    def __init__(self, endpoint: str, credentials: SecretBytes | None, timeout: float) -> None:
        self._endpoint = endpoint
        self._given = credentials
        self._timeout = timeout
        self._lock = threading.Lock()
        self._client: KeyManagementServiceClient | None = None
        self.identity = ""

    def call(self, method: str, request: dict[str, Any], *, opening: bool = False) -> Any:
        """One round trip; with `opening`, a refused argument is a refused decryption."""
        with gcp_errors(opening=opening):
            return getattr(self._opened(), method)(request=request, retry=None, timeout=self._timeout)

    def pages(self, method: str, request: dict[str, Any]) -> Iterator[Any]:
        """Every item of a listing, fetched page by page."""
        with gcp_errors():
            yield from getattr(self._opened(), method)(request=request, retry=None, timeout=self._timeout)

    def _opened(self) -> KeyManagementServiceClient:
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._open()
        return self._client

    def _open(self) -> KeyManagementServiceClient:
        credentials = self._credentials()
        self.identity = getattr(credentials, "service_account_email", "") or ""
        transport = KeyManagementServiceRestTransport(
            host=self._endpoint, credentials=credentials, always_use_jwt_access=True
        )
        return KeyManagementServiceClient(transport=transport)

    def _credentials(self) -> Credentials:
        if self._given is None:
            found, _ = google.auth.default(scopes=[SCOPE])
            return found
        try:
            return service_account.Credentials.from_service_account_info(
                json.loads(self._given.reveal()), scopes=[SCOPE]
            )
        except (ValueError, KeyError, TypeError):
            raise CredentialsRefused("The service account's key cannot be read.", hint="Store it again.") from None


def checked_account(text: str, hosts: tuple[str, ...] = HOSTS) -> SecretBytes:
    """The JSON key of a service account, fit to keep; raises ValidationFailed, which quotes nothing of it.

    The file names the address that hands out tokens: only Google's is taken, lest a crafted file send the portal
    elsewhere.
    """
    try:
        info = json.loads(text)
        kind, token_address = info["type"], info["token_uri"]
        universe = info.get("universe_domain", "googleapis.com")
    except (ValueError, KeyError, TypeError, AttributeError):
        kind, token_address, universe = "", "", ""
    if kind != "service_account" or universe != "googleapis.com":
        message = "This is not the JSON key of a service account."
        raise ValidationFailed(message, errors={"credentials": [message]})
    address, _, _path = str(token_address).removeprefix("https://").partition("/")
    service_address(f"https://{address}", hosts, field="credentials")
    return SecretBytes(text.encode())


@contextmanager
def gcp_errors(*, opening: bool = False) -> Iterator[None]:
    """Name every failure of the library in the portal's words; its own text may quote a request and is dropped."""
    try:
        yield
    except GoogleAPICallError as error:
        raise _translated(int(error.code or 0), _status(error), opening) from None
    except (TransportError, requests.RequestException):
        raise ProviderUnavailable from None
    except GoogleAuthError:
        raise CredentialsRefused(hint="Check the service account, or the identity of this machine.") from None
    except ParseError:
        raise ProviderFault("The key service gave an answer that cannot be read.") from None


def _status(error: GoogleAPICallError) -> str:
    """The canonical name of the error; the library keeps the HTTP code only, under which two causes share 400."""
    try:
        return str(error.response.json()["error"]["status"])  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        return ""


def _translated(code: int, status: str, opening: bool) -> PortalError:
    if status == "FAILED_PRECONDITION":
        return KeyUnusable()
    if code == 400 and opening:
        return DecryptRefused()
    if code == 401:  # Google says no more than that
        return CredentialsRefused(
            hint="Check the service account, and the clock of this machine: tokens carry the time."
        )
    if code == 403:
        return CredentialsRefused(hint="Check the roles of the portal's identity in Cloud KMS.")
    if code >= 500:
        return ProviderUnavailable()
    known = {404: KeyMissing, 429: ProviderThrottled}.get(code)
    return known() if known else ProviderFault(f"The key service refuses the request with the status {code}.")


def crc32c(data: bytes) -> int:
    return int(google_crc32c.value(data))


def arrived(*acknowledged: bool) -> None:
    """Raise ProviderFault unless the service confirms the checksums of what it was sent."""
    if not all(acknowledged):
        raise ProviderFault("The key service received something else than was sent.")


def intact(data: bytes, checksum: int | None) -> bytes:
    """The data of an answer; raises ProviderFault unless its checksum agrees."""
    if checksum is None or crc32c(data) != checksum:
        raise ProviderFault("The key service's answer was damaged on its way.")
    return data
