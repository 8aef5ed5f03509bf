"""What officers decide: that an authority serves ACME and by which rules, who may open accounts, and who may no longer."""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from secrets import token_bytes
from typing import Any
from uuid import UUID, uuid4

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.utils import timezone

from certificates.acme.lookup import parse_resolver
from certificates.acme.services import orders
from certificates.acme.states import ACCOUNT_MOVES, AccountState, ChallengeType
from certificates.models import AcmeAccount, AcmeExternalKey, AcmeServer, Authority
from certificates.names import complaint
from certificates.profiles import LEAF_PROFILES, PROFILES
from certificates.services.authorities import locked_authority, target_of, wrong_rules
from keys.crypto.jwk import b64url
from keys.crypto.secret import SecretBytes
from keys.services import sealing, stores
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotFound, ValidationFailed, WrongState

OFFERED = tuple(name for name in LEAF_PROFILES if "dns" in PROFILES[name].san_kinds and not PROFILES[name].approval)
MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Rules:
    """How one server works. `names` empty: whatever the authority certifies; `resolvers` empty: those of the machine."""

    profiles: list[str] = field(default_factory=list)
    days: int | None = None
    names: list[str] = field(default_factory=list)
    wildcards: bool = False
    challenges: list[str] = field(default_factory=lambda: [kind.value for kind in ChallengeType])
    external_account_required: bool = True
    terms_url: str = ""
    check_caa: bool = True
    caa_identities: list[str] = field(default_factory=list)
    order_hours: int = 24
    networks: list[str] = field(default_factory=list)
    resolvers: list[str] = field(default_factory=list)
    http_port: int = 80
    tls_port: int = 443

    @classmethod
    def of(cls, server: AcmeServer) -> "Rules":
        same = {name: getattr(server, name) for name in cls.__dataclass_fields__ if name not in {"names", "wildcards"}}
        own = server.name_rules
        return cls(names=[*own.dns, *own.ip], wildcards=own.wildcards, **same)

    def columns(self) -> dict[str, Any]:
        """The columns of the row."""
        values = asdict(self)
        return values | {"names": _by_kind(self.names) | {"wildcards": values.pop("wildcards")}}


