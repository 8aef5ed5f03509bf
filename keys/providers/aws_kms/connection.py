"""Clients of AWS KMS by region, and the order in which regions are asked."""

import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

from keys.hosts import HostRule
from keys.providers.aws_kms.errors import aws_errors
from keys.providers.base import CredentialsRefused, ProviderThrottled
from keys.providers.pinning import pin
from keyvault_portal.errors import ProviderUnavailable

# At level DEBUG the library logs whole requests, plaintext and all.
logging.getLogger("botocore").setLevel(logging.INFO)

# A region that gave no answer is asked last for so many seconds; then one caller tries it again, and the others wait for
# what that one finds, so that not every caller waits for the time-out.
AVOID_SECONDS = 30.0
# A role is assumed for an hour at most; the library renews it in time.
_SESSION_NAME = "keyvault-portal"


@dataclass(frozen=True, slots=True)
class Place:
    """A region, and the address of its KMS where it is not the public one (a VPC endpoint)."""

    region: str
    endpoint: str = ""


def parse_replicas(text: str) -> tuple[Place, ...]:
    """Read `eu-west-1, us-west-2=https://vpce-1.kms.us-west-2.vpce.amazonaws.com`."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return tuple(Place(region.strip(), endpoint.strip()) for region, _, endpoint in (e.partition("=") for e in entries))


@dataclass
class Connection:
    """One set of credentials, a primary region and its replicas; safe for threads, and for processes that fork."""

    primary: Place
    replicas: tuple[Place, ...]
    rule: HostRule
    timeout: float
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    role_arn: str = ""
    _clients: dict[tuple[int, str], Any] = field(default_factory=dict, repr=False)
    _avoided: dict[str, float] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def places(self) -> tuple[Place, ...]:
        """The first region and those of the replicas."""
        return self.primary, *self.replicas

    def __post_init__(self) -> None:
        for place in self.places:
            if place.endpoint:
                self.rule.check_early(place.endpoint)

    def client(self, place: Place | None = None) -> Any:
        """The client of a place, made at first use."""
        place = place or self.primary
        mark = (os.getpid(), place.region)
        found = self._clients.get(mark)
        if found is None:
            with self._lock:
                found = self._clients.get(mark) or self._connect(place)
                self._clients[mark] = found
        return found

    def client_for(self, key: str) -> Any:
        """The client of the region that the key's ARN names: a copy's own, the first region's for all others."""
        parts = key.split(":")
        return self.client(next((place for place in self.replicas if parts[3:4] == [place.region]), None))

    def _connect(self, place: Place) -> Any:
        # With somewhere else to go, a second try in the same region would use up the time in which a replica can answer.
        alone = not self.replicas
        patience = self.timeout if alone else self.timeout / 2
        config = Config(
            connect_timeout=patience,
            read_timeout=patience,
            retries={"total_max_attempts": 2 if alone else 1, "mode": "standard"},
            max_pool_connections=32,
            user_agent_extra="keyvault-portal",
        )
        with aws_errors():
            session = Session(region_name=place.region, **self.credentials)
            if self.role_arn:
                session = self._assumed(session, config)
            client = session.client("kms", endpoint_url=place.endpoint or None, config=config)
        if place.endpoint:
            pin(client._endpoint.http_session._manager, self.rule)
        return client

    def _assumed(self, session: Session, config: Config) -> Session:
        source = session._session
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=lambda service, **given: source.create_client(service, **{**given, "config": config}),
            source_credentials=source.get_credentials(),
            role_arn=self.role_arn,
            extra_args={"RoleSessionName": _SESSION_NAME},
        )
        source._credentials = DeferredRefreshableCredentials(
            method="assume-role", refresh_using=fetcher.fetch_credentials
        )
        return session

    def call(self, operation: str, key: str, *, decrypting: bool = False, **parameters: Any) -> dict[str, Any]:
        """Use a key: in the primary region, and if that is down and the key has replicas, in one of theirs.

        Throttling and refused credentials are answers, and are passed on; a replica holds the same material under the
        same rules, so the protection never gets weaker.
        """
        places = self._by_health(self.places if is_multi_region(key) else (self.primary,))
        for place in places:
            try:
                with aws_errors(decrypting=decrypting):
                    method = getattr(self.client(place), operation)
                    answer: dict[str, Any] = method(KeyId=in_region(key, place.region), **parameters)
                    self._avoided.pop(place.region, None)
                    return answer
            except (ProviderThrottled, CredentialsRefused):
                raise
            except ProviderUnavailable:
                self._avoided[place.region] = time.monotonic() + AVOID_SECONDS
                if place is places[-1]:
                    raise
        raise AssertionError("there is always a primary region")

    def _by_health(self, places: tuple[Place, ...]) -> list[Place]:
        now, order = time.monotonic(), list(places)
        if len(places) == 1:
            return order
        with self._lock:
            for place in places:
                until = self._avoided.get(place.region)
                if until is None:
                    continue
                if until > now:
                    order.remove(place)
                    order.append(place)
                else:
                    self._avoided[place.region] = now + AVOID_SECONDS  # this caller tries it
        return order


def is_multi_region(key: str) -> bool:
    """Say whether the key's id is one that its replicas share."""
    return key_id(key).startswith("mrk-")


def key_id(key: str) -> str:
    """The bare id of an id or an ARN."""
    return key.rpartition("/")[2]


def in_region(key: str, region: str) -> str:
    """The ARN of the same multi-region key in another region; any other key stays what it is."""
    parts = key.split(":")
    if len(parts) != 6 or not is_multi_region(key):
        return key
    return ":".join([*parts[:3], region, *parts[4:]])
