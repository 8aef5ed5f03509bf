"""The envelope library: encrypt in this process under data keys that a provider generates and unwraps rarely.

Two message forms; the associated data is everything before the nonce or ciphertext, then the encryption context.

    CACHED   10 | algorithm code (1) | length (2) | wrapped key | nonce | ciphertext | tag
    DERIVED  11 | algorithm code (1) | length (2) | wrapped key | salt (32) | commitment (32) | ciphertext | tag

DERIVED gives each message a key of its own: one HMAC over a random salt, so the nonce can be all zero, and the
commitment pins the message to that key. CACHED uses the data key directly, with random nonces.
"""

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from itertools import repeat
from operator import length_hint
from os import urandom

from keys.crypto.aead import Aead, BoundCipher
from keys.crypto.algorithms import Algorithm, Kind, Operation, require
from keys.crypto.envelope import MAX_WRAPPED_DEK_BYTES, context_aad
from keys.crypto.errors import DecryptFailed, InvalidKey, LimitExceeded, MalformedEnvelope, UnsupportedAlgorithm
from keys.crypto.kdf import MessageKeys
from keys.crypto.secret import SecretBytes

type Context = dict[str, str]
type Generate = Callable[[Context], tuple[SecretBytes, bytes]]
type Unwrap = Callable[[bytes, Context], SecretBytes]

CACHED, DERIVED = 0x10, 0x11
MAX_MESSAGES = 2**20
LOT = 256  # messages paid for at once
_SALT, _COMMITMENT = 32, 32
_PREFIX = 4
_TOO_LONG = "message too long for one call; use the stream form"


class _Entry:
    """A data key in use, what it may still do, and what every message under it shares.

    One that came from a message only opens: nobody here knows how much it has sealed elsewhere.
    """

    __slots__ = (
        "aad", "bytes_left", "cached_aad", "cached_header", "cipher", "context", "derived_header",
        "expires_at", "keys", "messages_left", "names", "seal", "tickets", "wrapped",
    )  # fmt: skip

    def __init__(
        self,
        row: Algorithm,
        key: SecretBytes,
        wrapped: bytes,
        context: Context,
        bounds: tuple[float, int, int],  # when it expires, how many messages and bytes it may seal
        seals: bool,
    ) -> None:
        if not 0 < len(wrapped) <= MAX_WRAPPED_DEK_BYTES:
            raise MalformedEnvelope("wrapped data key has an impossible length")
        tail = bytes([row.code]) + len(wrapped).to_bytes(2) + wrapped
        self.cipher, self.wrapped = Aead(row, key), wrapped
        self.seal: Callable[[bytes, bytes, bytes], bytes] = row.implementation.bind(key.reveal()).encrypt
        self.keys = MessageKeys(key.reveal())
        self.cached_header = bytes([CACHED]) + tail
        self.derived_header = bytes([DERIVED]) + tail
        self.context: dict[str, str] | None = dict(context) if seals else None
        self.names: list[str] | None = list(context) if seals else None
        self.aad = context_aad(context)
        self.cached_aad = self.cached_header + self.aad
        self.expires_at, self.messages_left, self.bytes_left = bounds
        self.tickets: Iterator[bool] = iter(())

    def issue_tickets(self, share: int) -> None:
        """Pay for a lot of messages of at most `share` bytes at once; call it under the cache's lock.

        Taking a ticket is one step that threads cannot divide, so those messages need no lock. What is left of the
        bounds when a lot no longer fits is counted message by message, so that all of it can be used.
        """
        if self.messages_left < LOT or self.bytes_left < LOT * share or length_hint(self.tickets):
            return
        self.messages_left -= LOT
        self.bytes_left -= LOT * share
        self.tickets = repeat(True, LOT)


