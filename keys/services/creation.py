"""Making a key: the rules of the hierarchy, its policy and its first version."""

import re
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS, Operation
from keys.crypto.secret import SecretBytes
from keys.hierarchy import PARENT_KINDS, KeyKind, kind_accepts
from keys.models import Key, KeyPolicy, ProviderIntent
from keys.providers.base import Capability
from keys.providers.registry import aliases
from keys.services import policies, versions
from keys.services.policies import PolicyValues
from keys.services.providers import intents
from keys.services.providers.registration import can, offered_algorithms
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ValidationFailed

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,98}[a-z0-9])?")


def create_key(
    *,
    actor: Actor,
    ring: KeyRing,
    name: str,
    title: str,
    kind: str,
    algorithm: str,
    parent: Key | None = None,
    provider: str = "local",
    purpose: str = "",
    labels: dict[str, str] | None = None,
    cryptoperiod_days: int | None = None,
    policy: PolicyValues | None = None,
    material: SecretBytes | None = None,
    by_hand: bool = False,
    exportable: bool = False,
) -> Key:
    """Make a key with its policy and an active first version, out of `material` made elsewhere if that is given.

    A key that lives at a provider is made there by a task; until then it has no version in use. `by_hand` keeps the material
    from being sealed for that task: the caller brings it to the provider (`providers.work.perform`).

    Without a policy the default of its kind holds, with `cryptoperiod_days` instead of its own if that is given.
    Raises PermissionRefused (also for a parent the actor may not see), ValidationFailed naming every field at fault
    (in `policy` also a quorum that too few people could fill), WrongState if the parent has no active version.
    """
    with audit.atomic(actor=actor, action="key.create", target=("key", "", name), ring_id=ring.pk) as act:
        authorize(actor, Permission.KEY_CREATE, ring_id=ring.pk, target=f"ring {ring.name}")
        key_kind = KeyKind(kind) if kind in set(KeyKind) else None
        values = policy or (policies.default_values(key_kind, cryptoperiod_days) if key_kind else None)
        key = new_key(
            actor, ring=ring, name=name, title=title, kind=kind, algorithm=algorithm, parent=parent, provider=provider,
            purpose=purpose, labels=labels or {}, values=values, exportable=exportable,
        )  # fmt: skip
        if policy is not None:  # the default holds even where there is a single officer
            policies.require_reachable(actor, ring.pk, PolicyValues(), policy)
        if intents.is_remote(key):
            version = versions.new_version(key, imported=material is not None)
            how = ProviderIntent.Act.CREATE if material is None else ProviderIntent.Act.IMPORT
            params: dict[str, Any] = {"activate": True} | ({intents.BY_HAND: True} if by_hand else {})
            intents.write(version, how, actor, secret=material, **params)
        else:
            version = versions.new_version(key, secret=material)
            versions.make_active(version, key.policy, now=timezone.now())
        act.about(target=("key", key.pk, f"{ring.name}/{name}"))
        act.record(
            {
                "kind": kind,
                "algorithm": algorithm,
                "parent": str(parent.pk) if parent else None,
                "provider": provider,
                "version": version.key_version,
                "exportable": exportable,
                "imported": material is not None,
                "policy": policies.values_of(key.policy).as_dict(),
            }
        )
    return key


def new_key(
    actor: Actor,
    *,
    ring: KeyRing,
    name: str,
    title: str,
    kind: str,
    algorithm: str,
    parent: Key | None,
    provider: str,
    purpose: str,
    labels: dict[str, str],
    values: PolicyValues | None,
    exportable: bool = False,
) -> Key:
    """The key and its policy, checked and stored, without a version; the caller authorises for the ring and records.

    Raises PermissionRefused for a parent the actor may not see, ValidationFailed naming every field at fault.
    """
    if parent is not None:
        authorize(actor, Permission.KEY_VIEW, ring_id=parent.ring_id, target=f"key {parent.name}")
    _check(
        name=name, title=title, kind=kind, algorithm=algorithm, parent=parent, provider=provider, labels=labels,
        exportable=exportable,
    )  # fmt: skip
    assert values is not None  # `_check` refused a kind that has no policy of its own
    policies.check(values, kind=KeyKind(kind))
    policies.require_algorithm(algorithm, values)
    key = Key(
        ring=ring, name=name, title=title.strip(), kind=kind, algorithm=algorithm, parent=parent, provider=provider,
        purpose=purpose, labels=labels, exportable=exportable, created_by=actor.label,
    )  # fmt: skip
    try:
        with transaction.atomic():
            key.save(force_insert=True)
    except IntegrityError:
        raise ValidationFailed(
            "The ring already has a key of this name.", errors={"name": ["Taken in this ring."]}
        ) from None
    KeyPolicy.objects.create(key=key, **values.as_dict())
    return key


def _check(
    *,
    name: str,
    title: str,
    kind: str,
    algorithm: str,
    parent: Key | None,
    provider: str,
    labels: dict[str, str],
    exportable: bool,
) -> None:
    errors: dict[str, list[str]] = {}
    if not _NAME.fullmatch(name):
        errors["name"] = [
            "Lower-case letters, digits, hyphens and underscores; at most 100, a letter or digit at both ends."
        ]
    if not title.strip() or len(title) > 150:
        errors["title"] = ["From 1 to 150 characters."]
    errors |= _provider_errors(provider, algorithm, exportable=exportable)
    if not all(isinstance(k, str) and isinstance(v, str) and len(k) <= 63 and len(v) <= 255 for k, v in labels.items()):
        errors["labels"] = ["Text to text, names up to 63 and values up to 255 characters."]
    row = ALGORITHMS.get(algorithm)
    if row is None or not any(row.allows(operation, new_key=True) for operation in Operation):
        errors["algorithm"] = ["Not an algorithm for new keys."]
    if kind not in {item.value for item in KeyKind}:
        errors["kind"] = ["Not a kind of key."]
    else:
        if row is not None and not kind_accepts(KeyKind(kind), algorithm):
            errors["algorithm"] = [f"A key of kind {kind} cannot use {algorithm}."]
        allowed = PARENT_KINDS[KeyKind(kind)]
        if parent is None and allowed:
            errors["parent"] = [f"A key of kind {kind} stands under one of: {', '.join(sorted(allowed))}."]
        elif parent is not None and parent.kind not in allowed:
            errors["parent"] = [f"A key of kind {kind} cannot stand under one of kind {parent.kind}."]
    if errors:
        raise ValidationFailed("The key cannot be made.", errors=errors)


def _provider_errors(provider: str, algorithm: str, *, exportable: bool) -> dict[str, list[str]]:
    if provider not in aliases():
        return {"provider": ["No provider is registered and enabled under this name."]}
    if algorithm not in offered_algorithms(provider):
        return {"algorithm": [f"The provider {provider} does not offer it."]}
    if exportable and not can(provider, Capability.EXPORTER):
        return {"exportable": [f"The provider {provider} gives no key out."]}
    return {}
