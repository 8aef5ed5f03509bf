"""People of every role, rings, and a hierarchy of 2 master keys, 4 KEKs, 12 data keys, token signing and transport keys.

One of the last signs the minutes of ceremonies."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.utils import timezone

from keys.hierarchy import KeyKind
from keys.models import Key
from keys.services import creation, lifecycle, policies, stores
from keyvault_portal.accounts import services as accounts
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.identity import actor_for_person
from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.accounts.second_factor import has_second_factor
from keyvault_portal.approvals import execution
from keyvault_portal.approvals import services as approvals
from keyvault_portal.approvals.models import ApprovalRequest
from keyvault_portal.errors import ApprovalRequired

DOMAIN = "example.org"
PEOPLE = (
    ("ada", "Ada Berg", Role.SECURITY_OFFICER, "Oslo", "Risk"),
    ("boris", "Boris Lind", Role.SECURITY_OFFICER, "Tampere", "Operations"),
    ("chen", "Chen Wu", Role.SECURITY_OFFICER, "Lisbon", "Engineering"),
    ("dana", "Dana Ruiz", Role.OPERATOR, "Oslo", "Operations"),
    ("emil", "Emil Novak", Role.CUSTODIAN, "Brno", "Legal"),
    ("fay", "Fay Okafor", Role.AUDITOR, "Lagos", "Audit"),
)
SERVICES = (("shop", "Shop back end"), ("ledger", "Ledger"))
RINGS = (
    ("shop", "Shop", "Customers and their orders"),
    ("platform", "Platform", "Tokens, transport and the portal's own secrets"),
)

# name, title, kind, algorithm, parent, ring, days until its rotation is due
KEYS: tuple[tuple[str, str, str, str, str | None, str, int], ...] = (
    ("root-2026", "Root 2026", "master", "AES-256-GCM", None, "platform", 200),
    ("root-archive", "Archive root", "master", "AES-256-GCM", None, "platform", 12),
    ("customers-kek", "Customers KEK", "kek", "AES-256-GCM", "root-2026", "shop", 90),
    ("orders-kek", "Orders KEK", "kek", "AES-256-GCM", "root-2026", "shop", 21),
    ("platform-kek", "Platform KEK", "kek", "AES-256-GCM-SIV", "root-2026", "platform", 60),
    ("archive-kek", "Archive KEK", "kek", "AES-256-GCM", "root-archive", "platform", 140),
    ("customer-pii", "Customer data", "dek", "AES-256-GCM", "customers-kek", "shop", 3),
    ("customer-notes", "Customer notes", "dek", "XChaCha20-Poly1305", "customers-kek", "shop", 45),
    ("loyalty", "Loyalty cards", "dek", "AES-256-GCM", "customers-kek", "shop", 17),
    ("newsletter", "Newsletter", "dek", "ChaCha20-Poly1305", "customers-kek", "shop", 26),
    ("invoices", "Invoices", "dek", "AES-256-GCM", "orders-kek", "shop", 9),
    ("refunds", "Refunds", "dek", "AES-256-GCM", "orders-kek", "shop", -2),
    ("shipping", "Shipping labels", "dek", "AES-256-GCM-SIV", "orders-kek", "shop", 70),
    ("portal-secrets", "Portal secrets", "dek", "AES-256-GCM", "platform-kek", "platform", 80),
    ("backups", "Backups", "dek", "XChaCha20-Poly1305", "platform-kek", "platform", 33),
    ("logs", "Log archive", "dek", "AES-256-GCM", "archive-kek", "platform", 28),
    ("contracts", "Contracts", "dek", "AES-256-GCM", "archive-kek", "platform", 64),
    ("legacy-forms", "Legacy forms", "dek", "AES-256-CBC-HMAC-SHA256", "archive-kek", "platform", 5),
    ("api-tokens", "API tokens", "token_signing", "ECDSA-P256-SHA256", "platform-kek", "platform", 14),
    ("sso-tokens", "Single sign-on", "token_signing", "Ed25519", "platform-kek", "platform", 40),
    ("shop-tls", "Shop TLS", "transport", "ECDSA-P256-SHA256", "platform-kek", "platform", 24),
    ("ceremony-minutes", "Minutes of ceremonies", "transport", "ECDSA-P256-SHA256", "platform-kek", "platform", 300),
)
STORY_KEY = "customer-pii"


@dataclass
class Organisation:
    """Who and what was made, by short name."""

    people: dict[str, Person] = field(default_factory=dict)
    rings: dict[str, KeyRing] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)

    def actor(self, name: str) -> Actor:
        """Acts as this person, as after a sign-in with a second factor: whoever can run this command owns the installation."""
        return actor_for_person(self.people[name], second_factor=True)


def load() -> Organisation | None:
    """The demonstration's organisation, or None when it was not made yet."""
    people = {person.email.split("@")[0]: person for person in Person.objects.filter(email__endswith=f"@{DOMAIN}")}
    keys = {key.name: key for key in Key.objects.filter(name__in=[entry[0] for entry in KEYS])}
    if len(keys) < len(KEYS) or len(people) < len(PEOPLE):
        return None
    return Organisation(people, {ring.name: ring for ring in KeyRing.objects.all()}, keys)


