"""Who must sign in with a second factor, and whether this session was."""

from allauth.account.authentication import get_authentication_records
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.http import HttpRequest

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission, Role

FIRST_RATE = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)  # recovery codes only stand in for one of these
LAST_ONE = "Your roles require a second factor, and this is the last one. Add another one first."


def session_has_second_factor(request: HttpRequest) -> bool:
    """Whether the person of this session proved a second factor (TOTP, passkey or recovery code) in it."""
    if not request.user.is_authenticated:
        return False
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user))


def requires_second_factor(actor: Actor) -> bool:
    """Security officers and everyone who may decide approvals."""
    return any(role == Role.SECURITY_OFFICER for role, _ in actor.roles) or actor.can_somewhere(
        Permission.APPROVAL_DECIDE
    )


def has_second_factor(person: Person) -> bool:
    """Whether `person` has set up TOTP or a passkey."""
    return get_adapter().is_mfa_enabled(person, types=list(FIRST_RATE))
