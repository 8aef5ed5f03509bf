"""Accounts at ACME CAs, and the hooks that write DNS records: registering, trying, retiring."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from cryptography import x509
from django.db import IntegrityError, transaction
from django.utils import timezone

from certificates.csr import refused
from certificates.models import AcmeSource, DnsHook
from certificates.names import complaint
from certificates.renewal import client, dns01
from certificates.renewal.frame import back_off
from certificates.renewal.states import SOURCE_MOVES, SourceState
from certificates.renewal.web import FarEndUnavailable, acme_rule
from certificates.services.telling import concerned
from keys.crypto.secret import SecretBytes
from keys.models import SealedValue
from keys.services import sealing, stores
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, NotFound, PortalError, ValidationFailed, WrongState
from keyvault_portal.jobs import enqueue_on_commit

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
_SYSTEM = system_actor("ACME registration", Permission.AUTHORITY_MANAGE)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{20,500}={0,2}")


@dataclass(frozen=True, slots=True)
class Tried:
    """What a CA says of itself."""

    terms: str
    wants_binding: bool
    offers_renewal_info: bool


def look_at_ca(*, actor: Actor, ring: KeyRing, directory: str, ca_bundle: str = "") -> Tried:
    """Read a CA's directory and keep nothing; raises PermissionRefused, ValidationFailed, HostRefused, AcmeFailed."""
    target = ("acme_source", "", directory[:200])
    with audit.atomic(actor=actor, action="acme_source.test", target=target, ring_id=ring.pk) as act:
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        _check_address(directory, ca_bundle)
        act.record({"directory": directory})
    with client.opened(directory, ca_bundle) as ca:
        return Tried(ca.terms, ca.wants_binding, ca.offers_renewal_info)


def register_source(
    *,
    actor: Actor,
    ring: KeyRing,
    name: str,
    directory: str,
    contacts: Sequence[str] = (),
    agree_to_terms: bool = False,
    ca_bundle: str = "",
    eab_kid: str = "",
    eab_key: SecretBytes | None = None,
) -> AcmeSource:
    """Make an account key, sealed, and have a worker register it; the source is ready once the CA has answered.

    Raises PermissionRefused, ValidationFailed (also when the terms are not agreed to), HostRefused, Conflict (name taken).
    """
    target = ("acme_source", "", name)
    with audit.atomic(actor=actor, action="acme_source.register", target=target, ring_id=ring.pk) as act:
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        _check(name, contacts, agree_to_terms, eab_kid, eab_key)
        _check_address(directory, ca_bundle)
        sealing_key = stores.sealing_key(actor)
        account_key = client.new_account_key()
        row = AcmeSource(
            id=uuid4(), ring=ring, name=name, directory=directory, ca_bundle=ca_bundle.strip(), contacts=list(contacts), eab_kid=eab_kid,
            terms_agreed_by=actor.label[:200], thumbprint=client.thumbprint(account_key), created_by=actor.label[:200],
        )  # fmt: skip
        row.account_key = sealing.seal_value(
            actor, purpose="ACME account key", plaintext=account_key.reveal(), key=sealing_key
        )
        if eab_key is not None:
            row.eab_key = sealing.seal_value(
                actor, purpose="ACME external account binding", plaintext=eab_key.reveal(), key=sealing_key
            )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict("A source of this name exists already.") from None
        act.record(
            {"directory": directory, "contacts": list(contacts), "eab_kid": eab_kid, "thumbprint": row.thumbprint},
            target=target_of(row),
        )
        send(row.pk)
    return row


def send(source_id: UUID) -> None:
    """Let a worker register it after commit."""
    from certificates.renewal.tasks import register

    enqueue_on_commit(register, str(source_id))


def target_of(row: AcmeSource) -> tuple[str, object, str]:
    """How the record names a source."""
    return ("acme_source", row.pk, row.name)


