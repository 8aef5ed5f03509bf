"""Components of custodians: each entered by another person, compared with its check value, sealed until the last one has come.

On the portal's pages a component is sealed where it is typed, to the import's own key; a worker opens and compares it. In a
ceremony the ceremony process does both (`enter_component`). The web process reads none.
"""

from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from django.db import IntegrityError, transaction

from keys.crypto import keycheck
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.errors import DecryptFailed
from keys.crypto.receiving import MAX_SEALED, PUBLIC_BYTES, context, open_with
from keys.crypto.secret import SecretBytes
from keys.models import KeyComponent, KeyImport, SealedValue
from keys.services import seal_watch, sealing, stores, versions
from keys.services.acts import target_of
from keys.services.imports import frame
from keys.services.imports.receiving import send
from keys.states import ImportState
from keyvault_portal.accounts.actors import Actor, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState
from keyvault_portal.jobs import enqueue_on_commit


def may_enter(actor: Actor, row: KeyImport) -> str:
    """Why this person may not enter a component of this import, in one sentence; empty if they may."""
    if actor.kind != "person" or actor.id is None or actor.token_id is not None:
        return "Components are entered by people, not by programs."
    if not actor.can(Permission.KEY_COMPONENT, row.key.ring_id):
        return "You lack the right to enter components of this ring's keys."
    if actor.id == row.opened_by_id and not row.key.policy.initiator_may_enter:
        return "Whoever opened the import enters no component; the key's policy says so."
    if row.components.filter(person_id=actor.id).exists():
        return "You have entered a component of this key; nobody enters two."
    return ""


def public_key(row: KeyImport) -> bytes:
    """The raw X25519 key that components of this import are sealed to; raises Conflict for an import of an older portal."""
    if row.public_key is None:
        raise Conflict("This import has no key of its own.", hint="Abort it and open it again.")
    return bytes(row.public_key)[-PUBLIC_BYTES:]  # SPKI ends with it (RFC 8410, 4)


def bound_to(import_id: UUID, number: int, person_id: UUID) -> bytes:
    """What a sealed component is bound to."""
    return context(component=str(number), custodian=str(person_id), key_import=str(import_id))


def hand_in_component(*, actor: Actor, import_id: UUID, number: int, sealed: bytes) -> KeyComponent:
    """Take component `number` (from 1) of an import, sealed to `public_key` and bound as `bound_to` says; a worker opens it.

    One that does not fit is taken out again, and the import says which. Raises PermissionRefused (also for the one who opened
    the import, and for a second component), NotFound, WrongState, ImportExpired, Conflict (entered already), ValidationFailed.
    """
    with frame.act_on_import(actor, Permission.KEY_COMPONENT, "key.hand_in_component", import_id) as (row, act):
        _require_entrant(actor, row, number)
        public_key(row)
        if not 0 < len(sealed) <= MAX_SEALED:
            raise ValidationFailed(errors={"sealed": ["This was not sealed by this page. Load it again."]})
        entered = _entered(actor, row, number, arrived=sealed)
        row.last_error = ""
        row.save(update_fields=["last_error"])
        act.record({"import": str(row.pk), "component": number})
        send_component(entered.pk)
    return entered


def send_component(component_id: int) -> None:
    """Let a worker compare it after commit."""
    from keys.transfer_tasks import component_work

    enqueue_on_commit(component_work, component_id)


def compare_component(component_id: int) -> None:
    """The worker's step; safe to repeat. Raises Sealed: later again."""
    waiting = KeyComponent.objects.filter(pk=component_id).exclude(arrived=None).select_related("key_import").first()
    if waiting is None:
        return
    seal_watch.require_open()
    with audit.atomic(actor=_worker(), action="key.enter_component") as act:
        key = versions.locked_key(waiting.key_import.key_id)
        act.about(target=target_of(key), ring_id=key.ring_id)
        row = frame.locked(waiting.key_import_id, key)
        component = row.components.filter(pk=component_id).exclude(arrived=None).first()
        if component is None or row.state != ImportState.OPEN.value:
            return
        try:
            with _opened(row, component) as material:
                _require_right(row, component.number, material)
                component.sealed, component.arrived = _seal(_worker(), material), None
        except ValidationFailed as error:
            row.last_error = f"{error.detail} {error.hint}".strip()
            row.save(update_fields=["last_error"])
            component.delete()
            said = {"import": str(row.pk), "component": component.number, "custodian": component.person_label}
            act.record({**said, "code": error.code}, outcome="failed")
            return
        component.save(update_fields=["sealed", "arrived"])
        _note(row, component, act)


