"""The comparison is whole and sourced, and its arithmetic is the vendors'."""

from datetime import date
from decimal import Decimal

import pytest

from keys.providers.comparison import FEATURES, PLACES, PRICES, SOURCES, YearlyCost, yearly_cost


def test_every_place_is_told_in_every_respect_with_a_source():
    for feature, row in FEATURES.items():
        assert list(row) == list(PLACES), feature
        for cell in row.values():
            assert cell.text
            assert cell.source in SOURCES


def test_every_source_is_used_and_dated():
    used = {cell.source for row in FEATURES.values() for cell in row.values()} | {
        price.source for price in PRICES.values()
    }
    assert used == set(SOURCES)
    for source in SOURCES.values():
        assert date.fromisoformat(source.read_on) <= date.today()


@pytest.mark.parametrize(
    ("kind", "keys", "versions", "calls", "advanced", "cost"),
    [
        # AWS: 10 keys x $12; calls: 12 x 20,000 are free, so 9,760,000 / 10,000 x $0.03.
        ("aws_kms", 10, 10, 10_000_000, False, ("120", "29.28", "0")),
        ("aws_kms", 10, 10, 10_000_000, True, ("120", "146.40", "0")),
        ("aws_kms", 0, 0, 240_000, False, ("0", "0", "0")),
        ("aws_kms", 1, 1, 250_000, False, ("12", "0.03", "0")),
        # Two rotations are paid, the third is not: 1 key with 2, 3 and 4 versions.
        ("aws_kms", 1, 2, 0, False, ("24", "0", "0")),
        ("aws_kms", 1, 3, 0, False, ("36", "0", "0")),
        ("aws_kms", 1, 4, 0, False, ("36", "0", "0")),
        # Google, software: 100 versions x $0.06 x 12; every call is paid.
        ("gcp_kms", 25, 100, 10_000_000, False, ("72", "30", "0")),
        ("gcp_kms", 25, 100, 10_000_000, True, ("72", "30", "0")),
        ("gcp_kms_hsm", 25, 100, 10_000_000, False, ("1200", "30", "0")),
        # 2,000 x $2.50 and 500 x $1, each twelve times.
        ("gcp_kms_hsm", 2_500, 2_500, 10_000_000, True, ("66000", "150", "0")),
        ("azure_kv", 100, 400, 1_000_000, False, ("0", "3", "0")),
        ("azure_kv", 100, 400, 1_000_000, True, ("0", "15", "0")),
        ("azure_kv_premium", 100, 400, 1_000_000, False, ("4800", "3", "0")),
        # 250 x $5, 1,250 x $2.50, 2,500 x $0.90, 1,000 x $0.40, each twelve times.
        ("azure_kv_premium", 5_000, 5_000, 0, True, ("84300", "0", "0")),
        ("azure_kv_premium", 250, 250, 0, True, ("15000", "0", "0")),
        ("azure_kv_premium", 251, 251, 0, True, ("15030", "0", "0")),
        ("azure_mhsm", 0, 0, 0, False, ("0", "0", "28032")),
        ("azure_mhsm", 500, 5_000, 10**9, True, ("0", "0", "28032")),
    ],
)
def test_a_year_is_reckoned_as_the_vendor_bills_it(kind, keys, versions, calls, advanced, cost):
    reckoned = yearly_cost(kind, keys, versions, calls, advanced=advanced)
    assert reckoned == YearlyCost(*(Decimal(part) for part in cost))
    assert reckoned.total == sum(Decimal(part) for part in cost)


@pytest.mark.parametrize("kind", sorted(set(PLACES) - set(PRICES)))
def test_what_nobody_lists_has_no_price(kind):
    assert yearly_cost(kind, 1, 1, 1) is None


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (2, 1, 0)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="counts"):
        yearly_cost("aws_kms", *counts)


def test_an_unknown_place_is_refused():
    with pytest.raises(KeyError):
        yearly_cost("abacus", 1, 1, 1)
