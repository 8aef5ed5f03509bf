"""HTTP to addresses that people typed or an ACME CA named: pinned to what the host rule allowed, no redirects, small answers."""

import ssl
from typing import Any, ClassVar

import requests
from django.conf import settings

from keys.hosts import HostRule
from keys.providers.pinned_requests import PinnedAdapter
from keyvault_portal.errors import PortalError

MOST_BYTES = 2**20
SECONDS = 15.0


class FarEndUnavailable(PortalError):
    status, code, title = 503, "far_end_unavailable", "The other side does not answer"


class _Rule(HostRule):
    unavailable: ClassVar[type[PortalError]] = FarEndUnavailable


def acme_rule() -> HostRule:
    """Where ACME CAs may be."""
    return _Rule(tuple(settings.ACME_ALLOWED_HOSTS), "ACME_ALLOWED_HOSTS")


def webhook_rule() -> HostRule:
    """Where webhooks and DNS servers may be."""
    return _Rule(tuple(settings.WEBHOOK_ALLOWED_HOSTS), "WEBHOOK_ALLOWED_HOSTS")


class _Adapter(PinnedAdapter):
    def __init__(self, rule: HostRule, ca_bundle: str) -> None:
        self._bundle = ca_bundle
        super().__init__(rule)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._bundle:
            kwargs["ssl_context"] = ssl.create_default_context(cadata=self._bundle)
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        if not self._bundle:  # else the bundle alone is trusted: the library would add the public CAs to it
            super().cert_verify(conn, url, verify, cert)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        self._rule.check_url(request.url)
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        body = response.raw.read(MOST_BYTES + 1, decode_content=True)
        if len(body) > MOST_BYTES:
            response.close()
            raise requests.exceptions.ContentDecodingError("The answer is too large.")
        response._content, response._content_consumed = body, True
        response.close()
        return response


def open_session(rule: HostRule, ca_bundle: str = "") -> requests.Session:
    """A session whose every connection `rule` has allowed; `ca_bundle` (PEM) is then all it trusts. The caller closes it."""
    session = requests.Session()
    session.trust_env, session.max_redirects = False, 0
    adapter = _Adapter(rule, ca_bundle)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
