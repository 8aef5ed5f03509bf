"""The way to a server: which one, as whom, and again when its token has run out."""

import os
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import requests
from hvac import exceptions
from urllib3.util import Retry

from keys.hosts import HostRule
from keys.providers.base import CredentialsRefused
from keys.providers.pinned_requests import PinnedAdapter
from keys.providers.vault_transit.errors import vault_errors
from keyvault_portal.errors import ProviderUnavailable

_TOKEN = re.compile(r"(s|b|r|hvs|hvb|hvr)\.[A-Za-z0-9._-]{10,1000}")


@dataclass(frozen=True)
class Identity:
    """Who the portal is to the server: a token, a file that an agent keeps fresh, or an AppRole."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    role_id: str = ""
    secret_id: str = field(default="", repr=False)
    approle_mount: str = "approle"

    @property
    def renewable(self) -> bool:
        return bool(self.token_file or self.role_id)

    def sign_in(self, client: Any) -> str:
        """A token; raises CredentialsRefused if there is none to have."""
        if self.token_file:
            return _token_of(Path(self.token_file))
        if self.role_id:
            with vault_errors():
                answer = client.auth.approle.login(
                    self.role_id, self.secret_id or None, use_token=False, mount_point=self.approle_mount
                )
            return str(answer["auth"]["client_token"])
        return self.token


def _token_of(file: Path) -> str:
    """Only what has the form of a token ever leaves: another file's content is nothing for the server."""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise CredentialsRefused("The file with the server's token cannot be read.") from None
    if not _TOKEN.fullmatch(token):
        raise CredentialsRefused("The file holds no token of Vault or OpenBao.")
    return token


@dataclass
class Connection:
    """One engine on one server; safe for threads, and for processes that fork."""

    address: str
    mount: str
    namespace: str
    identity: Identity
    ca_file: str
    timeout: float
    rule: HostRule
    _client: tuple[int, Any] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def call(self, method: str, path: str, *, decrypting: bool = False, **body: Any) -> dict[str, Any]:
        """Call the engine and return the answer's data; raises the errors of `vault_errors`."""
        return self.request(method, f"{self.mount}/{path}", decrypting=decrypting, **body)

    def request(self, method: str, path: str, *, decrypting: bool = False, **body: Any) -> dict[str, Any]:
        """The same for any path; a token that has run out is replaced once."""
        client = self._signed_in()
        with vault_errors(decrypting=decrypting):
            try:
                answer = client.adapter.request(method, f"/v1/{path}", json=body)
            except exceptions.Forbidden:
                if not self.identity.renewable:
                    raise
                answer = self._signed_in(instead_of=client).adapter.request(method, f"/v1/{path}", json=body)
        if isinstance(answer, dict):
            data: dict[str, Any] = answer.get("data") or {}
            return data
        # hvac hands back what is not JSON; a redirect would carry the token to an address nobody has checked.
        if answer.status_code >= 300:
            raise ProviderUnavailable("The server sends the portal elsewhere.", hint="Register the active server.")
        return {}

    def _signed_in(self, instead_of: Any = None) -> Any:
        found = self._client
        if found is None or found[0] != os.getpid() or found[1] is instead_of:
            with self._lock:
                found = self._client
                if found is None or found[0] != os.getpid() or found[1] is instead_of:
                    found = self._client = (os.getpid(), self._connect())
        return found[1]

    def __post_init__(self) -> None:
        self.rule.check_early(self.address)

    def _connect(self) -> Any:
        session = requests.Session()
        # Tried again only when no connection was made, so that nothing happens twice.
        retry = Retry(total=None, connect=1, read=0, redirect=0, status=0, other=0, backoff_factor=0.1)
        session.mount("http://", PinnedAdapter(self.rule, pool_maxsize=32, max_retries=retry))
        session.mount("https://", PinnedAdapter(self.rule, pool_maxsize=32, max_retries=retry))
        session.verify = self.ca_file or True
        client = hvac.Client(
            url=self.address,
            token="",
            verify=self.ca_file or True,
            timeout=self.timeout,
            allow_redirects=False,
            session=session,
            namespace=self.namespace or None,
        )
        client.token = self.identity.sign_in(client)
        return client
