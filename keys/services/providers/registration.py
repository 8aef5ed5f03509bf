"""Registering the places where keys may live: settings declared by the kind, secrets sealed, every change recorded."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import orjson
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from keys.crypto.algorithms import ALGORITHMS
from keys.models import Key, KeyProvider, KeyVersion, RootSeal
from keys.providers import registry
from keys.providers.base import Capability, Provider, Setting
from keys.services import provider_seals, sealing, stores
from keys.services.providers import source
from keys.services.providers.calls import call
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PortalError, ProviderUnavailable, ValidationFailed, WrongState

_TAKEN = {registry.LOCAL, "new", "kinds"}
_ALIAS = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def providers() -> QuerySet[KeyProvider]:
    """Every registered provider, by alias."""
    return KeyProvider.objects.order_by("alias")


def keys_at(alias: str) -> QuerySet[Key]:
    """The keys that need a provider: with a version there, wherever later ones live, or waiting for their first."""
    there = KeyVersion.objects.filter(provider=alias).exclude(status=VersionState.DESTROYED.value)
    return Key.objects.filter(Q(pk__in=there.values("key")) | Q(provider=alias))


def find(actor: Actor, alias: str) -> KeyProvider:
    """One provider, for those who may see providers; raises NotFound, PermissionRefused."""
    if not actor.can_somewhere(Permission.PROVIDER_VIEW):
        authorize(actor, Permission.PROVIDER_VIEW, target="key providers")
    row = KeyProvider.objects.filter(alias=alias).first()
    if row is None:
        raise NotFound("There is no such key provider.")
    return row


def kinds() -> list[tuple[str, str, str]]:
    """(kind, title, what is missing to use it) of every kind that can be registered."""
    listed = []
    for kind, row in registry.KINDS.items():
        if kind == registry.LOCAL:
            continue
        try:
            registry.provider_class(kind)
        except registry.KindUnavailable as error:
            listed.append((kind, row.title, error.detail))
        else:
            listed.append((kind, row.title, ""))
    return listed


def offered_algorithms(alias: str) -> frozenset[str]:
    """What keys at this provider may be for; everything while it cannot be asked, and the making says so then."""
    keeper = registry.provider(alias)
    if alias == registry.LOCAL:
        return keeper.algorithms
    try:
        return call(alias, "algorithms", lambda: keeper.algorithms)  # some have to ask their device
    except ProviderUnavailable:
        return frozenset(ALGORITHMS)


def can(alias: str, capability: Capability) -> bool:
    """Whether the provider of this name declares it; asked before anything that needs it is offered."""
    return capability in registry.provider(alias).capabilities


def register_provider(
    *,
    actor: Actor,
    kind: str,
    alias: str,
    title: str,
    values: Mapping[str, str],
    calls_per_second: int | None = None,
) -> KeyProvider:
    """Register a place for keys; its secrets are sealed under the portal's own data key and never shown again.

    Raises PermissionRefused, ValidationFailed naming every field at fault, KindUnavailable.
    """
    with audit.atomic(actor=actor, action="provider.register", target=("provider", "", alias)) as act:
        authorize(actor, Permission.PROVIDER_MANAGE, target="key providers")
        _check_names(alias, title, kind)
        plain, secret = _sorted_values(registry.provider_class(kind), values, kept=frozenset())
        _try_to_build(kind, alias, {**plain, **secret})
        row = KeyProvider(
            alias=alias, kind=kind, title=title.strip(), settings=plain, region=_region(plain),
            calls_per_second=calls_per_second, created_by=actor.label,
        )  # fmt: skip
        _seal(actor, row, secret)
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise ValidationFailed(errors={"alias": ["A provider of this name is registered already."]}) from None
        act.record({"kind": kind, "settings": plain, "sealed": sorted(secret)}, target=_target(row))
    return row


def update_provider(
    *,
    actor: Actor,
    alias: str,
    title: str,
    values: Mapping[str, str],
    calls_per_second: int | None = None,
) -> KeyProvider:
    """Change a provider; a secret left empty stays what it was. Raises as `register_provider` does, and NotFound."""
    with _act(actor, "provider.update", alias) as (row, act):
        if not title.strip() or len(title) > 150:
            raise ValidationFailed(errors={"title": ["From 1 to 150 characters."]})
        old = source.settings_of(row)
        declared = registry.provider_class(row.kind)
        sealed = {
            setting.name: str(old[setting.name])
            for setting in declared.settings
            if setting.secret and old.get(setting.name)
        }
        plain, secret = _sorted_values(declared, values, kept=frozenset(sealed))
        changed = sorted(
            name for name in plain.keys() | row.settings.keys() if plain.get(name) != row.settings.get(name)
        )
        _try_to_build(row.kind, alias, {**plain, **sealed, **secret})
        row.title, row.settings, row.region = title.strip(), plain, _region(plain)
        row.calls_per_second = calls_per_second
        replaced = row.sealed_settings if secret else None
        _seal(actor, row, {**sealed, **secret} if secret else {})
        row.revision += 1
        row.save(update_fields=["title", "settings", "region", "calls_per_second", "sealed_settings", "revision"])
        if replaced is not None:
            replaced.delete()
        act.record({"changed": changed, "settings": plain, "sealed_anew": sorted(secret)})
    return row


def disable_provider(*, actor: Actor, alias: str, reason: str) -> KeyProvider:
    """Send nothing to a provider any more: its keys cannot be used until it is enabled again.

    Raises PermissionRefused, NotFound, ValidationFailed (no reason), WrongState.
    """
    return _switch(actor, "provider.disable", alias, KeyProvider.State.DISABLED, reason)


def enable_provider(*, actor: Actor, alias: str, reason: str) -> KeyProvider:
    """Take a disabled provider into use again; raises as `disable_provider` does."""
    return _switch(actor, "provider.enable", alias, KeyProvider.State.ENABLED, reason)


def _switch(actor: Actor, action: str, alias: str, new: str, reason: str) -> KeyProvider:
    with _act(actor, action, alias) as (row, act):
        if not reason.strip():
            raise ValidationFailed("Say why.", errors={"reason": ["This field is required."]})
        if row.state == new:
            raise WrongState(f"{row} is {row.state} already.", state=row.state)
        if new == KeyProvider.State.DISABLED and provider_seals.only_way(alias):
            raise Conflict(
                f"{row} is the only thing that opens the portal.", hint="Register another seal under Settings first."
            )
        row.state, row.revision = new, row.revision + 1
        row.save(update_fields=["state", "revision"])
        act.record({"keys": keys_at(alias).count(), "reason": reason.strip()})
    return row


@contextmanager
def _act(actor: Actor, action: str, alias: str) -> Iterator[tuple[KeyProvider, audit.atomic]]:
    """The frame of an act on one provider: its row locked, the actor authorised, a refusal recorded."""
    with audit.atomic(actor=actor, action=action, target=("provider", "", alias)) as act:
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        row = KeyProvider.objects.select_for_update(of=("self",)).filter(alias=alias).first()
        if row is None:
            raise NotFound("There is no such key provider.")
        act.about(target=_target(row))
        yield row, act


def _target(row: KeyProvider) -> tuple[str, object, str]:
    return ("provider", row.pk, row.alias)


def _region(plain: Mapping[str, str]) -> str:
    """Where it is, in the word its kind has for that."""
    return (plain.get("region") or plain.get("location") or "")[:63]


def _check_names(alias: str, title: str, kind: str) -> None:
    errors: dict[str, list[str]] = {}
    if not _ALIAS.fullmatch(alias):
        errors["alias"] = ["Lower-case letters, digits and hyphens; at most 63, a letter or digit at both ends."]
    elif alias in _TAKEN:
        errors["alias"] = ["This word has a meaning of its own here."]
    if not title.strip() or len(title) > 150:
        errors["title"] = ["From 1 to 150 characters."]
    if kind not in registry.KINDS or kind == registry.LOCAL:
        errors["kind"] = ["Not a kind of provider."]
    if errors:
        raise ValidationFailed("The provider cannot be registered.", errors=errors)


def _sorted_values(
    declared: type[Provider], values: Mapping[str, str], *, kept: frozenset[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values that may be read and those to be sealed; `kept` names secrets that are known already."""
    by_name = {setting.name: setting for setting in declared.settings}
    errors = {name: ["This kind of provider has no such setting."] for name in values if name not in by_name}
    found: dict[str, str] = {}
    for name, setting in by_name.items():
        value = str(values.get(name, "") or "").strip() or setting.default
        if problem := _problem(setting, value, kept=name in kept):
            errors[name] = [problem]
        elif value:
            found[name] = value
    if errors:
        raise ValidationFailed("Some settings are not acceptable.", errors=errors)
    plain = {name: value for name, value in found.items() if not by_name[name].secret}
    return plain, {name: value for name, value in found.items() if by_name[name].secret}


