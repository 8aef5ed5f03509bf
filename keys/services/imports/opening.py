"""Opening an import: a one-time wrapping key with a nonce and an expiry, or a table for components."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from keys.crypto import components, transport
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.keyforms import KeyMaterial
from keys.crypto.secret import SecretBytes
from keys.hierarchy import KeyKind
from keys.models import Key, KeyExport, KeyImport
from keys.providers import registry
from keys.providers.base import Capability
from keys.services import creation, policies, sealing, stores
from keys.services.acts import act_on_key, target_of
from keys.services.imports.bringing import normal_value, require_importer
from keys.services.policies import PolicyValues
from keys.services.providers import offers
from keys.services.providers.registration import can
from keys.services.rotation import refuse_while_moving
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, PortalError, ValidationFailed

Method = KeyImport.Method
# As long as AWS lets an import token live; components wait for people, who have to travel.
LIFE = {Method.COMPONENTS: timedelta(days=7)}
DEFAULT_LIFE = timedelta(hours=24)
OAEP_LIMIT = 4096 // 8 - 2 * 32 - 2  # RFC 8017, 7.1.1


def open_import(
    *,
    actor: Actor,
    key_id: UUID,
    method: str,
    reason: str,
    check_value: str = "",
    component_values: list[str] | None = None,
    from_export: UUID | None = None,
) -> KeyImport:
    """Let material made elsewhere become the next version of a key: in use at once if the key has none in use.

    `from_export` names what was given out under another key of the hierarchy and comes back under it.

    Raises PermissionRefused, NotFound, ValidationFailed naming every field at fault, OperationUnsupported (the provider
    takes no material), Conflict (another import is open).
    """
    found = Key.objects.filter(pk=key_id).first()
    place = (found.ring_id, found.provider, found.algorithm) if found else None
    with (
        _prepared(actor, method, place, from_export) as made,
        act_on_key(actor, Permission.KEY_IMPORT, "key.open_import", key_id) as (key, act),
    ):
        row = _open(actor, key, made, check_value, component_values or [], reason)
        act.record(_details(row))
    return row


def open_import_of_new_key(
    *,
    actor: Actor,
    ring: KeyRing,
    name: str,
    title: str,
    kind: str,
    algorithm: str,
    method: str,
    reason: str,
    parent: Key | None = None,
    provider: str = "local",
    purpose: str = "",
    cryptoperiod_days: int | None = None,
    exportable: bool = False,
    check_value: str = "",
    component_values: list[str] | None = None,
    from_export: UUID | None = None,
) -> KeyImport:
    """Make a key that has no version yet and open the import of its first; raises as `create_key` and `open_import` do."""
    with (
        _prepared(actor, method, (ring.pk, provider, algorithm), from_export) as made,
        audit.atomic(actor=actor, action="key.create", target=("key", "", name), ring_id=ring.pk) as act,
    ):
        authorize(actor, Permission.KEY_IMPORT, ring_id=ring.pk, target=f"ring {ring.name}")
        authorize(actor, Permission.KEY_CREATE, ring_id=ring.pk, target=f"ring {ring.name}")
        key_kind = KeyKind(kind) if kind in set(KeyKind) else None
        values: PolicyValues | None = policies.default_values(key_kind, cryptoperiod_days) if key_kind else None
        key = creation.new_key(
            actor, ring=ring, name=name, title=title, kind=kind, algorithm=algorithm, parent=parent, provider=provider,
            purpose=purpose, labels={}, values=values, exportable=exportable,
        )  # fmt: skip
        row = _open(actor, key, made, check_value, component_values or [], reason)
        act.record(
            {"kind": kind, "algorithm": algorithm, "parent": str(parent.pk) if parent else None, "provider": provider,
             "exportable": exportable, "imported": True},
            target=target_of(key),
        )  # fmt: skip
        act.record(_details(row), action="key.open_import", target=target_of(key))
    return row


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The wrapping key of an import, ours or the provider's, made before any lock is taken: both take their time."""

    method: KeyImport.Method
    pair: KeyMaterial | None = None
    offer: dict[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    came_from: KeyExport | None = None


@contextmanager
def _prepared(
    actor: Actor, method: str, place: tuple[UUID, str, str] | None, from_export: UUID | None
) -> Iterator[_Prepared]:
    """`place` is ring, provider and algorithm of the key; an offer that comes to nothing is given back."""
    if method not in Method.values:
        raise ValidationFailed("No such way of importing.", errors={"method": ["Choose one of the list."]})
    chosen = Method(method)
    if (from_export is not None) != (chosen is Method.KEY):
        raise ValidationFailed(errors={"from_export": ["What comes back under another key, and only then."]})
    if chosen is Method.COMPONENTS:
        yield _Prepared(chosen, pair=transport.new_receiver(transport.Method.HPKE_X25519))
        return
    if place is None:
        yield _Prepared(chosen)
        return
    if from_export is not None:
        yield _Prepared(chosen, came_from=_export(actor, from_export, place[2]))
        return
    if chosen is not Method.PROVIDER:
        yield _Prepared(chosen, pair=transport.new_receiver(transport.Method(method)))
        return
    ring_id, alias, algorithm = place
    authorize(actor, Permission.KEY_IMPORT, ring_id=ring_id, target=f"keys at {alias}")
    if alias not in registry.aliases() or not can(alias, Capability.DIRECT_IMPORT):
        raise ValidationFailed(errors={"method": [f"The provider {alias} hands out no wrapping key of its own."]})
    found, plain = offers.ask(alias, algorithm)
    try:
        yield _Prepared(chosen, KeyMaterial(SecretBytes(b""), found.public_key), plain, found.expires_at)
    except PortalError:
        with suppress(PortalError):
            offers.give_back(alias, algorithm, plain)
        raise


def _export(actor: Actor, export_id: UUID, algorithm: str) -> KeyExport:
    """The export that comes back; raises PermissionRefused, ValidationFailed naming `from_export`."""
    rows = KeyExport.objects.select_related("version__key", "wrapping_version__key").filter(pk=export_id)
    found = rows.filter(method=KeyExport.Method.KEY).first()
    if found is None:
        raise ValidationFailed(errors={"from_export": ["Nothing was given out so under another key."]})
    for key in (found.version.key, found.wrapping_version.key if found.wrapping_version else found.version.key):
        authorize(actor, Permission.KEY_IMPORT, ring_id=key.ring_id, target=f"key {key.name}")
    if found.version.key.algorithm != algorithm:
        raise ValidationFailed(errors={"from_export": [f"That is a key for {found.version.key.algorithm}."]})
    return found


def _open(actor: Actor, key: Key, made: _Prepared, check_value: str, values: list[str], reason: str) -> KeyImport:
    require_importer(key)
    refuse_while_moving(key)
    _check(key, made.method, check_value, values, reason)
    sealing_key = stores.sealing_key(actor)
    check_value = check_value or (made.came_from.check_value if made.came_from else "")
    row = KeyImport(
        key=key, method=made.method, nonce=secrets.token_hex(16), check_value=normal_value(check_value) if check_value else "",
        component_values=[normal_value(value) for value in values], activate=key.current is None, reason=reason.strip(),
        opened_by=actor.label[:200], opened_by_id=actor.id, offer=made.offer, from_export=made.came_from,
        expires_at=min(filter(None, (timezone.now() + LIFE.get(made.method, DEFAULT_LIFE), made.expires_at))),
    )  # fmt: skip
    if made.pair is not None:
        row.public_key = made.pair.public
    if made.pair is not None and made.pair.private:
        row.sealed_private = sealing.seal_value(
            actor, purpose="wrapping key of an import", plaintext=made.pair.private.reveal(), key=sealing_key
        )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise Conflict(
            f"Another import of {key} is open.", hint="Finish or abort that one first; the key's page shows it."
        ) from None
    return row


def _check(key: Key, method: KeyImport.Method, check_value: str, values: list[str], reason: str) -> None:
    errors: dict[str, list[str]] = {}
    row = ALGORITHMS[key.algorithm]
    if not reason.strip():
        errors["reason"] = ["Say why, the record keeps it."]
    if method is Method.RSA_OAEP and (not row.symmetric or row.key_bytes > OAEP_LIMIT):
        errors["method"] = ["A private key is too long for RSA-OAEP alone: choose RSA-AES key wrap or HPKE."]
    if method is Method.COMPONENTS:
        if not row.symmetric:
            errors["method"] = ["Only symmetric keys come in components."]
        if not components.FEWEST <= len(values) <= components.MOST:
            errors["component_values"] = [
                f"The check value of each component, from {components.FEWEST} to {components.MOST} of them."
            ]
        if not check_value:
            errors["check_value"] = ["The check value of the whole key, as its sender gave it."]
    elif values:
        errors["component_values"] = ["Only for components."]
    if errors:
        raise ValidationFailed("The import cannot be opened.", errors=errors)


def _details(row: KeyImport) -> dict[str, Any]:
    return {
        "import": str(row.pk), "method": row.method, "check_value": row.check_value, "components": row.components_wanted,
        "expires_at": row.expires_at.isoformat(), "reason": row.reason, "export": str(row.from_export_id) if row.from_export_id else None,
    }  # fmt: skip
