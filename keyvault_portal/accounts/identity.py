"""From a person or a token to an actor with its rights resolved."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from uuid import UUID

from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, Grant
from keyvault_portal.accounts.credentials import credential_matches
from keyvault_portal.accounts.models import ApiToken, Person, RoleBinding
from keyvault_portal.accounts.permissions import ROLE_PERMISSIONS, Permission, Role
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import NotAuthenticated

TOKEN_TEXT = re.compile(r"kvp_([0-9a-f]{32})_([A-Za-z0-9_-]{43})", re.ASCII)
LAST_USE_RESOLUTION = timedelta(minutes=1)
REFUSALS_RECORDED_EVERY = 60  # seconds, for one token and one cause: a guessing loop must not fill the record

Network = IPv4Network | IPv6Network


_HOLDERS = {
    "token_revoked": ("This token was revoked.", "Ask its owner for a new one."),
    "owner_inactive": ("The owner of this token is not active.", "Ask a security officer."),
    "token_expired": ("This token has expired.", "Ask its owner for a new one."),
    "address_not_allowed": ("This token is not accepted from here.", "Use it from one of its networks."),
}
_ANYBODY = ("This token is not accepted.", "Check the token, or ask its owner for a new one.")


class TokenRefused(NotAuthenticated):
    """Says what is wrong to whoever has the secret, and the same words whatever it was to anybody else.

    `reason` goes to the record.
    """

    def __init__(self, reason: str) -> None:
        detail, hint = _HOLDERS.get(reason, _ANYBODY)
        super().__init__(detail, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """All that decides about a token's use, read once; `admit` then needs no database."""

    actor: Actor
    digest: bytes
    networks: tuple[Network, ...]
    owner_active: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def admit(self, secret: str, address: str | None, now: datetime) -> Actor:
        """The actor behind the token, at `address`; raises TokenRefused.

        The secret comes first, so that nobody without it learns whether a token has expired or where it may be used.
        """
        if self.actor.token_id is None or not credential_matches(self.digest, self.actor.token_id, secret):
            raise TokenRefused("wrong_secret")
        if self.revoked_at is not None:
            raise TokenRefused("token_revoked")
        if not self.owner_active:
            raise TokenRefused("owner_inactive")
        if self.expires_at is not None and self.expires_at <= now:
            raise TokenRefused("token_expired")
        if self.networks and not in_networks(address, self.networks):
            raise TokenRefused("address_not_allowed")
        return replace(self.actor, address=address)


def actor_for_person(person: Person, *, address: str | None = None, second_factor: bool = False) -> Actor:
    """The rights of `person` now, in one query; an inactive person raises NotAuthenticated."""
    if not person.is_active:
        raise NotAuthenticated("This account is not active.", hint="Ask a security officer to reactivate it.")
    bindings = list(RoleBinding.objects.filter(person_id=person.pk).values_list("role", "ring_id"))
    return Actor(
        id=person.pk,
        kind=person.kind,
        label=str(person),
        grants=_grants(bindings),
        roles=frozenset(bindings),
        address=address,
        second_factor=second_factor,
    )


def actor_for_token(text: str, address: str | None) -> Actor:
    """The actor behind token text `kvp_<id>_<secret>` used from `address`; raises TokenRefused (a NotAuthenticated).

    Records the last use at most once a minute, and the refusals of tokens that exist.
    """
    token_id, secret = parse_token(text)
    policy = token_policy(token_id)
    if policy is None:
        raise TokenRefused("unknown_token")
    now = timezone.now()
    try:
        actor = policy.admit(secret, address, now)
    except TokenRefused as refusal:
        record_refusal(policy, refusal, address)
        raise
    record_use(policy, address, now)
    return actor


def parse_token(text: str) -> tuple[UUID, str]:
    """The id and the secret in a token's text; raises TokenRefused when it has another form."""
    match = TOKEN_TEXT.fullmatch(text)
    if match is None:
        raise TokenRefused("malformed_token")
    return UUID(hex=match[1]), match[2]


def token_policy(token_id: UUID) -> TokenPolicy | None:
    """Token `token_id` with its owner's present rights, in three queries; None if there is no such token."""
    token = ApiToken.objects.select_related("owner").filter(pk=token_id).first()
    if token is None:
        return None
    bindings = list(RoleBinding.objects.filter(person_id=token.owner_id).values_list("role", "ring_id"))
    rings = frozenset(token.rings.values_list("pk", flat=True))
    actor = Actor(
        id=token.owner_id,
        kind="token",
        label=f"{token.name} ({token.owner})",
        grants=_narrow(_grants(bindings), frozenset(token.scopes), rings),
        roles=_narrow_roles(bindings, rings),
        token_id=token.pk,
    )
    return TokenPolicy(
        actor,
        bytes(token.digest),
        tuple(ip_network(cidr) for cidr in token.cidrs),
        token.owner.is_active,
        token.expires_at,
        token.revoked_at,
        token.last_used_at,
    )


def in_networks(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether `address` (IPv4, IPv6, or IPv4 mapped into IPv6, RFC 4291 section 2.5.5.2) is in one of `networks`."""
    try:
        ip = ip_address(address or "")
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def record_use(policy: TokenPolicy, address: str | None, now: datetime) -> None:
    """Note when and from where the token was used, at most once a minute."""
    if policy.last_used_at is not None and now - policy.last_used_at < LAST_USE_RESOLUTION:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - LAST_USE_RESOLUTION)
    ApiToken.objects.filter(stale, pk=str(policy.actor.token_id)).update(last_used_at=now, last_used_ip=address)


def record_refusal(policy: TokenPolicy, refusal: TokenRefused, address: str | None) -> None:
    """Put a refused use of an existing token on the record, at most once a minute for one cause."""
    if not cache.add(f"token-refused:{policy.actor.token_id}:{refusal.reason}", 1, REFUSALS_RECORDED_EVERY):
        return
    audit.record(
        actor=replace(policy.actor, address=address),
        action="token.use",
        target=("token", policy.actor.token_id, policy.actor.label),
        details={"code": refusal.reason},
        outcome="refused",
    )


def _grants(bindings: Iterable[tuple[str, UUID | None]]) -> tuple[Grant, ...]:
    rights: dict[UUID | None, frozenset[Permission]] = {}
    for role, ring_id in bindings:
        rights[ring_id] = rights.get(ring_id, frozenset()) | ROLE_PERMISSIONS[Role(role)]
    return tuple(Grant(permissions, ring_id) for ring_id, permissions in rights.items())


def _narrow(grants: Iterable[Grant], scopes: frozenset[str], rings: frozenset[UUID]) -> tuple[Grant, ...]:
    """What is left of `grants` within a token's scopes and rings (no rings: wherever the owner may act)."""
    narrowed = []
    for grant in grants:
        permissions = frozenset(permission for permission in grant.permissions if permission.value in scopes)
        if not permissions:
            continue
        if not rings or grant.ring_id in rings:
            narrowed.append(Grant(permissions, grant.ring_id))
        elif grant.ring_id is None:
            narrowed.extend(Grant(permissions, ring_id) for ring_id in sorted(rings))
    return tuple(narrowed)


def _narrow_roles(
    bindings: Iterable[tuple[str, UUID | None]], rings: frozenset[UUID]
) -> frozenset[tuple[str, UUID | None]]:
    """The owner's roles within a token's rings: key policies name the roles that may ask for a rotation."""
    if not rings:
        return frozenset(bindings)
    places = {(role, ring_id): rings if ring_id is None else rings & {ring_id} for role, ring_id in bindings}
    return frozenset((role, ring) for (role, _), within in places.items() for ring in within)
