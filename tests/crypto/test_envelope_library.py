"""The envelope library: bounds of the data-key cache, single flight, and both message forms."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.crypto.errors import (
    CryptoError,
    DecryptFailed,
    InvalidKey,
    LimitExceeded,
    MalformedEnvelope,
    UnsupportedAlgorithm,
)
from keys.crypto.keywrap import unwrap_key, wrap_key
from keys.crypto.library import CACHED, DERIVED, EnvelopeCache
from keys.crypto.secret import SecretBytes

ROOT = SecretBytes(bytes(32))


class Provider:
    """A key service in memory that counts its calls."""

    def __init__(self):
        self.generated = 0
        self.unwrapped = 0
        self.gate = None
        self.error = None

    def generate(self, context):
        self.generated += 1
        if self.gate:
            self.gate.wait(60)
        if self.error:
            raise self.error
        key = SecretBytes(os.urandom(32))
        return key, wrap_key("AES-256-GCM", ROOT, key, context)

    def unwrap(self, wrapped, context):
        self.unwrapped += 1
        return unwrap_key("AES-256-GCM", ROOT, wrapped, context)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def provider():
    return Provider()


def cache(provider, **bounds):
    return EnvelopeCache(provider.generate, provider.unwrap, **{"max_age_s": 300, **bounds})


@given(st.binary(max_size=100), st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3), st.booleans())
def test_round_trip_and_tampering(plaintext, context, derived):
    library = cache(Provider())
    blob = (library.encrypt if derived else library.encrypt_cached)(plaintext, context)
    assert blob[0] == (DERIVED if derived else CACHED)
    assert cache(Provider()).decrypt(blob, context) == plaintext
    with pytest.raises(DecryptFailed):
        library.decrypt(blob, {**context, "more": "123456789"})


@pytest.mark.parametrize("form", ["encrypt", "encrypt_cached"])
def test_every_bit_and_every_length(provider, form):
    library = cache(provider, max_entries=10)
    blob = getattr(library, form)(b"data", {"a": "b"})
    for bit in range(len(blob) * 8):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DecryptFailed, MalformedEnvelope)):
            library.decrypt(bytes(changed), {"a": "b"})
    for size in range(len(blob)):
        with pytest.raises((DecryptFailed, MalformedEnvelope)):
            library.decrypt(blob[:size], {"a": "b"})
    assert len(library) <= 10


def test_one_call_serves_many_messages_and_each_context_has_its_own_key(provider):
    library = cache(provider)
    blobs = [library.encrypt(b"x", {"t": t}) for t in "aaab"] + [library.encrypt_cached(b"x", {"t": "a"})]
    assert provider.generated == 2
    assert len(set(blobs)) == len(blobs)
    for blob, tenant in zip(blobs, "aaaba", strict=True):
        assert library.decrypt(blob, {"t": tenant}) == b"x"
    assert provider.unwrapped == 2


def test_derived_messages_have_keys_of_their_own(provider):
    library = cache(provider)
    one, two = library.encrypt(bytes(64), {}), library.encrypt(bytes(64), {})
    assert one[-80:] != two[-80:]
    start = 4 + int.from_bytes(one[2:4])
    swapped = one[: start + 32] + two[start + 32 : start + 64] + one[start + 64 :]
    with pytest.raises(DecryptFailed):
        library.decrypt(swapped, {})


def test_bounds_by_messages_bytes_and_age(provider):
    clock = Clock()
    library = cache(provider, max_messages=3, max_bytes=10, max_age_s=60, clock=clock)
    for _ in range(4):
        library.encrypt(b"", {})
    assert provider.generated == 2
    library.encrypt(bytes(10), {})
    assert provider.generated == 2
    library.encrypt(b"1", {})
    assert provider.generated == 3
    blob = library.encrypt(b"", {})
    library.decrypt(blob, {})
    clock.now = 59.9
    library.encrypt(b"", {})
    library.decrypt(blob, {})
    assert (provider.generated, provider.unwrapped) == (3, 1)
    clock.now = 60
    library.encrypt(b"", {})
    library.decrypt(blob, {})
    assert (provider.generated, provider.unwrapped) == (4, 2)
    assert len(library) == 2
    with pytest.raises(LimitExceeded):
        library.encrypt(bytes(11), {})


def test_the_least_recently_used_key_leaves_first(provider):
    library = cache(provider, max_entries=2)
    for tenant in "abac":
        library.encrypt(b"", {"t": tenant})
    assert provider.generated == 3
    library.encrypt(b"", {"t": "a"})
    assert provider.generated == 3
    library.encrypt(b"", {"t": "b"})
    assert provider.generated == 4
    library.clear()
    assert len(library) == 0


def in_threads(count, work):
    barrier = threading.Barrier(count)
    results = []

    def run():
        barrier.wait(60)
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, results


def test_single_flight(provider):
    provider.gate = threading.Event()
    library = cache(provider)
    threads, results = in_threads(8, lambda: library.encrypt(b"x", {"t": "a"}))
    while not provider.generated:
        pass
    provider.gate.set()
    for thread in threads:
        thread.join(60)
    assert provider.generated == 1
    assert len(results) == 8
    assert all(library.decrypt(blob, {"t": "a"}) == b"x" for blob in results)


def test_a_failed_flight_fails_its_passengers_and_the_next_one_tries_again(provider):
    provider.error = ConnectionError("provider is away")
    provider.gate = threading.Event()
    library = cache(provider)
    threads, results = in_threads(4, lambda: library.encrypt(b"x", {}))
    provider.gate.set()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    assert all(isinstance(result, ConnectionError) for result in results)
    provider.error = None
    assert library.decrypt(library.encrypt(b"x", {}), {}) == b"x"


def test_message_bound_is_exact_between_threads(provider):
    library = cache(provider, max_messages=5)
    threads, results = in_threads(8, lambda: [library.encrypt_cached(b"", {}) for _ in range(25)])
    for thread in threads:
        thread.join(60)
    wrapped = [blob[4 : 4 + int.from_bytes(blob[2:4])] for blobs in results for blob in blobs]
    assert len(wrapped) == 200
    assert max(map(wrapped.count, set(wrapped))) == 5


def test_refusals(provider):
    for bounds in (
        {"max_age_s": 0},
        {"max_messages": 0},
        {"max_messages": 2**20 + 1},
        {"max_bytes": 0},
        {"max_entries": 0},
    ):
        with pytest.raises(LimitExceeded):
            cache(provider, **bounds)
    for algorithm in ("AES-256-CBC-HMAC-SHA256", "AES-256-KW"):
        with pytest.raises(UnsupportedAlgorithm):
            cache(provider, algorithm=algorithm)
    library = cache(provider)
    for context in ({"a": 1}, {"a": []}, None, [("a", "b")]):
        with pytest.raises(MalformedEnvelope):
            library.encrypt(b"", context)
    with pytest.raises(InvalidKey):
        EnvelopeCache(lambda c: (SecretBytes(b"short"), b"w"), provider.unwrap, max_age_s=1).encrypt(b"", {})
    with pytest.raises(MalformedEnvelope):
        EnvelopeCache(lambda c: (ROOT, b""), provider.unwrap, max_age_s=1).encrypt(b"", {})


@given(st.binary(max_size=120))
def test_noise_raises_only_errors_of_ours(noise):
    with pytest.raises(CryptoError):
        cache(Provider()).decrypt(noise, {})


@pytest.mark.parametrize("size", [1, 5])
def test_lots_never_pass_a_bound_between_threads(provider, size):
    """Small messages are paid for by the lot; with some that no lot covers, no key seals more than its bytes."""
    library = cache(provider, max_messages=1000, max_bytes=2000)
    threads, results = in_threads(
        8, lambda: [library.encrypt_cached(bytes(size if n % 4 else 20), {}) for n in range(1000)]
    )
    for thread in threads:
        thread.join(60)
    sealed: dict[bytes, list[int]] = {}
    for blob in (blob for blobs in results for blob in blobs):
        start = 4 + int.from_bytes(blob[2:4])
        sealed.setdefault(blob[4:start], []).append(len(blob) - start - 28)
    assert sum(map(len, sealed.values())) == 8000
    assert max(map(len, sealed.values())) <= 1000
    assert max(map(sum, sealed.values())) <= 2000


@pytest.mark.parametrize(("messages", "keys"), [(1000, 1), (1001, 2), (3000, 3)])
def test_all_of_a_bound_is_used_lots_or_not(provider, messages, keys):
    library = cache(provider, max_messages=1000)
    for _ in range(messages):
        library.encrypt(b"x", {"t": "a"})
    assert provider.generated == keys


def test_a_key_that_came_with_a_message_only_opens(provider):
    blob = cache(provider).encrypt_cached(b"x", {"t": "a"})
    library = cache(provider)
    library.decrypt(blob, {"t": "a"})
    sealed = library.encrypt_cached(b"x", {"t": "a"})
    assert provider.generated == 2
    assert sealed[4:64] != blob[4:64]


def test_names_in_another_order_are_another_context(provider):
    library = cache(provider)
    library.encrypt(b"x", {"a": "1", "b": "2"})
    blob = library.encrypt(b"x", {"b": "2", "a": "1"})
    assert provider.generated == 2
    assert library.decrypt(blob, {"b": "2", "a": "1"}) == b"x"
    with pytest.raises(DecryptFailed):
        library.decrypt(blob, {"a": "1", "b": "2"})


def test_a_ticket_ends_with_its_key(provider):
    clock = Clock()
    library = cache(provider, max_age_s=60, clock=clock)
    library.encrypt(b"x", {})
    clock.now = 60
    library.encrypt(b"x", {})
    assert provider.generated == 2
    library.clear()
    library.encrypt(b"x", {})
    assert provider.generated == 3