class EnvelopeCache:
    """Data keys bound to their encryption context, bounded by age, messages, bytes and number.

    N threads that miss at once cause one provider call (single flight); if it fails, each of them gets its error.
    Safe for threads; a cache belongs to one process. Ages come from a monotonic clock.
    """

    def __init__(
        self,
        provider_generate: Generate,
        provider_unwrap: Unwrap,
        *,
        max_age_s: float,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = 2**40,
        max_entries: int = 1000,
        algorithm: str = "AES-256-GCM",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bounds are per data key; raises LimitExceeded when one is not positive or passes the algorithm's limit."""
        row = require(algorithm, Operation.ENCRYPT)
        if row.kind is not Kind.AEAD or not row.unique_nonce_suffices:
            raise UnsupportedAlgorithm(f"{row.name} does not serve the envelope library")
        if min(max_age_s, max_messages, max_bytes, max_entries) <= 0 or max_messages > MAX_MESSAGES:
            raise LimitExceeded("cache bounds must be positive, with at most 2**20 messages a key")
        self._row = row
        self._bind: Callable[[bytes], BoundCipher] = row.implementation.bind
        self._generate = provider_generate
        self._unwrap = provider_unwrap
        self._max_age = max_age_s
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._clock = clock
        self._nonce_size = row.nonce_size
        self._zero = bytes(row.nonce_size)
        self._share = max_bytes // max_messages  # what a message may be long to go without the lock
        self._lock = threading.RLock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._newest: _Entry | None = None  # the last in order of use, which a message need not move there again
        self._flights: dict[Hashable, Future[None]] = {}

    def encrypt_cached(self, plaintext: bytes, context: Context) -> bytes:
        """Encrypt under the context's own data key; raises MalformedEnvelope, LimitExceeded, provider errors."""
        entry = self._charge(context, len(plaintext)) or self._writing(len(plaintext), context)
        nonce = urandom(self._nonce_size)
        try:
            return entry.cached_header + nonce + entry.seal(nonce, plaintext, entry.cached_aad)
        except OverflowError:
            raise LimitExceeded(_TOO_LONG) from None

    def encrypt(self, plaintext: bytes, context: Context) -> bytes:
        """Encrypt under a key of its own with key commitment; raises as `encrypt_cached`."""
        entry = self._charge(context, len(plaintext)) or self._writing(len(plaintext), context)
        salt = urandom(_SALT)
        key, commitment = entry.keys.derive(salt)
        header = entry.derived_header + salt + commitment
        try:
            return header + self._bind(key).encrypt(self._zero, plaintext, header + entry.aad)
        except OverflowError:
            raise LimitExceeded(_TOO_LONG) from None

    def decrypt(self, blob: bytes, context: Context) -> bytes:
        """Open either form.

        Raises DecryptFailed, MalformedEnvelope for a broken structure, and the provider's errors.
        """
        row = self._row
        if len(blob) < _PREFIX or blob[0] not in {CACHED, DERIVED} or blob[1] != row.code:
            raise MalformedEnvelope("not a message of this library")
        start = _PREFIX + int.from_bytes(blob[2:4])
        wrapped = blob[_PREFIX:start]
        extra = row.nonce_size if blob[0] == CACHED else _SALT + _COMMITMENT
        if not wrapped or len(blob) < start + extra + row.tag_size:
            raise MalformedEnvelope("message is truncated")
        entry = self._hit((wrapped,), context, 0, 0) or self._reading(wrapped, context)
        body = start + extra
        if blob[0] == CACHED:
            return entry.cipher.decrypt(blob[start:body], blob[body:], entry.cached_header + entry.aad)
        key, commitment = entry.keys.derive(blob[start : start + _SALT])
        if not hmac.compare_digest(commitment, blob[start + _SALT : body]):
            raise DecryptFailed
        return Aead(row, key).decrypt(self._zero, blob[body:], blob[:body] + entry.aad)

    def sealing(self, context: Context, size: int) -> tuple[Aead, bytes]:
        """The cipher of the context's own data key, charged with one message of `size` bytes, and that key wrapped.

        For messages of other forms, whose nonces are random. Raises as `encrypt_cached`.
        """
        entry = self._charge(context, size) or self._writing(size, context)
        return entry.cipher, entry.wrapped

    def opening(self, wrapped: bytes, context: Context) -> Aead:
        """The cipher of a wrapped data key; raises MalformedEnvelope, InvalidKey and the provider's errors."""
        entry = self._hit((wrapped,), context, 0, 0) or self._reading(wrapped, context)
        return entry.cipher

    def oldest(self) -> float:
        """The age in seconds of the oldest data key that is still used; 0 without any."""
        with self._lock:
            now = self._clock()
            left = [entry.expires_at - now for entry in self._entries.values() if entry.expires_at > now]
        return self._max_age - min(left) if left else 0.0

    def clear(self) -> None:
        """Forget every data key; the next message asks the provider again."""
        with self._lock:
            self._entries.clear()
            self._newest = None

    def __len__(self) -> int:
        return len(self._entries)

    def _writing(self, size: int, context: Context) -> _Entry:
        if size > self._max_bytes:
            raise LimitExceeded("message is longer than a data key may encrypt")

        def load() -> _Entry:
            key, wrapped = self._generate(dict(context))
            return self._entry(key, wrapped, context, seals=True)

        return self._get((), context, size, 1, load)

    def _reading(self, wrapped: bytes, context: Context) -> _Entry:
        def load() -> _Entry:
            return self._entry(self._unwrap(wrapped, dict(context)), wrapped, context, seals=False)

        return self._get((wrapped,), context, 0, 0, load)

    def _charge(self, context: Context, size: int) -> _Entry | None:
        """As `_hit` for one message to seal; what mostly comes, the context of the message before, costs least.

        The order of the names belongs to the associated data, so it is compared too.
        """
        entry = self._newest
        if (
            entry is not None
            and context == entry.context
            and [*context] == entry.names
            and size <= self._share
            and self._clock() < entry.expires_at
            and next(entry.tickets, False)
        ):
            return entry
        return self._hit((), context, size, 1)

    def _hit(self, prefix: tuple[bytes, ...], context: Context, size: int, messages: int) -> _Entry | None:
        """The data key of this name, charged with the message; None when there is none that may take it.

        Raises MalformedEnvelope for a context that cannot name a key.
        """
        try:
            name = (*prefix, *context.items())
            with self._lock:
                entry = self._entries.get(name)
                if (
                    entry is None
                    or self._clock() >= entry.expires_at
                    or entry.messages_left < messages
                    or entry.bytes_left < size
                ):
                    return None
                entry.messages_left -= messages
                entry.bytes_left -= size
                if messages:
                    entry.issue_tickets(self._share)
                if entry is not self._newest:
                    self._entries.move_to_end(name)
                    self._newest = entry
                return entry
        except (AttributeError, TypeError):
            raise MalformedEnvelope("encryption_context must map text to text") from None

    def _entry(self, key: SecretBytes, wrapped: bytes, context: Context, *, seals: bool) -> _Entry:
        try:
            bounds = self._clock() + self._max_age, self._max_messages, self._max_bytes
            return _Entry(self._row, key, wrapped, context, bounds, seals)
        except InvalidKey:
            raise InvalidKey("provider returned a data key of the wrong length") from None

    def _get(
        self, prefix: tuple[bytes, ...], context: Context, size: int, messages: int, load: Callable[[], _Entry]
    ) -> _Entry:
        name = (*prefix, *context.items())
        while True:
            with self._lock:
                entry = self._hit(prefix, context, size, messages)
                if entry is not None:
                    return entry
                flight = self._flights.get(name)
                if mine := flight is None:
                    flight = self._flights[name] = Future()
            if mine:
                self._fly(name, flight, load)
            flight.result()

    def _fly(self, name: Hashable, flight: "Future[None]", load: Callable[[], _Entry]) -> None:
        """Make the one provider call; whoever waits on the flight wakes with its outcome."""
        try:
            entry = load()
        except BaseException as error:
            with self._lock:
                del self._flights[name]
            flight.set_exception(error)
            return
        with self._lock:
            del self._flights[name]
            now = self._clock()
            for stale in [known for known, held in self._entries.items() if held.expires_at <= now]:
                del self._entries[stale]
            self._entries[name] = entry
            self._entries.move_to_end(name)
            self._newest = entry
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        flight.set_result(None)
