"""Sign-ins, failures and changes of credentials go on the record, from the signals of django-allauth."""

from typing import Any

from allauth.account import signals as account
from allauth.account.authentication import get_authentication_records
from allauth.account.internal.flows.login import record_authentication
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.contrib.auth.signals import user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.passkeys import passkey_in, to_text
from keyvault_portal.accounts.second_factor import FIRST_RATE
from keyvault_portal.accounts.web import client_address
from keyvault_portal.audit import services as audit


def _record(
    request: HttpRequest | None,
    person: Any,
    action: str,
    /,
    *,
    outcome: str = "success",
    **details: Any,
) -> None:
    address = client_address(request) if request is not None else None
    target: tuple[str, object, str]
    if isinstance(person, Person):
        actor = Actor(id=person.pk, kind=person.kind, label=str(person), address=address)
        target = ("person", person.pk, str(person))
    else:
        actor = Actor(id=None, kind="person", label="unknown person", address=address)
        target = ("person", "", "unknown person")
    audit.record(actor=actor, action=action, target=target, details=details, outcome=outcome)


@receiver(account.user_logged_in)
def signed_in(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    records = get_authentication_records(request, user)
    _record(request, user, "session.sign_in", methods=[record.get("type") or record["method"] for record in records])


@receiver(user_logged_out)
def signed_out(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    if user is not None:
        _record(request, user, "session.sign_out")


@receiver(user_login_failed)
def sign_in_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Names the person aimed at if there is one; what else was typed may be a password in the wrong field."""
    email = credentials.get("email") or credentials.get("username") or ""
    person = Person.objects.filter(email__iexact=email).first() if isinstance(email, str) else None
    _record(request, person, "session.sign_in", outcome="refused", code="wrong_credentials")


@receiver(mfa.authentication_failed)
def second_factor_failed(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    _record(request, user, "session.second_factor", outcome="refused", code="wrong_second_factor")


@receiver(mfa.authenticator_used)
def second_factor_used(request: HttpRequest, user: Any, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(request, user, "session.second_factor", type=str(authenticator.type))


@receiver(mfa.authenticator_added)
def second_factor_added(request: HttpRequest, user: Any, authenticator: Authenticator, **kwargs: Any) -> None:
    details: dict[str, Any] = {"type": str(authenticator.type)}
    if authenticator.type == Authenticator.Type.WEBAUTHN and (made := passkey_in(authenticator)) is not None:
        # So that the record tells whose key it is that signs agreements later.
        details |= {"signing_key": to_text(made.credential.credential_id), "person": str(user.pk)}
    _record(request, user, "second_factor.add", **details)
    if authenticator.type in FIRST_RATE:
        # Adding one proves it: the code or the key was just shown, so this session has its second factor.
        record_authentication(request, user, "mfa", id=authenticator.pk, type=str(authenticator.type))


@receiver(mfa.authenticator_removed)
def second_factor_removed(request: HttpRequest, user: Any, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(request, user, "second_factor.remove", type=str(authenticator.type))


@receiver(mfa.authenticator_reset)
def second_factor_reset(request: HttpRequest, user: Any, authenticator: Authenticator, **kwargs: Any) -> None:
    _record(request, user, "second_factor.reset", type=str(authenticator.type))


@receiver(account.password_set)
@receiver(account.password_changed)
def password_changed(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    _record(request, user, "password.change")


@receiver(account.password_reset)
def password_reset(request: HttpRequest, user: Any, **kwargs: Any) -> None:
    _record(request, user, "password.reset")
