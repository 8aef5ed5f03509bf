"""People and service accounts: invited, edited, deactivated; never deleted, so that the record keeps its names."""

from collections.abc import Callable
from smtplib import SMTPException
from uuid import UUID

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.template.loader import render_to_string

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.accounts.services.agreement import (
    CHANGE_ADDRESS,
    DEACTIVATE,
    REACTIVATE,
    Wish,
    decides,
    need_agreement,
)
from keyvault_portal.accounts.services.links import create_sign_in_link, end_sign_in_links
from keyvault_portal.accounts.services.officers import lock_officers, refuse_without_officer
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError, ValidationFailed, WrongState

Listener = Callable[[Person], None]
_listeners: list[Listener] = []
_PROFILE = ("name", "email", "site", "reporting_line")


def on_address_changed(listener: Listener) -> None:
    """Have `listener(person)` called when an address was changed, before that is stored: what it raises undoes the change."""
    if listener not in _listeners:
        _listeners.append(listener)


class MailUnavailable(PortalError):
    status, code, title = 503, "mail_unavailable", "The mail could not be sent"


def create_person(
    *,
    actor: Actor,
    email: str,
    name: str,
    kind: str = Person.Kind.PERSON,
    site: str = "",
    reporting_line: str = "",
) -> Person:
    """A new person or service account without any role; asks for person.manage on everything.

    Raises ValidationFailed when the address is taken, whatever its letters' case.
    """
    with audit.atomic(actor=actor, action="person.create", target=("person", "", name)) as act:
        authorize(actor, Permission.PERSON_MANAGE, target=name)
        try:
            with transaction.atomic():
                person = Person.objects.create_person(
                    email=email, name=name, kind=kind, site=site, reporting_line=reporting_line
                )
        except IntegrityError:
            raise _taken() from None
        act.record({"kind": str(kind)}, target=_target(person))
    return person


def invite(*, actor: Actor, email: str, name: str, site: str = "", reporting_line: str = "") -> Person:
    """Create a person and mail them a one-time sign-in link; raises MailUnavailable once the person exists."""
    person = create_person(actor=actor, email=email, name=name, site=site, reporting_line=reporting_line)
    send_invitation(actor=actor, person=person)
    return person


def send_invitation(*, actor: Actor, person: Person) -> None:
    """Mail `person` a new one-time sign-in link; earlier ones stop working. Raises MailUnavailable."""
    address = create_sign_in_link(actor=actor, person=person)
    text = render_to_string("accounts/invitation.txt", {"person": person, "inviter": actor.label, "address": address})
    try:
        EmailMessage("Your invitation to KeyVault Portal", text, to=[person.email]).send()
    except (OSError, SMTPException):
        raise MailUnavailable(
            f"The invitation of {person} could not be mailed.", hint="Check the mail settings, then invite again."
        ) from None


def update_person(
    *, actor: Actor, person: Person, name: str, site: str, reporting_line: str, email: str | None = None,
    approval_id: UUID | None = None,
) -> Person:  # fmt: skip
    """Change what is known about `person` (the address only where one is given); asks for person.manage on everything.

    A changed address is on the record with the one before, both are mailed the change, and links that went to the old one
    stop working. Where `person` decides on requests, others agree to it first: a new password is mailed to the address.
    Raises ApprovalRequired, ValidationFailed when it is taken, Conflict from who listens, MailUnavailable once all is changed.
    """
    with audit.atomic(actor=actor, action="person.edit", target=_target(person)) as act:
        authorize(actor, Permission.PERSON_MANAGE, target=str(person))
        now = locked(person)
        old = now.email
        email = old if email is None else Person.objects.normalize_email(email).lower()
        values = {"name": name, "email": email, "site": site, "reporting_line": reporting_line}
        changed = sorted(field for field in _PROFILE if getattr(now, field) != values[field])
        details: dict[str, object] = {"changed": changed}
        if "email" in changed:
            if Person.objects.filter(email=email).exclude(pk=now.pk).exists():
                raise _taken()
            why = f"The address of {now} is to be {email}."
            _agreed(actor, CHANGE_ADDRESS, now, approval_id, why, **values)
            details |= {"approval": str(approval_id)} if approval_id else {}
        for field in changed:
            setattr(person, field, values[field])
        try:
            with transaction.atomic():
                person.save(update_fields=changed)
        except IntegrityError:
            raise _taken() from None
        if "email" in changed:
            details |= {"old_email": old, "new_email": email}
            for listener in _listeners:
                listener(person)
            end_sign_in_links(person)
            EmailAddress.objects.filter(user=person).delete()  # what django-allauth remembers lets people sign in, too
        act.record(details)
    if "email" in changed and person.kind == Person.Kind.PERSON:
        _tell_of_address(actor, person, old)
    return person


