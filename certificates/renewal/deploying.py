"""From a new certificate to who serves with it: hooks, and one row for each delivery, tried until it is there or given up.

A private key goes into files of this machine only, and only where others agreed to it. A webhook never gets one: a password
for it would have to be kept at both ends, and every renewal would put a key on the wire with nobody agreeing. The receiver
that needs the key is given it by an export, or keeps it in an HSM of its own.
"""

import base64
from datetime import timedelta
from typing import Any
from uuid import UUID

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from certificates.csr import refused
from certificates.models import Certificate, Delivery, DeployHook, ManagedCertificate
from certificates.renewal import files
from certificates.renewal.frame import SYSTEM, act_on_managed, back_off
from certificates.renewal.states import DELIVERY_MOVES, TELL_AFTER_TRIES, DeliveryState
from certificates.services.reading import chain_of, pem
from certificates.services.telling import concerned
from certificates.tls.manifests import is_namespace, is_object_name
from keys.crypto.secret import SecretBytes
from keys.models import KeyVersion
from keys.services import exports, sealing, stores
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices
from keyvault_portal.approvals import services as approvals
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PortalError, WrongState
from keyvault_portal.jobs import enqueue_on_commit

DEPLOY_KEY = "certificate.deploy_key"
MAX_ATTEMPTS = 12
CLAIM = timedelta(minutes=2)
_RELEASER = system_actor("certificate deployment", Permission.KEY_EXPORT)
Kind = DeployHook.Kind


def add_hook(
    *,
    actor: Actor,
    managed_id: UUID,
    kind: str,
    place: str,
    namespace: str = "",
    secret_name: str = "",
    with_key: bool = False,
    secret: SecretBytes | None = None,
    reason: str = "",
    approval_id: UUID | None = None,
) -> DeployHook:
    """Have every new certificate put at `place`, the present one at once; with its private key others must agree.

    Raises PermissionRefused, NotFound, ValidationFailed, HostRefused, Conflict (place taken, key not exportable), ApprovalRequired.
    """
    with act_on_managed(actor, Permission.CERTIFICATE_ISSUE, "certificate.add_hook", managed_id) as (row, act):
        hook = DeployHook(
            managed=row, kind=kind, place=place.strip(), namespace=namespace, secret_name=secret_name, with_key=with_key, created_by=actor.label[:200]
        )  # fmt: skip
        _check(hook, secret)
        if with_key:
            authorize(actor, Permission.KEY_EXPORT, ring_id=row.key.ring_id, target=f"key {row.key.name}")
            if why := exports.why_not(row.key):
                raise Conflict(f"The private key of {row.key} cannot be put into a file.", hint=why)
            params = _params(hook, reason)
            approvals.need_officers(
                actor, DEPLOY_KEY, params, ring_id=row.ring_id, reason=reason, approval_id=approval_id
            )
        if secret is not None and kind == Kind.WEBHOOK:
            hook.secret = sealing.seal_value(
                actor, purpose="deploy hook", plaintext=secret.reveal(), key=stores.sealing_key(actor)
            )
        try:
            with transaction.atomic():
                hook.save(force_insert=True)
        except IntegrityError:
            raise Conflict("Something is put there already.", hint="Choose another place.") from None
        act.record({"hook": str(hook.pk), "kind": kind, "place": hook.place, "with_key": with_key, "reason": reason})
        if row.certificate is not None and (order := row.orders.filter(certificate=row.certificate).first()):
            _queue(hook, row.certificate, order.version_id)
    return hook


def _params(hook: DeployHook, reason: str) -> dict[str, Any]:
    return {
        "managed_id": str(hook.managed_id), "kind": str(hook.kind), "place": hook.place, "namespace": hook.namespace,
        "secret_name": hook.secret_name, "reason": reason,
    }  # fmt: skip


def consequences(managed: ManagedCertificate, place: str) -> list[str]:
    """What those read who agree that a private key is put into a file."""
    return [
        f"The private key of {managed} is written in the clear to {place}, now and at every renewal.",
        "Whoever can read that file can stand in for these names until the certificate ends or is revoked.",
        "The file is readable by the portal's own user only; no key is sent anywhere.",
        "Each version is marked as exported, which nobody can undo.",
    ]