def save_server(*, actor: Actor, authority_id: UUID, rules: Rules) -> AcmeServer:
    """Let an authority serve ACME, or change the rules by which it does.

    Raises NotFound, PermissionRefused, WrongState (the authority does not issue), ValidationFailed naming every field.
    """
    with audit.atomic(actor=actor, action="acme.server.save", target=("authority", authority_id, "")) as act:
        authority = locked_authority(authority_id)
        act.about(target=target_of(authority), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        if authority.state != "active":
            raise WrongState(f"{authority} is {authority.state}: it issues nothing.", state=authority.state)
        _check(authority, rules)
        server = AcmeServer.objects.filter(authority=authority).first() or AcmeServer(
            authority=authority, created_by=actor.label[:200]
        )
        before = Rules.of(server) if server.pk else None
        for name, value in rules.columns().items():
            setattr(server, name, value)
        server.save()
        changed = {
            name: value for name, value in asdict(rules).items() if before is None or getattr(before, name) != value
        }
        act.record({"changed": changed, "new": before is None})
    return server


def switch_server(*, actor: Actor, authority_id: UUID, enabled: bool, reason: str) -> AcmeServer:
    """Stop an ACME server, or start it again; certificates and accounts stay as they are."""
    with audit.atomic(actor=actor, action="acme.server.switch", target=("authority", authority_id, "")) as act:
        server = _managed(actor, act, authority_id)
        server.enabled = enabled
        server.save(update_fields=["enabled"])
        act.record({"enabled": enabled, "reason": reason})
    return server


def create_external_key(
    *, actor: Actor, authority_id: UUID, label: str, owner_id: UUID | None = None, once: bool = True, expires_at: datetime | None = None
) -> tuple[AcmeExternalKey, SecretBytes]:  # fmt: skip
    """A key for external account binding and its secret, which is shown now and never again; it is kept sealed.

    Raises NotFound, PermissionRefused, ValidationFailed (also while the portal has no key for its own secrets).
    """
    with audit.atomic(actor=actor, action="acme.external_key.create", target=("authority", authority_id, "")) as act:
        server = _managed(actor, act, authority_id)
        owner = Person.objects.filter(pk=owner_id, is_active=True).first() if owner_id else None
        if owner_id and owner is None:
            raise _refused("owner", "There is no such person.")
        if expires_at is not None and expires_at <= timezone.now():
            raise _refused("expires_at", "Not in the past.")
        secret = token_bytes(MAC_BYTES)
        row = AcmeExternalKey(
            id=uuid4(), server=server, label=label.strip()[:100], owner=owner, once=once, expires_at=expires_at, created_by=actor.label[:200]
        )  # fmt: skip
        row.secret = sealing.seal_value(
            actor, purpose=f"external account key {row.pk}", plaintext=secret, key=stores.sealing_key(actor)
        )
        row.save(force_insert=True)
        act.record({"key": str(row.pk), "label": row.label, "owner": str(owner) if owner else None, "once": once})
    return row, SecretBytes(b64url(secret).encode())


def revoke_external_key(*, actor: Actor, key_id: UUID, reason: str) -> AcmeExternalKey:
    """No account opens with it any more; accounts that did stay, and may be revoked by themselves."""
    with audit.atomic(actor=actor, action="acme.external_key.revoke", target=("acme_external_key", key_id, "")) as act:
        row = AcmeExternalKey.objects.select_for_update(of=("self",)).select_related("server__authority").filter(pk=key_id).first()  # fmt: skip
        if row is None:
            raise NotFound("There is no such key.")
        authority = row.server.authority
        act.about(target=("acme_external_key", row.pk, row.label), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        if row.revoked_at is not None:
            raise WrongState("The key is revoked already.", state="revoked")
        row.revoked_at, row.revoked_by = timezone.now(), actor.label[:200]
        row.save(update_fields=["revoked_at", "revoked_by"])
        act.record({"reason": reason})
    return row


def revoke_account(*, actor: Actor, account_id: UUID, reason: str) -> AcmeAccount:
    """End an account and its open orders for good; its key opens none again. Certificates stay valid."""
    with audit.atomic(actor=actor, action="acme.account.revoke", target=("acme_account", account_id, "")) as act:
        account = AcmeAccount.objects.select_for_update(of=("self",)).select_related("server__authority").filter(pk=account_id).first()  # fmt: skip
        if account is None:
            raise NotFound("There is no such account.")
        authority = account.server.authority
        act.about(target=("acme_account", account.pk, str(account)), ring_id=authority.ring_id)
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
        close_account(account, AccountState.REVOKED)
        act.record({"reason": reason})
    return account


def close_account(account: AcmeAccount, to: AccountState) -> None:
    """Move an account, locked in the caller's transaction, to an end, and its open orders with it; raises WrongState."""
    if to not in ACCOUNT_MOVES[AccountState(account.state)]:
        raise WrongState(f"The account is {account.state}.", state=account.state)
    account.state = to.value
    account.save(update_fields=["state"])
    orders.end_all_of(account)


def _managed(actor: Actor, act: audit.atomic, authority_id: UUID) -> AcmeServer:
    rows = AcmeServer.objects.select_for_update(of=("self",)).select_related("authority__ring")
    server = rows.filter(authority_id=authority_id).first()
    if server is None:
        raise NotFound("This authority does not serve ACME.")
    authority = server.authority
    act.about(target=target_of(authority), ring_id=authority.ring_id)
    authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=authority.ring_id, target=f"authority {authority.name}")
    return server


def _check(authority: Authority, rules: Rules) -> None:
    errors = {name: found for name, found in _complaints(authority, rules).items() if found}
    if errors:
        raise ValidationFailed(next(iter(errors.values()))[0], errors=errors)


def _complaints(authority: Authority, rules: Rules) -> dict[str, list[str]]:
    offered = [name for name in OFFERED if name in authority.profiles]
    most = min(
        (PROFILES[name].most_days(timezone.now().date()) for name in rules.profiles if name in PROFILES), default=0
    )
    most = min(most, authority.max_days or most)
    kinds = {kind.value for kind in ChallengeType}
    return {
        "profiles": [] if rules.profiles and set(rules.profiles) <= set(offered) else [f"Choose among: {', '.join(offered) or 'none'}."],
        "days": [] if rules.days is None or 1 <= rules.days <= most else [f"From 1 to {most} days."],
        "names": _wrong_names(authority, rules.names),
        "wildcards": [] if not rules.wildcards or authority.name_rules.wildcards else [f"{authority} issues no wildcards."],
        "challenges": [] if rules.challenges and set(rules.challenges) <= kinds else [f"Choose among: {', '.join(sorted(kinds))}."],
        "terms_url": _wrong(_check_url, [rules.terms_url] if rules.terms_url else []),
        "caa_identities": [f"{name}: not a DNS name." for name in rules.caa_identities if complaint(("dns", name)) or "*" in name],
        "order_hours": [] if 1 <= rules.order_hours <= 168 else ["From 1 to 168 hours."],
        "networks": _wrong(ipaddress.ip_network, rules.networks),
        "resolvers": _wrong(parse_resolver, rules.resolvers),
        "http_port": [] if 1 <= rules.http_port <= 65_535 else ["From 1 to 65535."],
        "tls_port": [] if 1 <= rules.tls_port <= 65_535 else ["From 1 to 65535."],
    }  # fmt: skip


def _wrong_names(authority: Authority, names: list[str]) -> list[str]:
    found, allowed = _by_kind(names), authority.name_rules
    outside = [
        name
        for name in found["dns"]
        if not ("*" in allowed.dns or (name != "*" and allowed.allows(("dns", name.removeprefix(".")))))
    ] + [name for name in found["ip"] if not ("*" in allowed.ip or any(_is_inside(name, rule) for rule in allowed.ip))]
    return wrong_rules(found) + [f"{name} is outside the names of {authority}." for name in outside]


def _by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    """The rules that are networks, and all others: those are for DNS names."""
    found: dict[str, list[str]] = {"dns": [], "ip": []}
    for name in names:
        try:
            ipaddress.ip_network(name)
            found["ip"].append(name)
        except ValueError:
            found["dns"].append(name)
    return found


def _is_inside(network: str, rule: str) -> bool:
    inner, outer = ipaddress.ip_network(network), ipaddress.ip_network(rule)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _wrong(read: Callable[[str], Any], values: list[str]) -> list[str]:
    found = []
    for value in values:
        try:
            read(value)
        except (ValueError, ValidationError):
            found.append(f"{value[:100]} cannot be read.")
    return found


def _check_url(value: str) -> None:
    URLValidator(schemes=["http", "https"])(value)


def _refused(name: str, sentence: str) -> ValidationFailed:
    return ValidationFailed(sentence, errors={name: [sentence]})
