"""How django-allauth behaves here: nobody signs up, addresses are read as everywhere else, TOTP keys are encrypted."""

import base64
import hashlib
import hmac
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.conf import settings
from django.http import HttpRequest

from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.second_factor import FIRST_RATE, requires_second_factor
from keyvault_portal.accounts.web import client_address


class AccountAdapter(DefaultAccountAdapter):
    """People come by invitation only."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or super().get_client_ip(request)


class MfaAdapter(DefaultMFAAdapter):
    """Second factors: keys at rest are encrypted, and who needs one cannot remove the last."""

    def encrypt(self, text: str) -> str:
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _fernet().decrypt(encrypted_text.encode()).decode()

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        person: Any = authenticator.user
        if not requires_second_factor(actor_for_person(person)):
            return True
        others = Authenticator.objects.filter(user=person, type__in=FIRST_RATE).exclude(pk=authenticator.pk)
        return others.exists()


def _fernet() -> Fernet:
    key = hmac.digest(settings.SECRET_KEY.encode(), b"keyvault-portal totp keys", hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))