def make(step: Callable[[str], None]) -> Organisation:
    """Make all of it; `step` is told what is being made. Needs a portal without an officer."""
    org = Organisation()
    _people(org, step)
    ada = org.actor("ada")
    for name, title, description in RINGS:
        org.rings[name] = accounts.create_ring(actor=ada, name=name, title=title, description=description)
    for email, title in SERVICES:
        service = accounts.create_person(actor=ada, email=f"{email}@{DOMAIN}", name=title, kind=Person.Kind.SERVICE)
        accounts.bind_role(actor=ada, person=service, role=Role.SERVICE, ring=org.rings["shop"])
        org.people[email] = service
    for entry in KEYS:
        _key(org, entry)
        step(entry[1])
    lifecycle.update_policy(
        actor=ada, key_id=org.keys[STORY_KEY].pk, reason="Two officers besides the one who asks.",
        changes={"rotate_groups": [{"role": "security_officer", "threshold": 2}], "destroy_groups": [{"role": "security_officer", "threshold": 2}]},
    )  # fmt: skip
    stores.register_sealed_values(actor=ada, key=org.keys["portal-secrets"])
    return org


def _people(org: Organisation, step: Callable[[str], None]) -> None:
    """Ada comes by the set-up link, everybody else through her; who is to decide needs the agreement of the officers there are."""
    link = accounts.create_setup_link().rstrip("/").rsplit("/", 1)[-1]
    short, name, _, site, line = PEOPLE[0]
    org.people[short] = accounts.redeem_setup_link(
        link=link, email=f"{short}@{DOMAIN}", name=name, password=secrets.token_urlsafe(24)
    )
    step(name)
    accounts.update_person(actor=org.actor(short), person=org.people[short], name=name, site=site, reporting_line=line)
    for short, name, role, site, line in PEOPLE[1:]:
        person = accounts.create_person(
            actor=org.actor("ada"), email=f"{short}@{DOMAIN}", name=name, site=site, reporting_line=line
        )
        org.people[short] = person
        try:
            accounts.bind_role(actor=org.actor("ada"), person=person, role=role)
        except ApprovalRequired as waiting:
            agree(org, waiting.request_id, *(officer for officer in ("boris", "chen") if officer != short))
        step(name)


def ways_in(org: Organisation) -> Iterator[tuple[str, str, str, str]]:
    """Name, roles held now, sign-in link and code of each of PEOPLE; without link and code who cannot be signed in any more.

    Whoever plays with the demonstration may keep people out or take roles away: the next start has to cope with that.
    """
    there = [org.people[short] for short, *_ in PEOPLE if short in org.people]
    actors = [actor_for_person(person, second_factor=True) for person in there if person.is_active]
    maker = next((actor for actor in actors if actor.can(Permission.PERSON_MANAGE)), None)
    for person in there:
        roles = (
            ", ".join(sorted({binding.get_role_display().lower() for binding in person.bindings.all()})) or "no role"
        )
        link = accounts.create_sign_in_link(actor=maker, person=person) if maker and person.is_active else ""
        yield person.name, roles, link, second_factor_code(person) if link else ""


def second_factor_code(person: Person) -> str:
    """A code that stands in, once, for the second factor of `person`; the demonstration's people have no telephone.

    The authenticator behind it has a secret nobody knows, so that a code is asked for as from everybody else.
    """
    if not person.has_usable_password():
        person.set_password(secrets.token_urlsafe(24))
        person.save(update_fields=["password"])
    if not has_second_factor(person):
        TOTP.activate(person, generate_totp_secret())
    codes = RecoveryCodes.activate(person)
    unused: list[str] = codes.get_unused_codes()
    if not unused:
        codes.instance.delete()
        unused = RecoveryCodes.activate(person).get_unused_codes()
    return unused[0]


def agree(org: Organisation, request_id: UUID, *names: str) -> ApprovalRequest:
    """Let these people approve, and perform the act here unless a worker was quicker."""
    request = ApprovalRequest.objects.get(pk=request_id)
    for name in names:
        approvals.approve(actor=org.actor(name), request_id=request_id, act_hash=request.act_hash)
    execution.execute(request_id)
    request.refresh_from_db()
    return request


def _key(org: Organisation, entry: tuple[str, str, str, str, str | None, str, int]) -> None:
    name, title, kind, algorithm, parent, ring, days = entry
    policy = policies.default_values(KeyKind(kind))
    key = creation.create_key(
        actor=org.actor("ada"), ring=org.rings[ring], name=name, title=title, kind=kind, algorithm=algorithm,
        parent=org.keys[parent] if parent else None, purpose=f"Demonstration: {title.lower()}.", policy=policy,
    )  # fmt: skip
    # As if it had been made some time ago, so that the calendar has something to show.
    Key.objects.filter(pk=key.pk).update(next_rotation_at=timezone.now() + timedelta(days=days))
    org.keys[name] = key
