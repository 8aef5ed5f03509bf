"""The page that compares places."""

import pytest

from tests.api.conftest import sign_in
from tests.shop import fresh_caches, organisation

__all__ = ["fresh_caches", "organisation"]


@pytest.mark.django_db(transaction=True)
def test_the_organisations_own_inventory_is_priced(organisation):
    officer = sign_in(organisation.people["ada"])
    page = officer.get("/keys/places/").content.decode()
    assert 'name="keys" value="4"' in page
    # 4 keys at a dollar a month; ten million calls less 20,000 a month free, at three cents for ten thousand.
    assert "48.00" in page
    assert "29.28" in page
    assert "unconfirmed" in page


@pytest.mark.django_db(transaction=True)
def test_fewer_versions_than_keys_are_refused(organisation):
    page = sign_in(organisation.people["fay"]).get("/keys/places/", {"keys": 5, "versions": 4, "calls": 0})
    assert b"at least one version" in page.content
    assert b"US$ a year" not in page.content
