"""How much one address, one account and one name may ask for: the one table, counted in the shared cache."""

import time
from dataclasses import dataclass
from hashlib import sha256

from django.core.cache import cache

from certificates.acme.errors import AcmeError


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `number` in any window of `seconds`; `words` say of what."""

    number: int
    seconds: int
    words: str


LIMITS = {
    "request": Limit(1200, 60, "requests from one address"),
    "account": Limit(20, 3600, "new accounts from one address"),
    "order": Limit(300, 3600, "new orders of one account"),
    "name": Limit(50, 3600, "new orders for one name"),
    "challenge": Limit(300, 3600, "challenges of one account"),
    "failure": Limit(20, 3600, "failed proofs of one account for one name"),
    "change": Limit(60, 3600, "changes of one account"),
    "revocation": Limit(300, 3600, "revocations from one address"),
}


def take(name: str, subject: object) -> None:
    """Count one more; raises AcmeError (rateLimited) with the seconds until the window ends."""
    limit, _, left = _window(name, subject)
    if note(name, subject) > limit.number:
        raise _over(limit, left)


def check(name: str, subject: object) -> None:
    """As `take`, but counts nothing: what is counted happens later, or not at all."""
    limit, key, left = _window(name, subject)
    if int(cache.get(key, 0)) >= limit.number:
        raise _over(limit, left)


def note(name: str, subject: object) -> int:
    """Count one more and refuse nothing; returns how many there are in this window."""
    limit, key, _ = _window(name, subject)
    cache.add(key, 0, limit.seconds)
    try:
        return int(cache.incr(key))
    except ValueError:
        return 0  # the window ended between the two


def _window(name: str, subject: object) -> tuple[Limit, str, int]:
    limit = LIMITS[name]
    number, passed = divmod(int(time.time()), limit.seconds)
    digest = sha256(str(subject).encode()).hexdigest()[:32]
    return limit, f"acme:limit:{name}:{digest}:{number}", limit.seconds - passed


def _over(limit: Limit, left: int) -> AcmeError:
    minutes = f"{limit.seconds // 60} minutes" if limit.seconds > 60 else "a minute"
    return AcmeError("rateLimited", f"At most {limit.number} {limit.words} in {minutes}.", retry_after=left)
