"""Where keys can live, compared: what each place offers, what it limits, what it costs. Rows only; pages show them.

Every figure names the page it comes from and the day it was read. Where only a vendor's older copy could be read, or
none with figures, the source says so: look there before you budget. Prices are list prices in US dollars, without tax,
in the vendor's usual regions.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

READ_ON = "2026-11-25"


@dataclass(frozen=True, slots=True)
class Source:
    """A vendor's page, and whether its figures were read there (`confirmed`) or are only remembered of it."""

    page: str
    read_on: str = READ_ON
    confirmed: bool = True


class Cell(NamedTuple):
    """What one place offers in one respect, and the key of its source."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Place:
    """One way to keep keys; `kind` is that of the provider which drives it."""

    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Tier:
    """The price of a key version a month, for the first `upto` of them (None: for all the rest)."""

    upto: int | None
    monthly: Decimal


@dataclass(frozen=True, slots=True)
class Price:
    """How a place is paid; `advanced` is for RSA over 2048 bits and elliptic curves, where they cost more."""

    source: str
    versions: tuple[Tier, ...] = ()
    advanced_versions: tuple[Tier, ...] = ()
    billed_versions_a_key: int | None = None
    per_10000_calls: Decimal = Decimal(0)
    advanced_per_10000_calls: Decimal = Decimal(0)
    free_calls_a_month: int = 0
    per_hour: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class YearlyCost:
    """US dollars a year: for keeping keys, for calls, and for a service that costs by the hour, used or not."""

    keys: Decimal
    calls: Decimal
    service: Decimal
    total: Decimal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.keys + self.calls + self.service)


SOURCES: dict[str, Source] = {
    "aws_price": Source("AWS Key Management Service pricing"),
    "aws_rotation_price": Source("AWS Key Management Service pricing, key rotation (since May 2024)", confirmed=False),
    "aws_quota": Source("AWS KMS Developer Guide, Request quotas", "2026-11-23"),
    "aws_internals": Source("AWS KMS Developer Guide, AWS KMS internal operations (certificate 4884)"),
    "aws_rotation": Source("AWS KMS API Reference, EnableKeyRotation, RotateKeyOnDemand"),
    "aws_guide": Source("AWS KMS Developer Guide", confirmed=False),
    "gcp_price": Source("Cloud Key Management Service pricing (effective 17 March 2025)"),
    "gcp_levels": Source("Cloud KMS, Protection levels"),
    "gcp_hsm": Source("Cloud KMS, Cloud HSM"),
    "gcp_algorithms": Source("Cloud KMS, Key purposes and algorithms"),
    "gcp_quota": Source("Cloud KMS, Quotas (before 16 February 2026)", confirmed=False),
    "gcp_quota_now": Source("Cloud KMS, Quotas after 16 February 2026"),
    "gcp_reference": Source("Cloud KMS API reference, v1, with its client library 3.18"),
    "azure_price": Source("Azure Key Vault pricing", confirmed=False),
    "azure_keys": Source("Azure Key Vault, About keys"),
    "azure_limits": Source("Azure Key Vault service limits"),
    "azure_byok": Source("Azure Key Vault, Bring your own key specification"),
    "azure_guide": Source("Azure Key Vault documentation", confirmed=False),
    "azure_library": Source("azure-keyvault-keys 4.11, reference of its client"),
    "openbao": Source("OpenBao, Transit secrets engine", confirmed=False),
    "pkcs11": Source("PKCS #11 Specification 3.1 (OASIS)", confirmed=False),
    "kmip": Source("KMIP Specification 2.1 (OASIS)", confirmed=False),
    "portal": Source("This portal"),
}

PLACES: dict[str, Place] = {
    "aws_kms": Place("aws_kms", "AWS KMS"),
    "gcp_kms": Place("gcp_kms", "Google Cloud KMS, software"),
    "gcp_kms_hsm": Place("gcp_kms", "Google Cloud HSM"),
    "azure_kv": Place("azure_kv", "Azure Key Vault, standard"),
    "azure_kv_premium": Place("azure_kv", "Azure Key Vault, premium"),
    "azure_mhsm": Place("azure_kv", "Azure Managed HSM"),
    "vault_transit": Place("vault_transit", "Vault or OpenBao transit"),
    "pkcs11": Place("pkcs11", "HSM of your own (PKCS #11)"),
    "kmip": Place("kmip", "KMIP server"),
    "local": Place("local", "This portal"),
}

_OWN = Cell("Your own server's, and its power and people", "portal")
_NO_LIMIT = Cell("What the machine does", "portal")

FEATURES: dict[str, dict[str, Cell]] = {
    "Key types": {
        "aws_kms": Cell("AES-256, RSA, ECC, HMAC, Ed25519, ML-DSA", "aws_guide"),
        "gcp_kms": Cell("AES-256, RSA, EC, Ed25519, HMAC, ML-DSA, ML-KEM", "gcp_reference"),
        "gcp_kms_hsm": Cell("AES-256, RSA, EC, HMAC", "gcp_algorithms"),
        "azure_kv": Cell("RSA, EC; no symmetric keys", "azure_keys"),
        "azure_kv_premium": Cell("RSA, EC; AES in preview", "azure_keys"),
        "azure_mhsm": Cell("RSA, EC, AES", "azure_keys"),
        "vault_transit": Cell("AES, ChaCha20, RSA, EC, Ed25519, HMAC", "openbao"),
        "pkcs11": Cell("What the device has", "pkcs11"),
        "kmip": Cell("What the server has", "kmip"),
        "local": Cell("All the portal's own, post-quantum too", "portal"),
    },
    "Kept in hardware": {
        "aws_kms": Cell("Always; a CloudHSM cluster of your own on request", "aws_internals"),
        "gcp_kms": Cell("No", "gcp_levels"),
        "gcp_kms_hsm": Cell("Yes, shared or single-tenant", "gcp_levels"),
        "azure_kv": Cell("No", "azure_keys"),
        "azure_kv_premium": Cell("Yes, shared", "azure_keys"),
        "azure_mhsm": Cell("Yes, single-tenant", "azure_keys"),
        "vault_transit": Cell("Only its seal", "openbao"),
        "pkcs11": Cell("Yes; software tokens are for tests", "pkcs11"),
        "kmip": Cell("Depends on the server", "kmip"),
        "local": Cell("Only if its root is sealed by hardware", "portal"),
    },
    "FIPS 140": {
        "aws_kms": Cell("140-3 level 3", "aws_internals"),
        "gcp_kms": Cell("140-2 level 1", "gcp_levels"),
        "gcp_kms_hsm": Cell("140-2 level 3", "gcp_hsm"),
        "azure_kv": Cell("140-2 level 1", "azure_keys"),
        "azure_kv_premium": Cell("140-3 level 3 (keys made earlier: 140-2 level 2)", "azure_keys"),
        "azure_mhsm": Cell("140-3 level 3", "azure_keys"),
        "vault_transit": Cell("None in the open-source server", "openbao"),
        "pkcs11": Cell("The device's own certificate", "pkcs11"),
        "kmip": Cell("The server's own certificate", "kmip"),
        "local": Cell("None", "portal"),
    },
    "Rotates by itself": {
        "aws_kms": Cell("Symmetric keys, every 90 to 2,560 days (365 unless set)", "aws_rotation"),
        "gcp_kms": Cell("Symmetric keys, any period from a day", "gcp_reference"),
        "gcp_kms_hsm": Cell("Symmetric keys, any period from a day", "gcp_reference"),
        "azure_kv": Cell("By a policy of the key", "azure_library"),
        "azure_kv_premium": Cell("By a policy of the key", "azure_library"),
        "azure_mhsm": Cell("By a policy of the key", "azure_library"),
        "vault_transit": Cell("By a period of the key", "openbao"),
        "pkcs11": Cell("No; the portal does", "portal"),
        "kmip": Cell("No; the portal does", "portal"),
        "local": Cell("The portal does", "portal"),
    },
    "Several regions": {
        "aws_kms": Cell("Multi-region keys: primary and replicas", "aws_price"),
        "gcp_kms": Cell("Multi-regions and a global location; the key is one", "gcp_reference"),
        "gcp_kms_hsm": Cell("Multi-regions and a global location; the key is one", "gcp_reference"),
        "azure_kv": Cell("Copied to the paired region for reading", "azure_guide"),
        "azure_kv_premium": Cell("Copied to the paired region for reading", "azure_guide"),
        "azure_mhsm": Cell("One more region on request", "azure_guide"),
        "vault_transit": Cell("Replicas of your own", "openbao"),
        "pkcs11": Cell("The vendor's own cloning", "pkcs11"),
        "kmip": Cell("Depends on the server", "kmip"),
        "local": Cell("With the database", "portal"),
    },
    "Brings your own material": {
        "aws_kms": Cell("RSA-OAEP, or RSA-AES key wrap", "aws_guide"),
        "gcp_kms": Cell("Import jobs, RSA-AES key wrap", "gcp_reference"),
        "gcp_kms_hsm": Cell("Import jobs, RSA-AES key wrap", "gcp_reference"),
        "azure_kv": Cell("As JSON Web Key inside TLS", "azure_library"),
        "azure_kv_premium": Cell("Wrapped under a key of the HSM", "azure_byok"),
        "azure_mhsm": Cell("Wrapped under a key of the HSM, AES too", "azure_byok"),
        "vault_transit": Cell("RSA-AES key wrap", "openbao"),
        "pkcs11": Cell("Unwrapped inside the device", "pkcs11"),
        "kmip": Cell("Registered over TLS with a client certificate", "kmip"),
        "local": Cell("Wrapped under the sealed root", "portal"),
    },
    "Wait before destruction": {
        "aws_kms": Cell("7 to 30 days", "aws_guide"),
        "gcp_kms": Cell("30 days unless the key says otherwise, one at least", "gcp_reference"),
        "gcp_kms_hsm": Cell("30 days unless the key says otherwise, one at least", "gcp_reference"),
        "azure_kv": Cell("7 to 90 days in the bin, with all versions", "azure_library"),
        "azure_kv_premium": Cell("7 to 90 days in the bin, with all versions", "azure_library"),
        "azure_mhsm": Cell("7 to 90 days in the bin, with all versions", "azure_library"),
        "vault_transit": Cell("None; the portal waits", "portal"),
        "pkcs11": Cell("None; the portal waits", "portal"),
        "kmip": Cell("None; the portal waits", "portal"),
        "local": Cell("7 days at least, 30 unless set", "portal"),
    },
    "Calls a second": {
        "aws_kms": Cell("10,000 to 100,000 symmetric by region; 1,000 RSA, ECC, ML-DSA; adjustable", "aws_quota"),
        "gcp_kms": Cell("1,000 (60,000 a minute) a project; since 2026 by region, adjusting itself", "gcp_quota"),
        "gcp_kms_hsm": Cell("By region, adjusting itself; refused only when the service is full", "gcp_quota_now"),
        "azure_kv": Cell("400 (4,000 in ten seconds) a vault; RSA-3072 100, RSA-4096 50", "azure_limits"),
        "azure_kv_premium": Cell("200 (2,000 in ten seconds) a vault; RSA-3072 50, RSA-4096 25", "azure_limits"),
        "azure_mhsm": Cell("By the size of the pool", "azure_guide"),
        "vault_transit": _NO_LIMIT,
        "pkcs11": _NO_LIMIT,
        "kmip": _NO_LIMIT,
        "local": _NO_LIMIT,
    },
    "Price of keys": {
        "aws_kms": Cell("$1 a key and month, $1 more after each of the first two rotations", "aws_rotation_price"),
        "gcp_kms": Cell("$0.06 a version and month", "gcp_price"),
        "gcp_kms_hsm": Cell("$1 a version and month; RSA over 2048 and EC $2.50, above 2,000 of them $1", "gcp_price"),
        "azure_kv": Cell("Nothing", "azure_price"),
        "azure_kv_premium": Cell(
            "$1 a version in use and month; RSA over 2048 and EC $5, falling to $0.40", "azure_price"
        ),
        "azure_mhsm": Cell("$3.20 an hour for the pool", "azure_price"),
        "vault_transit": _OWN,
        "pkcs11": _OWN,
        "kmip": _OWN,
        "local": _OWN,
    },
    "Price of 10,000 calls": {
        "aws_kms": Cell("$0.03, RSA over 2048 and ECC $0.15; 20,000 a month free", "aws_price"),
        "gcp_kms": Cell("$0.03", "gcp_price"),
        "gcp_kms_hsm": Cell("$0.03, RSA over 2048 and EC $0.15", "gcp_price"),
        "azure_kv": Cell("$0.03, RSA over 2048 and EC $0.15", "azure_price"),
        "azure_kv_premium": Cell("$0.03, RSA over 2048 and EC $0.15", "azure_price"),
        "azure_mhsm": Cell("Nothing", "azure_price"),
        "vault_transit": _OWN,
        "pkcs11": _OWN,
        "kmip": _OWN,
        "local": _OWN,
    },
}

_THREE_CENTS, _FIFTEEN_CENTS, _DOLLAR = Decimal("0.03"), Decimal("0.15"), Tier(None, Decimal(1))

# Places that are absent are paid by nobody's list: a server or a device of one's own.
PRICES: dict[str, Price] = {
    "aws_kms": Price(
        "aws_rotation_price",
        versions=(_DOLLAR,),
        advanced_versions=(_DOLLAR,),
        billed_versions_a_key=3,
        per_10000_calls=_THREE_CENTS,
        advanced_per_10000_calls=_FIFTEEN_CENTS,
        free_calls_a_month=20_000,
    ),
    "gcp_kms": Price(
        "gcp_price",
        versions=(Tier(None, Decimal("0.06")),),
        advanced_versions=(Tier(None, Decimal("0.06")),),
        per_10000_calls=_THREE_CENTS,
        advanced_per_10000_calls=_THREE_CENTS,
    ),
    "gcp_kms_hsm": Price(
        "gcp_price",
        versions=(_DOLLAR,),
        advanced_versions=(Tier(2_000, Decimal("2.50")), _DOLLAR),
        per_10000_calls=_THREE_CENTS,
        advanced_per_10000_calls=_FIFTEEN_CENTS,
    ),
    "azure_kv": Price("azure_price", per_10000_calls=_THREE_CENTS, advanced_per_10000_calls=_FIFTEEN_CENTS),
    "azure_kv_premium": Price(
        "azure_price",
        versions=(_DOLLAR,),
        advanced_versions=(
            Tier(250, Decimal(5)),
            Tier(1_500, Decimal("2.50")),
            Tier(4_000, Decimal("0.90")),
            Tier(None, Decimal("0.40")),
        ),
        per_10000_calls=_THREE_CENTS,
        advanced_per_10000_calls=_FIFTEEN_CENTS,
    ),
    "azure_mhsm": Price("azure_price", per_hour=Decimal("3.20")),
}
HOURS_A_YEAR, MONTHS_A_YEAR = 8_760, 12


def yearly_cost(kind: str, keys: int, versions: int, calls: int, *, advanced: bool = False) -> YearlyCost | None:
    """What a place of PLACES charges a year for so many keys, versions kept all year, and calls spread evenly over it.

    None where nobody publishes a price: a server or a device of one's own. `advanced` prices RSA over 2048 bits and
    elliptic curves. Versions are at least one a key. Raises KeyError for an unknown place, ValueError for counts below
    zero or fewer versions than keys.
    """
    if min(keys, versions, calls) < 0 or versions < keys:
        raise ValueError("counts are not below zero, and every key has a version")
    if kind not in PLACES:
        raise KeyError(kind)
    price = PRICES.get(kind)
    if price is None:
        return None
    billed = versions if price.billed_versions_a_key is None else min(versions, keys * price.billed_versions_a_key)
    tiers = price.advanced_versions if advanced else price.versions
    per_10000 = price.advanced_per_10000_calls if advanced else price.per_10000_calls
    paid_calls = max(0, calls - price.free_calls_a_month * MONTHS_A_YEAR)
    return YearlyCost(
        keys=_tiered(tiers, billed) * MONTHS_A_YEAR,
        calls=per_10000 * paid_calls / 10_000,
        service=price.per_hour * HOURS_A_YEAR,
    )


def _tiered(tiers: tuple[Tier, ...], count: int) -> Decimal:
    """The monthly price of `count` versions, each part of them at its tier's."""
    total, below = Decimal(0), 0
    for tier in tiers:
        here = (count if tier.upto is None else min(count, tier.upto)) - below
        if here <= 0:
            break
        total, below = total + tier.monthly * here, below + here
    return total
