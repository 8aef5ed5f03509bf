"""Nonces that were made here, lately, and are used once (RFC 8555, 6.5), whichever of the web processes is asked.

A nonce is a time and random bytes under a MAC, so that handing them out stores nothing and nobody can fill the memory
by asking for many. Only the nonce of a request whose signature was right is remembered, in the shared cache, until it is
too old anyway. The MAC's key belongs to that memory: when it is lost, every nonce of before is refused.
"""

import hmac
import secrets
import time

from django.conf import settings
from django.core.cache import cache

from certificates.acme.errors import AcmeError
from certificates.acme.jose import decode
from keys.crypto.jwk import b64url

LIFE = 3600
_RANDOM, _MAC = 12, 16


def new() -> str:
    """A nonce that is good once within the hour."""
    body = int(time.time()).to_bytes(5) + secrets.token_bytes(_RANDOM)
    return b64url(body + _mac(body))


def check(nonce: object) -> str:
    """The nonce, if it was made here within the hour; raises AcmeError (badNonce, or malformed for no base64url)."""
    raw = decode(nonce, "nonce")
    body, mac = raw[:-_MAC], raw[-_MAC:]
    age = time.time() - int.from_bytes(body[:5])
    if len(raw) != 5 + _RANDOM + _MAC or not hmac.compare_digest(mac, _mac(body)) or not -60 <= age <= LIFE:
        raise _bad()
    return str(nonce)


def use(nonce: str) -> None:
    """Take the nonce, which was checked; raises AcmeError (badNonce) when somebody took it before."""
    if not cache.add(f"acme:nonce:{nonce}", 1, LIFE + 120):
        raise _bad()


def _bad() -> AcmeError:
    return AcmeError(
        "badNonce", "The nonce is not one of ours, is too old or was used before. Try again with the new one."
    )


def _mac(body: bytes) -> bytes:
    epoch = cache.get("acme:epoch")
    if epoch is None:
        cache.add("acme:epoch", secrets.token_hex(16), None)
        epoch = cache.get("acme:epoch")
    return hmac.digest(f"{settings.SECRET_KEY}:acme nonce:{epoch}".encode(), body, "sha256")[:_MAC]
