"""The organisation, its shop, and the windows of its people."""

from collections.abc import Callable

import pytest
from django.test import Client

from tests.api.conftest import sign_in
from tests.shop import Organisation, active, customers, fresh_caches, organisation, shop

__all__ = ["active", "customers", "fresh_caches", "organisation", "shop"]


@pytest.fixture
def browser(organisation: Organisation) -> Callable[[str], Client]:
    """The windows of people who signed in with a second factor."""

    return lambda name: sign_in(organisation.people[name])
