"""Issuing to end entities: from a request, with a key made here and handed over once, for a key of the hierarchy, renewed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection
from django.utils import timezone

from certificates import bundles, csr, lifetimes
from certificates.bundles import Bundle
from certificates.csr import Wanted, refused
from certificates.issuance import BACKDATE, Draft, new_serial
from certificates.models import Authority, Certificate, IssuanceGrant
from certificates.names import Name, NameRules
from certificates.profiles import LEAF_PROFILES, PROFILES, Profile
from certificates.rollover.steps import line_of
from certificates.services import grants, offices
from certificates.services.offices import Office
from certificates.services.reading import chain_of, visible_certificate
from certificates.services.signers import places_of, public_key_of, signs_here
from certificates.services.together import Together
from certificates.states import CertificateState
from keys.models import Key
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, WrongState

MAX_BATCH = 100
ISSUE = "certificate.issue"


@dataclass(frozen=True, slots=True)
class Order:
    """One certificate to be issued. `names` empty takes those of the request; `days` None the profile's default."""

    wanted: Wanted
    profile: str
    days: int | None = None
    owner_id: UUID | None = None
    key_origin: str = Certificate.KeyOrigin.REQUEST
    key_id: UUID | None = None
    renews_id: UUID | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as an approval binds them."""
        return {
            "public_key": self.wanted.public_key.hex(), "names": [list(name) for name in self.wanted.names],
            "common_name": self.wanted.common_name, "profile": self.profile, "days": self.days,
            "owner_id": str(self.owner_id) if self.owner_id else None, "key_origin": str(self.key_origin),
            "key_id": str(self.key_id) if self.key_id else None, "renews_id": str(self.renews_id) if self.renews_id else None,
        }  # fmt: skip

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "Order":
        names = tuple((kind, value) for kind, value in values["names"])
        wanted = Wanted(bytes.fromhex(values["public_key"]), names, values["common_name"])
        ids = {name: UUID(values[name]) if values[name] else None for name in ("owner_id", "key_id", "renews_id")}
        return cls(wanted, values["profile"], values["days"], key_origin=values["key_origin"], **ids)


def order_from_csr(
    raw: bytes | str, *, profile: str, names: Sequence[Name] = (), common_name: str = "", days: int | None = None,
    owner_id: UUID | None = None,
) -> Order:  # fmt: skip
    """An order for the key of a PEM or DER request; what is named here replaces what the request says.

    Raises ValidationFailed for a request that is malformed, forged, weak, or asks for what a leaf may not have.
    """
    wanted = csr.read(raw)
    if names:
        wanted = replace(wanted, names=tuple(names))
    if common_name:
        wanted = replace(wanted, common_name=common_name)
    return Order(wanted, profile, days, owner_id)


def issue_certificate(*, actor: Actor, authority_id: UUID, order: Order, reason: str = "") -> Certificate:
    """As `issue_certificates`, for one."""
    return issue_certificates(actor=actor, authority_id=authority_id, orders=[order], reason=reason)[0]


def issue_certificates(
    *, actor: Actor, authority_id: UUID, orders: Sequence[Order], reason: str = ""
) -> list[Certificate]:
    """Issue up to 100 certificates: all are linted and granted, then signed, then stored, or none is.

    Raises NotFound, PermissionRefused, WrongState (the authority does not issue), ValidationFailed (the order, the
    profile or the policy), LintFailed, ApprovalRequired (a profile that wants it), ProviderUnavailable. What was granted
    and not stored is on record as lost.
    """
    if not 1 <= len(orders) <= MAX_BATCH:
        raise refused("orders", f"From 1 to {MAX_BATCH} orders at a time.")
    if (made := _issue_at_once(actor, authority_id, orders)) is not None:
        return made
    # Before the transaction, which then often has nothing to say.
    looked_up = offices.look_up(authority_id, _key_digests(orders))
    with audit.atomic(actor=actor, action=ISSUE, target=("authority", authority_id, "")) as act:
        office = offices.open_office(authority_id, looked_up)
        authority, issuer = office.authority, office.issuer
        act.about(target=("authority", authority.pk, authority.name), ring_id=authority.ring_id)
        authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        drafts = [(_draft(office, order), _row(actor, order)) for order in orders]
        offices.refuse_compromised(looked_up)
        _ask_others(actor, authority, orders, reason)
        granted = grants.check(issuer, drafts)
        if not signs_here(authority.key_version):
            granted = grants.note(actor, authority, granted)
    return grants.sign_and_store(actor, authority, issuer, granted)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one caller wants issued by what is known of the authority, asking the database nothing before."""

    actor: Actor
    office: Office
    orders: Sequence[Order]


