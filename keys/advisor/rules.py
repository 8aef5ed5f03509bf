"""What is to be said of a key: rules as data over what is known of it. Pure; `keys.services.advice` knows the keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from keys.crypto.algorithms import Algorithm, Kind, Standing
from keys.hierarchy import KeyKind

# SP 800-57 part 1 rev. 5, table 1, and shorter where practice is: nobody keeps a token signing key for a year.
LONGEST_CRYPTOPERIOD_DAYS: Mapping[KeyKind, int] = {
    KeyKind.MASTER: 365,
    KeyKind.KEK: 365,
    KeyKind.DEK: 730,
    KeyKind.TOKEN_SIGNING: 90,
    KeyKind.TRANSPORT: 365,
}
TONES = ("danger", "warn", "info")  # how heavily a finding weighs
_SOON = timedelta(days=5 * 365)
_SHARED_SECRETS = frozenset({Kind.ASYMMETRIC_ENCRYPTION, Kind.KEY_AGREEMENT, Kind.KEM, Kind.HPKE})


@dataclass(frozen=True, slots=True)
class Known:
    """What the rules ask of one key that is in use."""

    kind: KeyKind
    algorithm: Algorithm
    provider: str
    cryptoperiod_days: int | None
    others_agree_to_destruction: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """`tone` is one of TONES; `text` says why, `act` what to do."""

    id: str
    tone: str
    title: str
    text: str
    act: str
    clause: str
    applies: Callable[[Known, date], bool]


RULES = (
    Rule(
        "algorithm-ended",
        "danger",
        "Algorithms whose time is over",
        "They no longer protect what is new, and what stands on them should move.",
        "Make a key with a recommended algorithm and move the data to it.",
        "NIST SP 800-131A",
        lambda key, today: (
            key.algorithm.standing in {Standing.LEGACY, Standing.FORBIDDEN}
            or (key.algorithm.acceptable_until is not None and key.algorithm.acceptable_until < today)
        ),
    ),
    Rule(
        "algorithm-ends",
        "warn",
        "Algorithms whose end is known",
        "Strength of 112 bits is accepted until the end of 2030 only: RSA with 2048 bits.",
        "Use 3072 bits or a curve for the next key, and plan the change of what lives longer.",
        "NIST SP 800-131A; SP 800-57 part 1, table 4",
        lambda key, today: (
            key.algorithm.acceptable_until is not None and today <= key.algorithm.acceptable_until < today + _SOON
        ),
    ),
    Rule(
        "recorded-today",
        "info",
        "Secrets that a recording gives away later",
        "What curves or RSA protect on its way can be kept today and opened by a quantum computer.",
        "For what must stay secret for longer than about ten years use ML-KEM or HPKE's hybrid.",
        "NIST IR 8547",
        lambda key, today: key.algorithm.kind in _SHARED_SECRETS and not key.algorithm.quantum_safe,
    ),
    Rule(
        "root-in-software",
        "warn",
        "Master keys in software",
        "Who takes the portal's machine while it is open can take them, and with them everything below.",
        "Move the key to an HSM or a key management service; nothing is re-encrypted for it.",
        "FIPS 140-3",
        lambda key, today: key.kind is KeyKind.MASTER and key.provider == "local",
    ),
    Rule(
        "no-cryptoperiod",
        "warn",
        "Keys without a cryptoperiod",
        "Nothing says when they are to be replaced, so they never fall due.",
        "Set the cryptoperiod in the key's policy.",
        "NIST SP 800-57 part 1, 5.3",
        lambda key, today: key.cryptoperiod_days is None,
    ),
    Rule(
        "cryptoperiod-long",
        "warn",
        "Cryptoperiods longer than usual",
        "Usual are at most two years for data keys, ninety days for token signing keys, and a year for all others.",
        "Shorten the cryptoperiod in the key's policy.",
        "NIST SP 800-57 part 1, table 1",
        lambda key, today: (
            key.cryptoperiod_days is not None and key.cryptoperiod_days > LONGEST_CRYPTOPERIOD_DAYS[key.kind]
        ),
    ),
    Rule(
        "destroyed-by-one",
        "warn",
        "Keys that one person may destroy",
        "Nobody besides the one who asks has to agree to the end of the key and of all that stands on it.",
        "Let another officer agree: destruction, in the key's policy.",
        "NIST SP 800-130, 6.7.5 (multiparty control)",
        lambda key, today: not key.others_agree_to_destruction,
    ),
)
