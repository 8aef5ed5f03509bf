"""How django-allauth behaves here: only active people sign in, nobody signs up, TOTP keys are encrypted."""

import base64
import hashlib
import hmac
from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.second_factor import FIRST_RATE, LAST_ONE, requires_second_factor
from keyvault_portal.accounts.web import client_address
from keyvault_portal.audit import services as audit


class AccountAdapter(DefaultAccountAdapter):
    """People come by invitation only; services do not sign in, because a session has none of their tokens' limits."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request) or super().get_client_ip(request)

    def login(self, request: HttpRequest, user: Any) -> None:
        """The last step of every way to sign in; whoever is no active person by now gets no session."""
        if not user.is_active or user.kind != Person.Kind.PERSON:
            clear_login(request)
            raise ImmediateHttpResponse(self.respond_user_inactive(request, user))
        super().login(request, user)

    def respond_user_inactive(self, request: HttpRequest, user: Any) -> HttpResponse:
        """To whoever proved who they are and may not come in; on the record."""
        actor = Actor(id=user.pk, kind=user.kind, label=str(user), address=client_address(request))
        target = ("person", user.pk, str(user))
        details = {"code": "no_active_person"}
        audit.record(actor=actor, action="session.sign_in", target=target, details=details, outcome="refused")
        return super().respond_user_inactive(request, user)

    def send_password_reset_mail(self, user: Any, email: str, context: dict[str, Any]) -> None:
        """To people only, and at their own address: others that django-allauth once took from a session do not count."""
        if user.kind == Person.Kind.PERSON and user.email.lower() == email.lower():
            super().send_password_reset_mail(user, email, context)


class MfaAdapter(DefaultMFAAdapter):
    """Second factors: keys at rest are encrypted, and who needs one cannot remove the last."""

    error_messages: ClassVar[dict[str, Any]] = DefaultMFAAdapter.error_messages | {
        "cannot_delete_authenticator": LAST_ONE
    }

    def generate_authenticator_name(self, user: Any, type: str) -> str:
        """What a new one is called until its owner says otherwise; no name that a key of the portal could have."""
        number = Authenticator.objects.filter(user=user, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"

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