def remove_hook(*, actor: Actor, hook_id: UUID, reason: str) -> DeployHook:
    """Deliver nothing more there; what is there stays. Raises PermissionRefused, NotFound, WrongState."""
    managed_id = DeployHook.objects.filter(pk=hook_id).values_list("managed_id", flat=True).first()
    if managed_id is None:
        raise NotFound("There is no such hook.")
    with act_on_managed(actor, Permission.CERTIFICATE_ISSUE, "certificate.remove_hook", managed_id) as (_, act):
        hook = DeployHook.objects.select_for_update().get(pk=hook_id)
        if hook.removed_at is not None:
            raise WrongState("It is removed already.")
        now = timezone.now()
        hook.removed_at = now
        hook.save(update_fields=["removed_at"])
        waiting = hook.deliveries.filter(state__in=[DeliveryState.QUEUED.value, DeliveryState.FAILED.value])
        waiting.update(state=DeliveryState.SUPERSEDED.value, finished_at=now)
        act.record({"hook": str(hook.pk), "place": hook.place, "reason": reason})
    return hook


def retry_delivery(*, actor: Actor, delivery_id: UUID) -> Delivery:
    """Try one again that was given up; raises PermissionRefused, NotFound, WrongState."""
    managed_id = Delivery.objects.filter(pk=delivery_id).values_list("hook__managed_id", flat=True).first()
    if managed_id is None:
        raise NotFound("There is no such delivery.")
    with act_on_managed(actor, Permission.CERTIFICATE_ISSUE, "certificate.retry_delivery", managed_id) as (_, act):
        row = Delivery.objects.select_for_update().get(pk=delivery_id)
        _move(row, DeliveryState.QUEUED)
        row.attempts, row.next_try_at, row.finished_at = 0, timezone.now(), None
        row.save()
        _send(row.pk)
        act.record({"delivery": str(row.pk)})
    return row


def queue_for(managed: ManagedCertificate, certificate: Certificate, version: KeyVersion) -> None:
    """Send a new certificate to every hook, in the caller's transaction; older ones on their way are superseded."""
    for hook in managed.hooks.filter(removed_at=None):
        older = hook.deliveries.filter(state__in=[DeliveryState.QUEUED.value, DeliveryState.FAILED.value])
        older.update(state=DeliveryState.SUPERSEDED.value, finished_at=timezone.now())
        _queue(hook, certificate, version.pk)


def _queue(hook: DeployHook, certificate: Certificate, version_id: int) -> None:
    row, made = Delivery.objects.get_or_create(hook=hook, certificate=certificate, defaults={"version_id": version_id})
    if made:
        _send(row.pk)


def _send(delivery_id: UUID) -> None:
    from certificates.renewal.tasks import deliver as task

    enqueue_on_commit(task, str(delivery_id))


def deliver(delivery_id: UUID) -> Delivery | None:
    """Bring one certificate to its place: the effect between two transactions, safe to repeat. Failures are written down."""
    now = timezone.now()
    due = Delivery.objects.filter(pk=delivery_id, state=DeliveryState.QUEUED.value, next_try_at__lte=now)
    if _waits_for_files(delivery_id) or not due.update(next_try_at=now + CLAIM):
        return None
    related = ("hook__secret", "hook__managed__key", "certificate__issued_under")
    row = Delivery.objects.select_related(*related).get(pk=delivery_id)
    failed: PortalError | None = None
    try:
        _bring(row)
    except PortalError as error:
        failed = error
    hook, managed = row.hook, row.hook.managed
    with audit.atomic(
        actor=SYSTEM, action="certificate.deliver", target=("certificate", row.certificate_id, str(row.certificate)),
        ring_id=managed.ring_id,
    ) as act:  # fmt: skip
        row = Delivery.objects.select_for_update().get(pk=delivery_id)
        if row.state != DeliveryState.QUEUED.value:
            return row  # superseded or removed meanwhile
        row.attempts += 1
        details = {"delivery": str(row.pk), "kind": hook.kind, "place": hook.place, "with_key": hook.with_key}
        if failed is None:
            _move(row, DeliveryState.DELIVERED)
            row.finished_at, row.last_error = timezone.now(), ""
            act.record(details)
        else:
            _note_failure(row, failed)
            act.record(details | {"code": failed.code, "detail": failed.detail}, outcome="failed")
        row.save()
        for told in _of_same(row).filter(hook__kind=Kind.WEBHOOK) if hook.kind != Kind.WEBHOOK else ():
            _send(told.pk)
    return row


def _of_same(row: Delivery) -> QuerySet[Delivery]:
    """What else of this certificate is on its way."""
    same = {"certificate": row.certificate_id, "hook__managed": row.hook.managed_id}
    return Delivery.objects.filter(state=DeliveryState.QUEUED.value, **same).exclude(pk=row.pk)


def _waits_for_files(delivery_id: UUID) -> bool:
    """Whether it is a webhook and files are to come first: it may have a server reload them.

    Not for ever: people have been told by then of a file that does not get to its place.
    """
    row = Delivery.objects.select_related("hook").filter(pk=delivery_id, hook__kind=Kind.WEBHOOK).first()
    if row is None:
        return False
    return _of_same(row).exclude(hook__kind=Kind.WEBHOOK).filter(attempts__lt=TELL_AFTER_TRIES).exists()


