"""API tokens: made, shown once, revoked."""

from collections.abc import Collection, Iterable
from datetime import datetime
from ipaddress import ip_network
from uuid import uuid4

from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.credentials import credential_digest, new_secret
from keyvault_portal.accounts.models import ApiToken, KeyRing, Person
from keyvault_portal.accounts.permissions import TOKEN_SCOPES, Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PermissionRefused, ValidationFailed, WrongState

MAX_CIDRS = 50


def create_token(
    *,
    actor: Actor,
    owner: Person,
    name: str,
    scopes: Iterable[str],
    rings: Collection[KeyRing] = (),
    cidrs: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """A token and its text `kvp_<id>_<secret>`, which is never to be had again.

    It carries the owner's rights, narrowed to `scopes`, to `rings` (none: wherever the owner may act) and to callers in
    `cidrs` (none: anywhere). People make tokens for themselves; for a service account token.manage on those rings is
    asked for; nobody makes tokens in another person's name, and no token makes tokens. Raises ValidationFailed.
    """
    scopes = sorted(set(scopes))
    with audit.atomic(actor=actor, action="token.create", target=("person", owner.pk, str(owner))) as act:
        _authorize(actor, owner, rings)
        if not owner.is_active:
            raise WrongState(f"{owner} is inactive.")
        networks = _checked(name, scopes, cidrs, expires_at)
        token_id, secret = uuid4(), new_secret()
        token = ApiToken.objects.create(
            id=token_id,
            owner=owner,
            name=name,
            digest=credential_digest(token_id, secret),
            scopes=scopes,
            cidrs=networks,
            expires_at=expires_at,
        )
        token.rings.set(rings)
        act.record(
            {
                "owner": str(owner.pk),
                "scopes": scopes,
                "rings": sorted(str(ring.pk) for ring in rings),
                "cidrs": networks,
                "expires_at": expires_at.isoformat() if expires_at else None,
            },
            target=("token", token.pk, name),
        )
    return token, f"kvp_{token_id.hex}_{secret}"


def revoke_token(*, actor: Actor, token: ApiToken) -> ApiToken:
    """Refuse `token` from now on; for its owner and holders of token.manage on its rings. WrongState when revoked."""
    with audit.atomic(actor=actor, action="token.revoke", target=("token", token.pk, token.name)) as act:
        token = ApiToken.objects.select_for_update(of=("self",)).select_related("owner").get(pk=token.pk)
        if actor.token_id is not None or actor.id != token.owner_id:
            _authorize_on(actor, token.rings.all())
        if token.revoked_at is not None:
            raise WrongState("This token is revoked already.")
        token.revoked_at = timezone.now()
        token.save(update_fields=["revoked_at"])
        act.record({"owner": str(token.owner_id)})
    return token


def _authorize(actor: Actor, owner: Person, rings: Collection[KeyRing]) -> None:
    if actor.token_id is not None:
        raise PermissionRefused("A token cannot make tokens.", hint="Sign in to make one.")
    if owner.pk == actor.id:
        return
    if owner.kind != Person.Kind.SERVICE:
        raise PermissionRefused(
            "Nobody makes tokens in another person's name.", hint="Make a service account and a token for that."
        )
    _authorize_on(actor, rings)


def _authorize_on(actor: Actor, rings: Collection[KeyRing]) -> None:
    for ring in rings:
        authorize(actor, Permission.TOKEN_MANAGE, ring_id=ring.pk, target=ring.name)
    if not rings:
        authorize(actor, Permission.TOKEN_MANAGE, target="everything")


def _checked(name: str, scopes: list[str], cidrs: Iterable[str], expires_at: datetime | None) -> list[str]:
    """The CIDRs in canonical form; raises ValidationFailed naming every field that is wrong."""
    errors: dict[str, list[str]] = {}
    if not name.strip() or len(name) > 100:
        errors["name"] = ["Give the token a name of at most 100 characters."]
    if not scopes:
        errors["scopes"] = ["Choose at least one scope."]
    elif unknown := [scope for scope in scopes if scope not in TOKEN_SCOPES]:
        errors["scopes"] = [f"A token cannot carry {', '.join(unknown)}."]
    networks: list[str] = []
    for cidr in cidrs:
        try:
            networks.append(str(ip_network(cidr.strip())))
        except ValueError:
            errors.setdefault("cidrs", []).append(
                f"{cidr.strip()[:60]} is not a network such as 10.1.0.0/16 or 2001:db8::/32."
            )
    if len(networks) > MAX_CIDRS:
        errors["cidrs"] = [f"At most {MAX_CIDRS} networks."]
    if expires_at is not None and expires_at <= timezone.now():
        errors["expires_at"] = ["Choose a time to come."]
    if errors:
        raise ValidationFailed(errors=errors)
    return sorted(set(networks))