@dataclass(frozen=True, slots=True)
class _Ready:
    """The same, signed; the digests are those of the orders' keys."""

    office: Office
    lot: grants.Lot
    digests: list[str]


def _issue_at_once(actor: Actor, authority_id: UUID, orders: Sequence[Order]) -> list[Certificate] | None:
    """Issue by what is known of the authority: the statement that writes holds if it is still so.

    None where anything stands in the way. Whoever asks first meets it again, says what it is and records it.
    """
    office = None if connection.in_atomic_block else offices.known(authority_id)
    if office is None or not signs_here(office.authority.key_version):
        return None  # what a provider signs is granted before
    return _together.do(_Asked(actor, office, orders))


def _make_ready(asked: _Asked) -> _Ready | None:
    actor, office, orders = asked.actor, asked.office, asked.orders
    authority = office.authority
    try:
        if any(PROFILES[order.profile].approval for order in orders):
            return None
        offices.check_state(authority)
        authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        granted = grants.check(office.issuer, [(_draft(office, order), _row(actor, order)) for order in orders])
        signed = grants.sign(authority, office.issuer, granted)
    except Exception:  # whatever it is; nothing was written and no signature has left this process
        return None
    return _Ready(office, grants.Lot(actor, authority, granted, signed), _key_digests(orders))


def _write_ready(ready: list[_Ready]) -> list[list[Certificate]] | None:
    guard = offices.unchanged([item.office for item in ready], [digest for item in ready for digest in item.digests])
    try:
        return grants.record_at_once([item.lot for item in ready], guard)
    except (audit.Overtaken, IntegrityError):
        return None


_together = Together(_make_ready, _write_ready, lambda asked: len(asked.orders), MAX_BATCH)


def _key_digests(orders: Sequence[Order]) -> list[str]:
    return [sha256(order.wanted.public_key).hexdigest() for order in orders]


def _ask_others(actor: Actor, authority: Authority, orders: Sequence[Order], reason: str) -> None:
    """A profile that wants agreement is asked for one certificate at a time, for a key that the requester made."""
    asking = [order for order in orders if PROFILES[order.profile].approval]
    if not asking:
        return
    if len(orders) > 1 or asking[0].key_origin == Certificate.KeyOrigin.HANDED_OVER:
        raise refused(
            "profile", f"Certificates for {asking[0].profile} are asked for one at a time, with a request of your own."
        )
    params = {"authority_id": str(authority.pk), "order": asking[0].as_dict(), "reason": reason}
    approvals.need_officers(actor, ISSUE, params, ring_id=authority.ring_id, reason=reason, approval_id=None)


