"""The envelope library beside the AWS Encryption SDK, Tink and bare AES-GCM; and what each asks of its key service."""

import math
from os import urandom

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from keys.benchmarks import Tell, missing, peers
from keys.benchmarks.peers import CONTEXT, CountedKek
from keys.crypto.library import MAX_MESSAGES, Context, EnvelopeCache
from keys.crypto.secret import SecretBytes
from keyvault_portal.measure import Measurement, interleave

MESSAGE = 1024
SLICES = 20  # a round is cut into so many turns of each, because load changes within a round too
SDK_SHARE = 50  # the SDK is slower by about this much, so it gets fewer messages for the same time


def run(size: int, rounds: int, tell: Tell) -> list[Measurement]:
    """Rates of `size` messages of 1 KiB a round, medians of `rounds`, and provider calls per million messages."""
    message = urandom(MESSAGE)
    kek, tink_kek = CountedKek(), CountedKek()
    cache = counted_cache(kek)
    raw_key, associated = AESGCM(AESGCM.generate_key(256)), b"tenant=acme,table=customers"

    turn = max(1, size // SLICES)

    def derived() -> float:
        for _ in range(turn):
            cache.encrypt(message, CONTEXT)
        return turn

    def cached() -> float:
        for _ in range(turn):
            cache.encrypt_cached(message, CONTEXT)
        return turn

    def raw() -> float:
        for _ in range(turn):
            nonce = urandom(12)
            _ = nonce + raw_key.encrypt(nonce, message, associated)
        return turn

    sdk = peers.aws_encryption_sdk(message, signed=True)
    unsigned = peers.aws_encryption_sdk(message, signed=False)
    envelope = peers.tink_envelope(message, tink_kek)
    keyset = peers.tink_keyset(message)
    jobs = {"derived": derived, "cached": cached, "raw": raw}
    if sdk and unsigned:
        jobs["sdk"] = lambda: sdk(max(1, turn // SDK_SHARE))
        jobs["unsigned"] = lambda: unsigned(max(1, turn // SDK_SHARE))
    if envelope:
        jobs["envelope"] = lambda: envelope(max(1, turn // 2))
    if keyset:
        jobs["keyset"] = lambda: keyset(turn)
    for job in jobs.values():  # the first call of each pays for imports and key set-up
        job()
    tell(f"{rounds} rounds of {', '.join(jobs)}")
    tink_kek.calls = 0
    rates = interleave(jobs, rounds * SLICES)

    unique, unit = "Unique key per message", "messages/s"
    rows = [Measurement("Raw AES-GCM, random nonce (the limit)", rates["raw"], unit)]
    if sdk:
        rows += [
            Measurement("AWS Encryption SDK, caching", rates["sdk"], unit, note="default suite: signs each message"),
            Measurement("The same, unsigned", rates["unsigned"], unit, note="key commitment only, as ours"),
            rates.against(unique, unit, "derived", "sdk", against="AWS Encryption SDK", goal=25),
            rates.against(unique, unit, "derived", "unsigned", against="the same, unsigned"),
        ]
    else:
        rows.append(missing("AWS Encryption SDK", "aws-encryption-sdk"))
    if envelope and keyset:
        rows += [
            Measurement("Tink KmsEnvelopeAead, local KEK", rates["envelope"], unit),
            rates.against(unique, unit, "derived", "envelope", against="Tink envelope", goal=2),
            Measurement("Tink AEAD, one keyset", rates["keyset"], unit),
            rates.against("Cached key", unit, "cached", "keyset", against="Tink AEAD"),
        ]
    else:
        rows.append(missing("Tink", "tink"))
    rows += [
        rates.against(unique, unit, "derived", "raw", against="raw AES-GCM"),
        rates.against("Cached key", unit, "cached", "raw", against="raw AES-GCM", goal=0.70),
    ]
    tell("counting provider calls")
    return rows + provider_calls(size, tink_kek.calls / (rounds * SLICES * max(1, turn // 2)) if envelope else None)


def counted_cache(kek: CountedKek, max_messages: int = MAX_MESSAGES) -> EnvelopeCache:
    """A cache whose provider is `kek`."""

    def generate(context: Context) -> tuple[SecretBytes, bytes]:
        key = urandom(32)
        return SecretBytes(key), kek.encrypt(key, _associated(context))

    def unwrap(wrapped: bytes, context: Context) -> SecretBytes:
        return SecretBytes(kek.decrypt(wrapped, _associated(context)))

    return EnvelopeCache(generate, unwrap, max_age_s=300, max_messages=max_messages)


def provider_calls(size: int, tink_calls_a_message: float | None) -> list[Measurement]:
    """Calls counted over `size` short messages at a bound of `size // 10` messages a key; exact, whatever the load."""
    bound = max(1, size // 10)
    kek = CountedKek()
    cache = counted_cache(kek, bound)
    for _ in range(size):
        cache.encrypt(b"", CONTEXT)
    expected = math.ceil(size / bound)
    note = f"counted {kek.calls} calls for {size:,} messages at {bound:,} a key; policy predicts {expected}"
    million = math.ceil(1_000_000 / MAX_MESSAGES)
    ratio, default = kek.calls / expected, f"at the default of {MAX_MESSAGES:,} messages a key"
    rows = [
        Measurement("Provider calls counted", kek.calls, "calls", "its policy", ratio, 1, note, at_most=True),
        Measurement("Provider calls per million messages", million, "calls", note=default),
        Measurement(
            "The same, envelopes of the portal", math.ceil(1_000_000 / settings.DATA_KEY_CACHE_MESSAGES), "calls",
            note=f"one context, within {settings.DATA_KEY_CACHE_SECONDS} s: {settings.DATA_KEY_CACHE_MESSAGES:,} messages a key",
        ),
    ]  # fmt: skip
    if tink_calls_a_message is not None:
        calls = tink_calls_a_message * 1_000_000
        rows.append(Measurement("The same, Tink KmsEnvelopeAead", calls, "calls", "ours", calls / million))
    return rows


def _associated(context: Context) -> bytes:
    return repr(sorted(context.items())).encode()