def complete_registration(source_id: UUID) -> AcmeSource | None:
    """Register the account at the CA: the effect between two transactions. Safe to repeat: a key has one account there.

    Failures are written down; returns None when there is nothing to do.
    """
    rows = AcmeSource.objects.select_related("account_key", "eab_key")
    row = rows.filter(pk=source_id, state=SourceState.REGISTERING.value).first()
    if row is None:
        return None
    failed: PortalError | None = None
    account_url, terms, offers = "", "", False
    try:
        key = sealing.open_value(row.account_key)
        binding = (row.eab_kid, sealing.open_value(row.eab_key)) if row.eab_key is not None else None
        with client.opened(row.directory, row.ca_bundle, key) as ca:
            account_url, terms, offers = ca.register(row.contacts, binding), ca.terms, ca.offers_renewal_info
    except PortalError as error:
        failed = error
    with audit.atomic(
        actor=_SYSTEM, action="acme_source.registered", target=target_of(row), ring_id=row.ring_id
    ) as act:
        row = AcmeSource.objects.select_for_update().get(pk=source_id)
        if row.state != SourceState.REGISTERING.value:
            return None
        row.checked_at = timezone.now()
        if failed is None:
            used, row.eab_key = row.eab_key_id, None
            row.account_url, row.terms_url, row.offers_renewal_info = account_url, terms[:500], offers
            row.last_error, row.next_try_at, row.attempts = "", None, 0
            _move(row, SourceState.READY)
            row.save()
            if used is not None:
                SealedValue.objects.filter(pk=used).delete()
            act.record({"account": account_url, "terms": terms})
        else:
            _note_failure(row, failed)
            act.record({"code": failed.code, "detail": failed.detail}, outcome="failed")
    return row


def _note_failure(row: AcmeSource, error: PortalError) -> None:
    row.attempts += 1
    row.last_error = f"{error.detail} {error.hint}".strip()
    if error.status == 503 or getattr(error, "passing", False):
        row.next_try_at = timezone.now() + back_off(row.attempts, least=getattr(error, "wait", None))
    else:
        row.next_try_at = None
        _move(row, SourceState.FAILED)
        notices.notify(
            concerned(row.ring_id), f"The ACME CA {row.name} refused the account", detail=row.last_error, path=f"/certificates/sources/{row.pk}/"
        )  # fmt: skip
    row.save()


def retry_source(*, actor: Actor, source_id: UUID) -> AcmeSource:
    """Register again after a refusal, or look whether a ready CA still answers.

    Raises PermissionRefused, NotFound, WrongState (retired), AcmeFailed and HostRefused (a ready one that does not answer).
    """
    with audit.atomic(actor=actor, action="acme_source.retry", target=("acme_source", source_id, "")) as act:
        row = _locked(actor, act, source_id)
        if row.state == SourceState.RETIRED.value:
            raise WrongState("This source is retired.", state=row.state)
        if row.state == SourceState.FAILED.value:
            _move(row, SourceState.REGISTERING)
            row.last_error, row.next_try_at = "", None
            row.save(update_fields=["state", "last_error", "next_try_at"])
        if row.state == SourceState.REGISTERING.value:
            send(row.pk)
        act.record({"state": row.state})
    if row.state == SourceState.READY.value:
        _look(row)
    return row


def _look(row: AcmeSource) -> None:
    error = ""
    try:
        with client.opened(row.directory, row.ca_bundle) as ca:
            row.offers_renewal_info = ca.offers_renewal_info
    except PortalError as failure:
        error = failure.detail
        raise
    finally:
        row.last_error, row.checked_at = error, timezone.now()
        row.save(update_fields=["last_error", "checked_at", "offers_renewal_info"])


def retire_source(*, actor: Actor, source_id: UUID, reason: str) -> AcmeSource:
    """Use an account no more; raises PermissionRefused, NotFound, WrongState, Conflict (certificates are renewed there)."""
    with audit.atomic(actor=actor, action="acme_source.retire", target=("acme_source", source_id, "")) as act:
        row = _locked(actor, act, source_id)
        if row.managed.filter(enabled=True).exists():
            raise Conflict("Certificates are renewed from it.", hint="Stop their renewal first.")
        _move(row, SourceState.RETIRED)
        row.save(update_fields=["state"])
        act.record({"reason": reason})
    return row


