"""Time-stamps (RFC 3161) from the authority that the installation names, at an address that it may connect to."""

from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from asn1crypto import tsp
from django.conf import settings
from pyhanko.sign.timestamps import TimeStamper
from urllib3 import PoolManager, Retry
from urllib3.exceptions import HTTPError

from keys.hosts import host_rule
from keys.providers.pinning import pin
from keyvault_portal.errors import ProviderUnavailable

SECONDS, LARGEST = 10, 1 << 20


class GuardedTimeStamper(TimeStamper):
    """Asks `url`, at an address that the rule for hosts allows; no redirect is followed."""

    def __init__(self, url: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        host_rule().check_url(url)
        self.url = url
        self._pool = PoolManager(retries=Retry(0, redirect=False), timeout=SECONDS)
        pin(self._pool, host_rule())

    async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
        return tsp.TimeStampResp.load(await sync_to_async(self._ask)(req.dump()))

    def _ask(self, request: bytes) -> bytes:
        host = urlsplit(self.url).hostname
        try:
            answer = self._pool.request("POST", self.url, body=request, headers=_HEADERS, preload_content=False)
            said = bytes(answer.read(LARGEST))
            answer.release_conn()
        except HTTPError as error:
            raise ProviderUnavailable(f"The time-stamping authority at {host} does not answer.") from error
        if (
            answer.status != 200
            or answer.headers.get("Content-Type", "").split(";")[0] != "application/timestamp-reply"
        ):
            raise ProviderUnavailable(f"The time-stamping authority at {host} answered with no time-stamp.")
        return said


_HEADERS = {"Content-Type": "application/timestamp-query"}


def timestamper() -> GuardedTimeStamper | None:
    """The time-stamping authority of this installation (`MINUTES_TSA_URL`), or None."""
    return GuardedTimeStamper(settings.MINUTES_TSA_URL) if settings.MINUTES_TSA_URL else None
