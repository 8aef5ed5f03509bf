"""Every call of a provider that is not the portal itself: through its breaker, before a deadline, counted.

The deadline is kept by a pool of threads: a library that hangs takes one of them and not the caller, and when all are
taken further callers are told so at once.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as DeadlineOver
from time import perf_counter

from django.conf import settings

from keys.providers.base import BoundCipher, BoundMac, BoundSigner, CredentialsRefused, ProviderFault, ProviderThrottled
from keys.services.providers import breaker, figures
from keyvault_portal.errors import PortalError, ProviderUnavailable

THREADS = 64
_pools: dict[str, tuple[ThreadPoolExecutor, threading.BoundedSemaphore]] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603  the parent's lock may be held by a thread that does not exist here
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)


def call[T](
    alias: str,
    operation: str,
    work: Callable[[], T],
    *,
    probe: bool = False,
    deadline: float | None = None,
    counts: bool = True,
) -> T:
    """What `work` gives, within `deadline` seconds, or those of settings.PROVIDER_DEADLINE_SECONDS.

    `counts` is False for work that the provider's first region alone can do while replicas go on serving: that it fails
    must not keep them from being asked.

    Raises ProviderUnavailable without calling while the breaker is open (`probe`: calls all the same), when the deadline
    is over, and ProviderFault for what no provider should ever raise: only its kind is named.
    """
    before = breaker.admit(alias)
    if before < 0 and not probe:
        raise ProviderUnavailable(
            f"The key provider {alias} did not answer lately and is left alone for a moment.",
            hint="Its page says since when; it is tried again by itself.",
            retry_after=-before / 1000,
        )
    started = perf_counter()
    failure: PortalError | None = None
    try:
        return _within_deadline(alias, work, deadline or settings.PROVIDER_DEADLINE_SECONDS)
    except PortalError as error:
        failure = error
        raise
    except Exception as error:
        failure = ProviderFault(f"The provider {alias} failed in an unexpected way ({type(error).__name__}).")
        raise failure from None
    finally:
        figures.note(alias, operation, perf_counter() - started, failure)
        if _nobody_there(failure):
            if counts:
                breaker.failed(alias)
        elif before:
            breaker.answered(alias)


def _nobody_there(error: PortalError | None) -> bool:
    return isinstance(error, ProviderUnavailable) and not isinstance(error, (ProviderThrottled, CredentialsRefused))


def _within_deadline[T](alias: str, work: Callable[[], T], seconds: float) -> T:
    pool, places = _pool(alias)
    if not places.acquire(blocking=False):
        raise ProviderUnavailable(f"Too many calls wait for the key provider {alias}.", hint="Try again in a moment.")
    future = pool.submit(work)
    future.add_done_callback(lambda _: places.release())
    try:
        return future.result(seconds)
    except DeadlineOver:
        if future.done():
            raise  # the library's own time-out, not ours
        raise ProviderUnavailable(f"The key provider {alias} did not answer in time.", hint="Try again.") from None


def _pool(alias: str) -> tuple[ThreadPoolExecutor, threading.BoundedSemaphore]:
    with _lock:
        found = _pools.get(alias)
        if found is None:
            pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"provider-{alias}")
            found = _pools[alias] = (pool, threading.BoundedSemaphore(THREADS))
        return found


class GuardedCipher:
    """A cipher whose every call is guarded."""

    __slots__ = ("_alias", "_bound")

    def __init__(self, alias: str, bound: BoundCipher) -> None:
        self._alias, self._bound = alias, bound

    def encrypt(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        return call(self._alias, "encrypt", lambda: self._bound.encrypt(plaintext, aad))

    def decrypt(self, payload: bytes, aad: bytes = b"") -> bytes:
        return call(self._alias, "decrypt", lambda: self._bound.decrypt(payload, aad))


class GuardedSigner:
    """A signer whose every call is guarded."""

    __slots__ = ("_alias", "_bound")

    def __init__(self, alias: str, bound: BoundSigner) -> None:
        self._alias, self._bound = alias, bound

    def sign(self, message: bytes) -> bytes:
        return call(self._alias, "sign", lambda: self._bound.sign(message))

    def verify(self, message: bytes, signature: bytes) -> bool:
        return call(self._alias, "verify", lambda: self._bound.verify(message, signature))


class GuardedMac:
    """An authenticator whose every call is guarded."""

    __slots__ = ("_alias", "_bound")

    def __init__(self, alias: str, bound: BoundMac) -> None:
        self._alias, self._bound = alias, bound

    def mac(self, message: bytes) -> bytes:
        return call(self._alias, "mac", lambda: self._bound.mac(message))

    def verify_mac(self, message: bytes, code: bytes) -> bool:
        return call(self._alias, "verify_mac", lambda: self._bound.verify_mac(message, code))