def _locked(actor: Actor, act: audit.atomic, source_id: UUID) -> AcmeSource:
    row = AcmeSource.objects.select_for_update().filter(pk=source_id).first()
    if row is None:
        raise NotFound("There is no such source.")
    act.about(target=target_of(row), ring_id=row.ring_id)
    authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=row.ring_id, target=f"source {row.name}")
    return row


def _move(row: AcmeSource, to: SourceState) -> None:
    if to not in SOURCE_MOVES[SourceState(row.state)]:
        raise WrongState(f"The source is {row.state}: it cannot become {to.value}.", state=row.state)
    row.state = to.value


def tick() -> None:
    """Registrations whose time has come again, or whose message was lost."""
    now = timezone.now()
    waiting = AcmeSource.objects.filter(state=SourceState.REGISTERING.value)
    for row in waiting.exclude(next_try_at__gt=now).filter(created_at__lt=now - timedelta(seconds=30))[:20]:
        send(row.pk)


def _check(name: str, contacts: Sequence[str], agreed: bool, eab_kid: str, eab_key: SecretBytes | None) -> None:
    errors: dict[str, list[str]] = {}
    if not _NAME.fullmatch(name):
        errors["name"] = ["Lower-case letters, digits and hyphens; at most 63, a letter or digit at both ends."]
    if len(contacts) > 5 or any(complaint(("email", address)) for address in contacts):
        errors["contacts"] = ["At most five e-mail addresses."]
    if not agreed:
        errors["agree_to_terms"] = ["The CA issues only to who agrees to its terms."]
    if bool(eab_kid) != (eab_key is not None):
        errors["eab_kid"] = ["Key id and key of an external account come together."]
    if eab_key is not None and not _BASE64URL.fullmatch(eab_key.reveal().decode(errors="replace")):
        errors["eab_key"] = ["The HMAC key in base64url, as the CA gave it."]
    if errors:
        raise ValidationFailed("The source cannot be registered.", errors=errors)


def _check_address(directory: str, ca_bundle: str) -> None:
    if not directory.startswith("https://") or len(directory) > 500:
        raise refused("directory", "The https address of an ACME directory.")
    if ca_bundle.strip():
        try:
            x509.load_pem_x509_certificates(ca_bundle.encode())
        except ValueError:
            raise refused("ca_bundle", "These are no certificates in PEM.") from None
    try:
        acme_rule().check_url(directory)
    except FarEndUnavailable:
        return  # a name that cannot be found now is tried again by the worker


def register_dns_hook(
    *,
    actor: Actor,
    ring: KeyRing,
    name: str,
    kind: str,
    address: str,
    secret: SecretBytes,
    zone: str = "",
    key_name: str = "",
    key_algorithm: str = "hmac-sha256",
    wait_seconds: int = 10,
) -> DnsHook:
    """Keep how TXT records are written, its secret sealed; raises PermissionRefused, ValidationFailed, HostRefused, Conflict."""
    target = ("dns_hook", "", name)
    with audit.atomic(actor=actor, action="dns_hook.register", target=target, ring_id=ring.pk) as act:
        authorize(actor, Permission.AUTHORITY_MANAGE, ring_id=ring.pk, target=f"ring {ring.name}")
        if not _NAME.fullmatch(name):
            raise refused("name", "Lower-case letters, digits and hyphens.")
        if not 0 <= wait_seconds <= 600:
            raise refused("wait_seconds", "From 0 to 600 seconds.")
        row = DnsHook(
            ring=ring, name=name, kind=kind, address=address.strip(), zone=zone.strip().rstrip(".").lower(), key_name=key_name.strip(),
            key_algorithm=key_algorithm if kind == DnsHook.Kind.RFC2136 else "", wait_seconds=wait_seconds, created_by=actor.label[:200],
        )  # fmt: skip
        dns01.check(row, secret)
        row.secret = sealing.seal_value(
            actor, purpose="DNS hook", plaintext=secret.reveal(), key=stores.sealing_key(actor)
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict("A DNS hook of this name exists already.") from None
        act.record({"kind": kind, "address": row.address, "zone": row.zone}, target=("dns_hook", row.pk, row.name))
    return row
