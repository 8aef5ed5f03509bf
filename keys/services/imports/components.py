"""Components of custodians: each entered by another person, checked at once, sealed until the last one has come."""

from uuid import UUID

from django.db import IntegrityError, transaction

from keys.crypto import keycheck
from keys.crypto.algorithms import ALGORITHMS
from keys.crypto.secret import SecretBytes
from keys.models import KeyComponent, KeyImport
from keys.services import sealing, stores
from keys.services.imports import frame
from keys.services.imports.receiving import send
from keys.states import ImportState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.errors import Conflict, PermissionRefused, ValidationFailed, WrongState


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


def enter_component(*, actor: Actor, import_id: UUID, number: int, component: SecretBytes) -> KeyComponent:
    """Take component `number` (from 1) of an import; with the last one a worker puts the key together.

    `component` is as long as the key. It is compared with its check value here and now, sealed, and never shown again, to
    nobody. Raises PermissionRefused (also for the one who opened the import, and for a second component), NotFound,
    WrongState, ImportExpired, Conflict (entered already), ValidationFailed naming the component that is wrong.
    """
    with frame.act_on_import(actor, Permission.KEY_COMPONENT, "key.enter_component", import_id) as (row, act):
        frame.require_open(row)
        if row.method != KeyImport.Method.COMPONENTS:
            raise WrongState("This import takes one wrapped key, no components.", state=row.state)
        if why := may_enter(actor, row):
            raise PermissionRefused(why, hint="Another custodian has to enter it.")
        if not 1 <= number <= row.components_wanted:
            raise ValidationFailed(errors={"number": [f"From 1 to {row.components_wanted}."]})
        _require_right(row, number, component)
        assert actor.id is not None  # `may_enter` wants a person
        sealed = sealing.seal_value(
            actor, purpose="component of a key", plaintext=component.reveal(), key=stores.sealing_key(actor)
        )
        try:
            with transaction.atomic():
                entered = KeyComponent.objects.create(
                    key_import=row, number=number, person_id=actor.id, person_label=actor.label[:200], sealed=sealed
                )
        except IntegrityError:
            raise Conflict(f"Component {number} has been entered already.") from None
        waiting = row.components_wanted - row.components.count()
        act.record(
            {
                "import": str(row.pk),
                "component": number,
                "check_value": row.component_values[number - 1],
                "still_missing": waiting,
            }
        )
        if not waiting:
            frame.move(row, ImportState.RECEIVED)
            send(row.pk)
    return entered


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
