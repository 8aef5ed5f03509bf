"""Public keys with which people sign acts offline: asked for by their owner, agreed to by an officer, removed by their owner."""

import base64
import hashlib
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.models import Person
from keyvault_portal.accounts.permissions import Permission, Role
from keyvault_portal.approvals import services
from keyvault_portal.approvals.models import SigningKey
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import ApprovalRequired, Conflict, NotFound, PermissionRefused, ValidationFailed

ADD_KEY = "approval.add_signing_key"
LONGEST = 65_536  # characters of a public key as it is given


class PublicKey(NamedTuple):
    """A key as it is kept: `text` is 32 bytes in hexadecimal, or an armored OpenPGP certificate."""

    kind: str
    text: str
    fingerprint: str


def read_public_key(text: str) -> PublicKey:
    """The public key in `text`: an OpenSSH line or a PEM block of Ed25519, or an OpenPGP certificate; raises ValidationFailed."""
    text = text.strip()
    try:
        if len(text) > LONGEST or "PRIVATE KEY" in text:
            raise ValueError
        if text.startswith("-----BEGIN PGP"):
            return _openpgp(text)
        load = serialization.load_pem_public_key if text.startswith("-----") else serialization.load_ssh_public_key
        key = load(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValidationFailed(errors={"public_key": [_WHAT]}) from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValidationFailed(errors={"public_key": ["Of these, only Ed25519 keys are taken."]})
    blob = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).split()[1]
    digest = base64.b64encode(hashlib.sha256(base64.b64decode(blob)).digest()).decode().rstrip("=")
    return PublicKey(
        SigningKey.Kind.ED25519, key.public_bytes_raw().hex(), f"SHA256:{digest}"
    )  # as ssh-keygen -l says it


_WHAT = "A public key: a line of OpenSSH that begins with ssh-ed25519, a PEM block of an Ed25519 key, or an OpenPGP certificate."


def ask_for_key(*, actor: Actor, name: str, public_key: str) -> NoReturn:
    """Put an own public key before a security officer; always raises: ApprovalRequired, or why not, ValidationFailed, Conflict, QuorumUnreachable."""
    found = read_public_key(public_key)
    if not name.strip() or len(name) > 100:
        raise ValidationFailed(errors={"name": ["From 1 to 100 characters."]})
    if actor.kind != "person" or not actor.second_factor:
        raise PermissionRefused("Only a person signed in with a second factor has signing keys.")
    _need_free(found)
    rings = actor.ring_ids(Permission.APPROVAL_DECIDE)
    ring_id = None if rings is None else str(min(rings)) if rings else None
    request = services.require_or_request(
        actor=actor, operation=ADD_KEY,
        params={"person_id": str(actor.id), "name": name.strip(), "public_key": found.text, "kind": str(found.kind),
                "fingerprint": found.fingerprint, "ring_id": ring_id},
        groups=[{"role": Role.SECURITY_OFFICER.value, "threshold": 1, "ring_id": ring_id}],
        reason=f"{actor.label} signs acts with this key.",
    )  # fmt: skip
    raise ApprovalRequired(request.pk, f"{request.title}: waiting for agreement.")


def add_key(*, actor: Actor, params: dict[str, Any], approval_id: UUID) -> SigningKey:
    """Register the key that was agreed to; called by the executor only. Raises PermissionRefused, Conflict."""
    person = owner_of(params)
    with audit.atomic(actor=actor, action="approval.add_signing_key", target=("person", person.pk, str(person))) as act:
        if not services.is_executing(approval_id, ADD_KEY, params) or actor.id != person.pk:
            raise PermissionRefused("A signing key is registered by agreement only.")
        found = PublicKey(params["kind"], params["public_key"], params["fingerprint"])
        _need_free(found)
        try:
            with transaction.atomic():
                key = SigningKey.objects.create(
                    person_id=person.pk, person_label=str(person)[:200], name=params["name"], kind=found.kind, public_key=found.text,
                    fingerprint=found.fingerprint, approval_id=approval_id,
                )  # fmt: skip
        except IntegrityError:
            raise Conflict(_TAKEN) from None
        act.record(
            {
                "signing_key": found.fingerprint,
                "person": str(person.pk),
                "kind": str(found.kind),
                "public_key": found.text,
            }
        )
    return key


def remove_key(*, actor: Actor, key_id: int) -> None:
    """Let a key sign nothing any more: one's own, or anybody's for those who manage people. What it signed stays signed."""
    with audit.atomic(actor=actor, action="approval.remove_signing_key") as act:
        key = SigningKey.objects.select_for_update().filter(pk=key_id, removed_at=None).first()
        if key is None:
            raise NotFound("There is no such key.")
        act.about(target=("person", key.person_id, key.person_label))
        if actor.id != key.person_id or actor.kind != "person":
            authorize(actor, Permission.PERSON_MANAGE, target=key.person_label)
        key.removed_at = timezone.now()
        key.save(update_fields=["removed_at"])
        act.record({"fingerprint": key.fingerprint, "name": key.name})


def keys_of(person_id: UUID | None) -> QuerySet[SigningKey]:
    """The keys with which this person may sign now."""
    return SigningKey.objects.filter(person_id=person_id or UUID(int=0), removed_at=None).order_by("-created_at")


def owner_of(params: dict[str, Any]) -> Person:
    """Whose key it is; raises NotFound."""
    person = Person.objects.filter(pk=params["person_id"], kind=Person.Kind.PERSON, is_active=True).first()
    if person is None:
        raise NotFound("There is no such person.")
    return person


_TAKEN = "This key is registered already."


def _need_free(found: PublicKey) -> None:
    if SigningKey.objects.filter(fingerprint=found.fingerprint, removed_at=None).exists():
        raise Conflict(_TAKEN, hint="One key belongs to one person; make another.")


def _openpgp(text: str) -> PublicKey:
    from pysequoia import Cert

    try:
        certificate = Cert.from_bytes(text.encode())
        return PublicKey(SigningKey.Kind.OPENPGP, str(certificate), str(certificate.fingerprint).upper())
    except Exception:  # the library raises bare ones for what it cannot read
        raise ValueError("not a certificate") from None
