"""Who calls the data plane: a token, known again for a moment without the database, or a signed-in session."""

from time import monotonic
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone

from keys.services.cache import BoundedCache
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.api_auth import bearer_token, session_actor
from keyvault_portal.accounts.identity import (
    LAST_USE_RESOLUTION,
    TokenPolicy,
    TokenRefused,
    parse_token,
    record_refusal,
    record_use,
    token_policy,
)
from keyvault_portal.accounts.web import client_address

# A revoked token, a changed scope or a lost role bites within two seconds in every process; the rest is for the query.
MAX_AGE, MAX_ENTRIES = 1.8, 10_000

_policies: BoundedCache[UUID, TokenPolicy] = BoundedCache(max_entries=MAX_ENTRIES, max_age=MAX_AGE)
_noted: BoundedCache[UUID, float] = BoundedCache(max_entries=MAX_ENTRIES, max_age=LAST_USE_RESOLUTION.total_seconds())


def forget() -> None:
    """Ask the database again for every token."""
    _policies.clear()
    _noted.clear()


def caller(request: HttpRequest) -> Actor:
    """The actor behind a request: by its bearer token (RFC 6750), else by its session with CSRF and second factor.

    Raises TokenRefused, NotAuthenticated, PermissionRefused.
    """
    text = bearer_token(request)
    return session_actor(request) if text is None else token_actor(text, client_address(request))


def token_actor(text: str, address: str | None) -> Actor:
    """The actor behind a token's text used from `address`; raises TokenRefused.

    Only what the database said is kept, never the text: the secret is compared with its digest every time.
    """
    token_id, secret = parse_token(text)
    policy = _policies.get(token_id)
    if policy is None:
        policy = token_policy(token_id)
        if policy is None:
            raise TokenRefused("unknown_token")
        _policies.put(token_id, policy)
    now = timezone.now()
    try:
        actor = policy.admit(secret, address, now)
    except TokenRefused as refused:
        record_refusal(policy, refused, address)
        raise
    if _noted.get(token_id) is None:
        _noted.put(token_id, monotonic())
        record_use(policy, address, now)
    return actor