def _problem(setting: Setting, value: str, *, kept: bool) -> str:
    if not value:
        return "This field is required." if setting.required and not kept else ""
    if setting.choices and value not in setting.choices:
        return f"One of: {', '.join(setting.choices)}."
    return "At most 10,000 characters." if len(value) > 10_000 else ""


def _try_to_build(kind: str, alias: str, values: Mapping[str, object]) -> None:
    """Let the class look at its settings, before they are kept; nothing is sent."""
    try:
        registry.build(kind, alias, values)
    except PortalError:
        raise
    except (TypeError, ValueError) as error:
        raise ValidationFailed(
            f"The provider cannot be set up with these settings ({type(error).__name__}).",
            hint="Check them one by one.",
        ) from None


def _seal(actor: Actor, row: KeyProvider, secret: Mapping[str, str]) -> None:
    if not secret:
        return
    if RootSeal.objects.filter(provider=row.alias, retired_at=None).exists():
        raise ValidationFailed(
            f"{row} opens the portal's root, under which these credentials would be sealed.",
            hint="Use the ambient identity of the machine instead of a secret.",
        )
    key = stores.sealing_key(actor)
    above: Key | None = key
    while above is not None:
        if above.provider == row.alias:
            raise ValidationFailed(
                f"The portal's own values are sealed under a key that lives at {row.alias} itself.",
                hint="Use the ambient identity of the machine instead of a secret, or another sealing key.",
            )
        above = above.parent
    row.sealed_settings = sealing.seal_value(
        actor, purpose=f"credentials of provider {row.alias}"[:100], plaintext=orjson.dumps(dict(secret)), key=key
    )
