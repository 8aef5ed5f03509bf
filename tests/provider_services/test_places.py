"""The page that compares places."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from keys.models import KeyVersion
from tests.api.conftest import sign_in
from tests.shop import fresh_caches, organisation

__all__ = ["fresh_caches", "organisation"]


@pytest.mark.django_db(transaction=True)
def test_the_organisations_own_inventory_is_priced(organisation):
    officer = sign_in(organisation.people["ada"])
    KeyVersion.objects.update(uses_reserved=0)
    assert 'name="calls" value="10000000"' in officer.get("/keys/places/").content.decode(), "nothing was counted yet"
    first = KeyVersion.objects.order_by("pk").first()
    KeyVersion.objects.filter(pk=first.pk).update(
        uses_reserved=20_000, created_at=timezone.now() - timedelta(days=10, hours=1)
    )
    page = officer.get("/keys/places/").content.decode()
    assert 'name="calls" value="730000"' in page, "2,000 a day"
    page = officer.get("/keys/places/", {"keys": 4, "versions": 4, "calls": 10_000_000}).content.decode()
    # 4 keys at a dollar a month; ten million calls less 20,000 a month free, at three cents for ten thousand.
    assert "48.00" in page
    assert "29.28" in page
    assert "unconfirmed" in page
    named = set(re.findall(r'href="#source-(\d+)"', page))
    assert named == set(re.findall(r'id="source-(\d+)"', page)), "each figure names its source, and each source is used"


@pytest.mark.django_db(transaction=True)
def test_fewer_versions_than_keys_are_refused(organisation):
    page = sign_in(organisation.people["fay"]).get("/keys/places/", {"keys": 5, "versions": 4, "calls": 0})
    assert b"at least one version" in page.content
    assert b"US$ a year" not in page.content
