"""Links that work once: the set-up of the first officer, and the first sign-in of an invited person."""

import re
from datetime import timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.credentials import credential_digest, credential_matches, new_secret
from keyvault_portal.accounts.models import OneTimeLink, Person, RoleBinding
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.accounts.services.officers import lock_officers, officer_exists
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, ValidationFailed, WrongState

LINK_TEXT = re.compile(r"([0-9a-f]{32})-([A-Za-z0-9_-]{43})", re.ASCII)
SETUP_LIFETIME = timedelta(hours=24)
SIGN_IN_LIFETIME = timedelta(hours=24)

_PAGES = {OneTimeLink.Purpose.SETUP: "accounts:setup", OneTimeLink.Purpose.SIGN_IN: "accounts:sign-in-link"}


def create_setup_link() -> str:
    """The absolute address at which the first security officer is made; works once, within 24 hours.

    For the operator at the terminal, so it takes no actor. Earlier set-up links stop working.
    Raises WrongState once there is an officer.
    """
    actor = system_actor("set-up")
    with audit.atomic(actor=actor, action="setup.link", target=("link", "", "set-up")) as act:
        lock_officers()
        _refuse_when_set_up()
        OneTimeLink.objects.filter(purpose=OneTimeLink.Purpose.SETUP, used_at=None).delete()
        link, address = _create(OneTimeLink.Purpose.SETUP, None, SETUP_LIFETIME)
        act.record(target=("link", link.pk, "set-up"))
    return address


def redeem_setup_link(*, link: str, email: str, name: str, password: str, address: str | None = None) -> Person:
    """Make the first security officer; raises NotFound for a link that does not work, WrongState once there is one."""
    actor = Actor(id=None, kind="system", label="set-up link", address=address)
    with audit.atomic(actor=actor, action="setup.redeem", target=("person", "", email)) as act:
        lock_officers()
        found = _take(link, OneTimeLink.Purpose.SETUP)
        _refuse_when_set_up()
        _check_password(password, Person(email=email, name=name))
        if Person.objects.filter(email__iexact=email).exists():
            raise ValidationFailed(errors={"email": ["Somebody uses this address already."]})
        person = Person.objects.create_person(email=email, name=name, password=password)
        RoleBinding.objects.create(person=person, role=Role.SECURITY_OFFICER, created_by=actor.label)
        act.record(
            {"role": Role.SECURITY_OFFICER.value, "link": str(found.pk)}, target=("person", person.pk, str(person))
        )
    return person


def create_sign_in_link(*, actor: Actor, person: Person) -> str:
    """The absolute address that signs `person` in once within 24 hours; a second factor set up is still asked for.

    Asks for person.manage on everything. Earlier links of this person stop working.
    """
    target = ("person", person.pk, str(person))
    with audit.atomic(actor=actor, action="person.sign_in_link", target=target) as act:
        authorize(actor, Permission.PERSON_MANAGE, target=str(person))
        if not person.is_active or person.kind != Person.Kind.PERSON:
            raise WrongState("Only an active person can sign in.")
        end_sign_in_links(person)
        link, address = _create(OneTimeLink.Purpose.SIGN_IN, person, SIGN_IN_LIFETIME)
        act.record({"link": str(link.pk), "expires_at": link.expires_at.isoformat()})
    return address


def end_sign_in_links(person: Person) -> None:
    """Make the sign-in links that nobody has used stop working; within a service that authorises and records."""
    OneTimeLink.objects.filter(purpose=OneTimeLink.Purpose.SIGN_IN, person=person, used_at=None).delete()


def redeem_sign_in_link(*, link: str, address: str | None = None) -> Person:
    """The person `link` was made for, who may now be signed in; raises NotFound for a link that does not work."""
    actor = Actor(id=None, kind="system", label="sign-in link", address=address)
    with audit.atomic(actor=actor, action="person.redeem_link", target=("link", "", "sign-in")) as act:
        found = _take(link, OneTimeLink.Purpose.SIGN_IN)
        person = found.person
        if person is None or not person.is_active:
            raise _not_working()
        act.record({"link": str(found.pk)}, target=("person", person.pk, str(person)))
    return person


def link_works(link: str, purpose: OneTimeLink.Purpose) -> bool:
    """Whether `link` would be redeemed now; uses nothing up."""
    try:
        _find(link, purpose)
    except NotFound:
        return False
    return True


def _create(purpose: OneTimeLink.Purpose, person: Person | None, lifetime: timedelta) -> tuple[OneTimeLink, str]:
    link_id, secret = uuid4(), new_secret()
    link = OneTimeLink.objects.create(
        id=link_id,
        purpose=purpose,
        person=person,
        digest=credential_digest(link_id, secret),
        expires_at=timezone.now() + lifetime,
    )
    path = reverse(_PAGES[purpose], args=[f"{link_id.hex}-{secret}"])
    return link, settings.PORTAL_ORIGIN.rstrip("/") + path


def _find(text: str, purpose: OneTimeLink.Purpose, *, lock: bool = False) -> OneTimeLink:
    match = LINK_TEXT.fullmatch(text)
    if match is None:
        raise _not_working()
    links = OneTimeLink.objects.select_for_update(of=("self",)) if lock else OneTimeLink.objects
    link = links.filter(pk=UUID(hex=match[1]), purpose=purpose).select_related("person").first()
    if link is None or not credential_matches(bytes(link.digest), link.pk, match[2]):
        raise _not_working()
    if link.used_at is not None or link.expires_at <= timezone.now():
        raise _not_working()
    return link


def _take(text: str, purpose: OneTimeLink.Purpose) -> OneTimeLink:
    link = _find(text, purpose, lock=True)
    link.used_at = timezone.now()
    link.save(update_fields=["used_at"])
    return link


def _not_working() -> NotFound:
    return NotFound("This link does not work any more.", hint="Links work once and for 24 hours; ask for a new one.")


def _refuse_when_set_up() -> None:
    if officer_exists():
        raise WrongState("The portal is already set up.", hint="Ask a security officer for an invitation.")


def _check_password(password: str, person: Person) -> None:
    try:
        validate_password(password, person)
    except ValidationError as error:
        raise ValidationFailed(errors={"password": error.messages}) from None