def deactivate_person(*, actor: Actor, person: Person, approval_id: UUID | None = None) -> Person:
    """Keep `person` out from now on: sessions end, tokens and links are refused; asks for person.manage on everything.

    For whoever decides on requests, others must agree first, unless it is oneself. Raises ApprovalRequired, WrongState for the
    last active security officer, and when already inactive.
    """
    with audit.atomic(actor=actor, action="person.deactivate", target=_target(person)) as act:
        authorize(actor, Permission.PERSON_MANAGE, target=str(person))
        person = locked(person)
        lock_officers()
        if not person.is_active:
            raise WrongState(f"{person} is inactive already.")
        refuse_without_officer(person.pk)
        if person.pk != actor.id:
            _agreed(actor, DEACTIVATE, person, approval_id, f"{person} is to be kept out.")
        person.is_active = False
        person.save(update_fields=["is_active"])
        ended = 0
        for session in UserSession.objects.filter(user=person):
            session.end()
            ended += 1
        act.record({"sessions_ended": ended, "approval": str(approval_id) if approval_id else None})
    return person


def reactivate_person(*, actor: Actor, person: Person, approval_id: UUID | None = None) -> Person:
    """Let `person` back in with the roles they had; asks for person.manage on everything.

    For whoever would decide on requests, others must agree first. Raises ApprovalRequired, WrongState when active already.
    """
    with audit.atomic(actor=actor, action="person.reactivate", target=_target(person)) as act:
        authorize(actor, Permission.PERSON_MANAGE, target=str(person))
        person = locked(person)
        lock_officers()
        if person.is_active:
            raise WrongState(f"{person} is active already.")
        _agreed(actor, REACTIVATE, person, approval_id, f"{person} is to come back.")
        person.is_active = True
        person.save(update_fields=["is_active"])
        act.record({"approval": str(approval_id) if approval_id else None})
    return person


def _agreed(actor: Actor, operation: str, person: Person, approval_id: UUID | None, reason: str, **values: str) -> None:
    """Raise ApprovalRequired where `person` decides and others have not agreed to this, with these values."""
    if decides(person):
        params: dict[str, str | None] = {"person_id": str(person.pk), **values}
        need_agreement(Wish(actor, operation, params, person, ring_id=None, reason=reason, approval_id=approval_id))


def _tell_of_address(actor: Actor, person: Person, old: str) -> None:
    """Mail to both addresses, the old one first: its owner may be the one who never wanted this."""
    text = render_to_string("accounts/address_changed.txt", {"person": person, "officer": actor.label, "old": old})
    try:
        for address in (old, person.email):
            EmailMessage("Your address in KeyVault Portal is changed", text, to=[address]).send()
    except (OSError, SMTPException):
        raise MailUnavailable(
            f"The address of {person} is changed, but the mail that says so was not sent.",
            hint="Check the mail settings, and tell the person yourself.",
        ) from None


def _taken() -> ValidationFailed:
    return ValidationFailed(errors={"email": ["Somebody uses this address already."]})


def locked(person: Person) -> Person:
    """The person as stored, held until the end of the transaction: what is agreed to about them is done to who they are.

    Taken before `lock_officers`. The lock leaves rows free to refer to the person: whoever stores one is held up at its commit
    otherwise, with the record's head in hand.
    """
    return Person.objects.select_for_update(no_key=True).get(pk=person.pk)


def _target(person: Person) -> tuple[str, object, str]:
    return ("person", person.pk, str(person))
