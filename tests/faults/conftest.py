"""The organisation and its shop, with short leases so that a dead worker's range is soon free."""

import pytest

from tests.shop import active, fresh_caches, organisation, shop

__all__ = ["active", "fresh_caches", "organisation", "shop"]


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    monkeypatch.setenv("REENCRYPTION_LEASE_SECONDS", "2")
    settings.REENCRYPTION_LEASE_SECONDS = 2.0