def issue_agreed(*, actor: Actor, authority_id: UUID, order: Order) -> IssuanceGrant:
    """What was agreed to is linted and granted in the executor's transaction; a worker redeems the grant after commit."""
    with audit.atomic(actor=actor, action=ISSUE, target=("authority", authority_id, "")) as act:
        looked_up = offices.look_up(authority_id, _key_digests([order]))
        office = offices.open_office(authority_id, looked_up)
        authority = office.authority
        act.about(target=("authority", authority.pk, authority.name), ring_id=authority.ring_id)
        authorize(actor, Permission.CERTIFICATE_ISSUE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        drafts = [(_draft(office, order), _row(actor, order))]
        offices.refuse_compromised(looked_up)
        return grants.write_open(actor, authority, office.issuer, drafts)[0]


def issue_with_new_key(
    *, actor: Actor, authority_id: UUID, profile: str, names: Sequence[Name], common_name: str, algorithm: str, password: str,
    form: str, days: int | None = None, owner_id: UUID | None = None,
) -> tuple[Certificate, Bundle]:  # fmt: skip
    """Make a key, certify it and hand both over as one encrypted file, once; the portal keeps no copy of the key.

    Raises as `issue_certificates` does, and ValidationFailed for a short password.
    """
    bundles.check_password(password)
    if form not in bundles.FORMS:
        raise refused("form", f"One of: {', '.join(bundles.FORMS)}.")
    private, public = bundles.make_key(algorithm)
    order = Order(Wanted(public, tuple(names), common_name), profile, days, owner_id, Certificate.KeyOrigin.HANDED_OVER)
    row = issue_certificate(actor=actor, authority_id=authority_id, order=order)
    return row, _bundle(row, private, password, form)


def _bundle(row: Certificate, private: Any, password: str, form: str) -> Bundle:
    chain = [bytes(item.der) for item in chain_of(row)]
    name = f"{row.profile}-{row.serial[:12]}"
    return bundles.pack(private, bytes(row.der), chain, name=name, password=password, form=form)


def issue_for_key(
    *,
    actor: Actor,
    authority_id: UUID,
    key_id: UUID,
    profile: str,
    names: Sequence[Name],
    common_name: str = "",
    days: int | None = None,
) -> Certificate:
    """Certify the active version of a key of the hierarchy that the actor may see; its private half stays where it is."""
    key = Key.objects.select_related("current").filter(pk=key_id).first()
    if key is None or not actor.can(Permission.KEY_VIEW, key.ring_id):
        raise NotFound("There is no such key, or you may not see it.")
    if key.current is None or key.kind != "transport" or not public_key_of(key.current):
        raise refused("key", "Only the active version of a transport key with a public half is certified.")
    if Authority.objects.filter(key=key).exists():
        raise refused("key", "The key belongs to an authority.")
    wanted = Wanted(public_key_of(key.current), tuple(names), common_name)
    order = Order(wanted, profile, days, key_origin=Certificate.KeyOrigin.HIERARCHY, key_id=key.pk)
    return issue_certificate(actor=actor, authority_id=authority_id, order=order)


def renew_from_csr(*, actor: Actor, certificate_id: UUID, raw: bytes | str, days: int | None = None) -> Certificate:
    """Issue the same names again for another key; raises Conflict when the request brings the old key."""
    old = _renewable(actor, certificate_id)
    wanted = csr.read(raw)
    if sha256(wanted.public_key).hexdigest() == old.spki_sha256:
        raise Conflict(
            "The request has the key of the certificate it renews.", hint="Make a new key and a request for it."
        )
    order = _again(old, wanted.public_key, days, Certificate.KeyOrigin.REQUEST)
    return issue_certificate(actor=actor, authority_id=_authority_of(old), order=order)


def renew_with_new_key(
    *, actor: Actor, certificate_id: UUID, algorithm: str, password: str, form: str, days: int | None = None
) -> tuple[Certificate, Bundle]:
    """As `issue_with_new_key`, with the names, profile and owner of an existing certificate."""
    old = _renewable(actor, certificate_id)
    bundles.check_password(password)
    private, public = bundles.make_key(algorithm)
    order = _again(old, public, days, Certificate.KeyOrigin.HANDED_OVER)
    row = issue_certificate(actor=actor, authority_id=_authority_of(old), order=order)
    return row, _bundle(row, private, password, form)


def _renewable(actor: Actor, certificate_id: UUID) -> Certificate:
    old = visible_certificate(actor, certificate_id)
    if old.authority is None or old.profile not in LEAF_PROFILES:
        raise WrongState("Only certificates that an authority here issued to an end entity are renewed here.")
    if old.state != CertificateState.VALID.value:
        raise WrongState(f"The certificate is {old.state}.", hint="Issue a new one.", state=old.state)
    return old


def _authority_of(row: Certificate) -> UUID:
    """Who renews it: its issuer, or since a rollover whoever took that one's place."""
    assert row.authority is not None
    return line_of(row.authority)[-1].pk


def _again(old: Certificate, public_key: bytes, days: int | None, origin: str) -> Order:
    names = tuple((kind, value) for kind, _, value in (name.partition(":") for name in old.names))
    common = [part.removeprefix("CN=") for part in old.subject.split(",") if part.startswith("CN=")]
    lived = (old.not_after - old.not_before + timedelta(seconds=1)).days
    most = PROFILES[old.profile].most_days(timezone.now().date())
    wanted = Wanted(public_key, names, common[0] if common else "")
    return Order(wanted, old.profile, days or max(1, min(lived, most)), old.owner_id, origin, renews_id=old.pk)


def _draft(office: Office, order: Order) -> Draft:
    authority = office.authority
    profile = PROFILES.get(order.profile)
    if profile is None or profile.name not in LEAF_PROFILES or profile.name not in authority.profiles:
        raise refused("profile", f"{authority} does not issue by the profile {order.profile}.")
    csr.check_public_key(order.wanted.public_key)
    _check_policy(authority, office.rules, order.wanted, profile)
    now = timezone.now().replace(microsecond=0)
    serial = new_serial()
    return Draft(
        profile, order.wanted.public_key, serial, now - BACKDATE, _end(authority, profile, order.days, now),
        csr.common_name_of(order.wanted, profile), authority.organization if profile.subject == "asked" else "", order.wanted.names,
        places=office.places or places_of(authority, serial),
    )  # fmt: skip


def _check_policy(authority: Authority, rules: NameRules, wanted: Wanted, profile: Profile) -> None:
    csr.check_names(wanted.names, profile)
    for name in wanted.names:
        if not rules.allows(name):
            kind, value = name
            reason = (
                "wildcards are outside"
                if value.startswith("*.") and not rules.wildcards
                else f"{kind}:{value} is outside"
            )
            raise refused("names", f"{reason[0].upper()}{reason[1:]} the policy of {authority}.")


def _end(authority: Authority, profile: Profile, days: int | None, now: datetime) -> datetime:
    most = min(profile.most_days(now.date()), authority.max_days or 10_000)
    asked = days if days is not None else min(profile.default_days, most)
    if not 1 <= asked <= most:
        step = lifetimes.step_on(now.date())
        why = (
            f" (CA/Browser Forum, since {step.since:%-d %B %Y})"
            if profile.follows_calendar and most == step.days
            else ""
        )
        raise refused("days", f"From 1 to {most} days{why}.")
    end = now - BACKDATE + timedelta(days=asked, seconds=-1)  # both ends count (RFC 5280, 4.1.2.5)
    assert authority.certificate is not None
    return min(end, authority.certificate.not_after)


def _row(actor: Actor, order: Order) -> dict[str, Any]:
    owner = Person.objects.filter(pk=order.owner_id, is_active=True).first() if order.owner_id else None
    if order.owner_id and owner is None:
        raise refused("owner", "There is no such person.")
    if owner is None and actor.id is not None and actor.kind == "person":
        owner = Person.objects.filter(pk=actor.id).first()
    return {
        "requested_by": actor.label[:200], "owner_id": owner and owner.pk, "owner_label": (str(owner) if owner else actor.label)[:200],
        "key_origin": order.key_origin, "key_id": order.key_id, "renews_id": order.renews_id,
    }  # fmt: skip


def outlook(profile_name: str, days: int | None) -> list[str]:
    """What the CA/Browser Forum's calendar will refuse of orders like this."""
    profile = PROFILES[profile_name]
    today = timezone.now().date()
    if not profile.follows_calendar:
        return []
    return lifetimes.warnings(today, lifetime_days=days or min(profile.default_days, profile.most_days(today)))
