"""The organisation, its shop, and the windows of its people."""

import time
from collections.abc import Callable

import pytest
from django.test import Client

from tests.shop import Organisation, active, customers, fresh_caches, organisation, shop

__all__ = ["active", "customers", "fresh_caches", "organisation", "shop"]


@pytest.fixture
def browser(organisation: Organisation) -> Callable[[str], Client]:
    """The windows of people who signed in with a second factor."""

    def sign_in(name: str) -> Client:
        client, person = Client(), organisation.people[name]
        client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
        session = client.session
        session["account_authentication_methods"] = [{"method": "mfa", "type": "totp", "at": time.time()}]
        session["account_authentication_methods_user"] = str(person.pk)
        session.save()
        return client

    return sign_in