def enter_component(*, actor: Actor, import_id: UUID, number: int, component: SecretBytes) -> KeyComponent:
    """Take component `number` (from 1) of an import in the ceremony process; with the last one a worker puts the key together.

    `component` is as long as the key. It is compared with its check value here and now, sealed, and never shown again, to
    nobody. Raises as `hand_in_component`, and ValidationFailed naming the component that is wrong.
    """
    with frame.act_on_import(actor, Permission.KEY_COMPONENT, "key.enter_component", import_id) as (row, act):
        _require_entrant(actor, row, number)
        _require_right(row, number, component)
        entered = _entered(actor, row, number, sealed=_seal(actor, component))
        _note(row, entered, act)
    return entered


def _require_entrant(actor: Actor, row: KeyImport, number: int) -> None:
    frame.require_open(row)
    if row.method != KeyImport.Method.COMPONENTS:
        raise WrongState("This import takes one wrapped key, no components.", state=row.state)
    if why := may_enter(actor, row):
        raise PermissionRefused(why, hint="Another custodian has to enter it.")
    if not 1 <= number <= row.components_wanted:
        raise ValidationFailed(errors={"number": [f"From 1 to {row.components_wanted}."]})


def _entered(
    actor: Actor, row: KeyImport, number: int, *, arrived: bytes | None = None, sealed: SealedValue | None = None
) -> KeyComponent:
    assert actor.id is not None  # `may_enter` wants a person
    try:
        with transaction.atomic():
            return KeyComponent.objects.create(
                key_import=row, number=number, person_id=actor.id, person_label=actor.label[:200], arrived=arrived, sealed=sealed
            )  # fmt: skip
    except IntegrityError:
        raise Conflict(f"Component {number} has been entered already.") from None


def _seal(actor: Actor, component: SecretBytes) -> SealedValue:
    key = stores.sealing_key(actor)
    return sealing.seal_value(actor, purpose="component of a key", plaintext=component.reveal(), key=key)


def _note(row: KeyImport, entered: KeyComponent, act: audit.atomic) -> None:
    """Write down that a component fits; with the last one a worker goes on."""
    waiting = row.components_wanted - row.components.filter(arrived=None).count()
    act.record({
        "import": str(row.pk), "component": entered.number, "check_value": row.component_values[entered.number - 1],
        "custodian": entered.person_label, "still_missing": waiting,
    })  # fmt: skip
    if not waiting:
        frame.move(row, ImportState.RECEIVED)
        send(row.pk)


def _opened(row: KeyImport, component: KeyComponent) -> SecretBytes:
    """What was typed, as bytes; raises ValidationFailed for what was sealed to another key, person or number."""
    assert row.sealed_private is not None
    bound = bound_to(row.pk, component.number, component.person_id)
    try:
        with sealing.open_value(row.sealed_private) as private:
            key = load_der_private_key(private.reveal(), None)
        assert isinstance(key, X25519PrivateKey)
        with open_with(key, bytes(component.arrived or b""), bound) as typed:
            return SecretBytes(bytes.fromhex("".join(typed.reveal().decode().split())))
    except (DecryptFailed, ValueError):
        raise ValidationFailed(
            f"Component {component.number} cannot be read.", hint="Hexadecimal digits only, two for each byte; load the page again."
        ) from None  # fmt: skip


def _worker() -> Actor:
    return system_actor("import work", Permission.KEY_COMPONENT)


def _require_right(row: KeyImport, number: int, component: SecretBytes) -> None:
    algorithm = ALGORITHMS[row.key.algorithm]
    if len(component) != algorithm.key_bytes:
        raise ValidationFailed(
            f"Component {number} has another length than the key.",
            errors={"component": [f"{algorithm.key_bytes} bytes: {2 * algorithm.key_bytes} hexadecimal digits."]},
        )
    expected = row.component_values[number - 1]
    if keycheck.check_bytes(algorithm, component).hex().upper() != expected:
        raise ValidationFailed(
            f"Component {number} is wrong: its check value is not {expected}.",
            errors={"component": [f"Component {number} does not have the check value {expected}."]},
            hint="Compare it with your paper, digit by digit, and the number of the component.",
        )