def _note_failure(row: Delivery, error: PortalError) -> None:
    row.last_error = f"{error.detail} {error.hint}".strip()
    passing = error.status == 503
    if passing and row.attempts < MAX_ATTEMPTS:
        row.next_try_at = timezone.now() + back_off(row.attempts)
        if row.attempts == TELL_AFTER_TRIES:
            _tell(row, "has not reached", "It is tried again.")
        return
    _move(row, DeliveryState.FAILED)
    row.finished_at = timezone.now()
    _tell(row, "did not reach", "It is not tried again by itself.")


def _tell(row: Delivery, what: str, then: str) -> None:
    managed = row.hook.managed
    notices.notify(
        concerned(managed.ring_id, managed.owner_id), f"The certificate {managed} {what} {row.hook.place}",
        detail=f"{row.last_error} {then} Who serves from there goes on with the old one.", path=f"/certificates/renewals/{managed.pk}/", alarm=True,
    )  # fmt: skip


def _move(row: Delivery, to: DeliveryState) -> None:
    if to not in DELIVERY_MOVES[DeliveryState(row.state)]:
        raise WrongState(f"The delivery is {row.state}: it cannot become {to.value}.", state=row.state)
    row.state = to.value


def _bring(row: Delivery) -> None:
    hook, certificate = row.hook, row.certificate
    chain = pem(certificate, *[above for above in chain_of(certificate) if above.subject != above.issuer])
    if hook.kind == Kind.WEBHOOK:
        from certificates.renewal import webhooks  # here: workers that tell nobody need not hold a client of HTTP

        assert hook.secret is not None
        with sealing.open_value(hook.secret) as secret:
            webhooks.deliver(hook.place, secret, _event(row, chain))
        return
    key = _key_pem(row) if hook.with_key else b""
    if hook.kind == Kind.KUBERNETES:
        files.write_file(hook.place, manifest(hook, chain.encode(), key))
        return
    files.write_set(hook.place, {"fullchain.pem": chain.encode()} | ({"privkey.pem": key} if key else {}))


def _key_pem(row: Delivery) -> bytes:
    with exports.release_for_deployment(actor=_RELEASER, version_id=row.version_id, place=row.hook.place) as material:
        private = load_der_private_key(material.reveal(), None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _event(row: Delivery, chain: str) -> dict[str, Any]:
    found = row.certificate
    return {
        "event": "certificate.renewed", "delivery": str(row.pk), "certificate": str(found.pk), "names": found.names, "serial": found.serial,
        "fingerprint": found.fingerprint, "not_after": found.not_after.isoformat(), "chain": chain,
    }  # fmt: skip


def manifest(hook: DeployHook, chain: bytes, key: bytes) -> bytes:
    """A Secret of type kubernetes.io/tls; without the key an Opaque one that holds the chain alone."""
    data = {"tls.crt": base64.b64encode(chain).decode()}
    if key:
        data["tls.key"] = base64.b64encode(key).decode()
    body = {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": hook.secret_name, "namespace": hook.namespace},
        "type": "kubernetes.io/tls" if key else "Opaque", "data": data,
    }  # fmt: skip
    return yaml.safe_dump(body, sort_keys=False, width=10_000).encode()


def tick() -> None:
    """Deliveries whose time has come again, or whose message was lost."""
    now = timezone.now()
    waiting = Delivery.objects.filter(
        Q(attempts__gt=0) | Q(created_at__lt=now - timedelta(seconds=30)), state=DeliveryState.QUEUED.value,
        next_try_at__lte=now,
    )  # fmt: skip
    for delivery_id in waiting.values_list("pk", flat=True)[:100]:
        _send(delivery_id)


def _check(hook: DeployHook, secret: SecretBytes | None) -> None:
    if hook.kind == Kind.WEBHOOK:
        if hook.with_key:
            raise refused("with_key", "A webhook never gets the private key; give it out by an export.")
        if secret is None:
            raise refused("secret", "A webhook is signed with a secret that the receiver knows.")
        from certificates.renewal import webhooks

        webhooks.check(hook.place, secret)
        return
    if hook.kind not in Kind.values:
        raise refused("kind", f"One of: {', '.join(Kind.values)}.")
    files.check(hook.place)
    if hook.kind == Kind.KUBERNETES:
        if not is_namespace(hook.namespace):
            raise refused("namespace", "Letters in lower case, digits and hyphens only.")
        if not is_object_name(hook.secret_name):
            raise refused("secret_name", "Letters in lower case, digits, dots and hyphens only.")
