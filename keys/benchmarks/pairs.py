"""One use of a key through its provider, and the same through the provider's library alone, measured in turns."""

from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from statistics import quantiles
from time import perf_counter

from keys.providers.base import Cipher, KeyHandle, Provider
from keyvault_portal.measure import Measurement, interleave

ALGORITHM, MESSAGE, AAD = "AES-256-GCM", 1024, b'{"tenant": "acme"}'


@dataclass(frozen=True, slots=True)
class Pair:
    """`many` is for a library that runs in a process of its own: it does so many calls before it answers."""

    title: str
    ours: Callable[[bytes], object]
    raw: Callable[[bytes], object] | None = None
    many: Callable[[bytes, int], object] | None = None


def new_handle(provider: Provider, algorithm: str = ALGORITHM) -> KeyHandle:
    """A key made for the measurement."""
    made = provider.generate(algorithm)
    material = made.material
    return KeyHandle(algorithm, made.opaque, made.public_key, (lambda: material) if material is not None else None)


def bound_cipher(provider: Provider, handle: KeyHandle) -> Callable[[bytes], object]:
    """Encryption with the context bound."""
    assert isinstance(provider, Cipher)
    bound = provider.cipher(handle)
    return lambda message: bound.encrypt(message, AAD)


def measure(pair: Pair, size: int, rounds: int) -> Measurement:
    """Calls a second of one caller, the percentiles of a call, and the share of the library's speed."""
    message, times = urandom(MESSAGE), list[float]()

    def ours() -> float:
        for _ in range(size):
            start = perf_counter()
            pair.ours(message)
            times.append(perf_counter() - start)
        return size

    def raw() -> float:
        if pair.many is not None:
            pair.many(message, size)
        for _ in range(size if pair.raw is not None else 0):
            assert pair.raw is not None
            pair.raw(message)
        return size

    pair.ours(message)
    rates = interleave({"ours": ours, "raw": raw}, rounds)
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    note = ", ".join(f"{name} {cuts[at - 1] * 1_000_000:,.0f}" for name, at in (("p50", 50), ("p95", 95), ("p99", 99)))
    return rates.against(
        pair.title, "calls/s", "ours", "raw", against="its library alone", note=f"a call takes {note} µs"
    )
