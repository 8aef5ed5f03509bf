"""What the CA sent: checked against what was asked, stored with its chain, put in the place of the old one."""

from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from django.utils import timezone

from certificates.models import Certificate, ManagedCertificate, RenewalOrder
from certificates.names import from_general_names
from certificates.renewal import deploying, schedule
from certificates.renewal.client import AcmeFailed
from certificates.renewal.frame import SYSTEM, target_of
from certificates.renewal.states import ORDER_MOVES, OrderState
from certificates.services.reading import columns, parse, spki_of
from certificates.services.weaknesses import weaknesses_of
from keys.services import lifecycle
from keys.states import VersionState
from keyvault_portal.audit import services as audit

MAX_CHAIN = 8

__all__ = ["parse", "store"]


def store(order: RenewalOrder, pem: str) -> Certificate:
    """Store the certificate, activate its key version, and send it to every hook, in one transaction.

    Raises AcmeFailed when it is not what was asked for.
    """
    leaf, *above = _chain(pem)
    _check(order, leaf)
    managed_id = order.managed_id
    with audit.atomic(
        actor=SYSTEM, action="certificate.obtained", target=target_of(order.managed), ring_id=order.managed.ring_id
    ) as act:
        rows = ManagedCertificate.objects.select_for_update(of=("self",)).select_related("ring", "source", "owner")
        managed = rows.get(pk=managed_id)
        order = RenewalOrder.objects.select_for_update(of=("self",)).select_related("version__key").get(pk=order.pk)
        row = _rows(managed, order, leaf, above)
        if OrderState.ISSUED not in ORDER_MOVES[OrderState(order.state)]:
            return row  # another worker was faster
        if order.version.state is VersionState.PRE_ACTIVE:
            lifecycle.activate_version(actor=SYSTEM, version_id=order.version_id, reason="Its certificate is here.")
        order.state, order.certificate, order.finished_at, order.error = (
            OrderState.ISSUED.value,
            row,
            timezone.now(),
            "",
        )
        order.save()
        managed.certificate, managed.failures, managed.last_error, managed.told_at = row, 0, "", None
        schedule.plan_next(managed, row)
        managed.save()
        deploying.queue_for(managed, row, order.version)
        act.record(
            {
                "order": str(order.pk), "serial": row.serial, "fingerprint": row.fingerprint, "names": row.names,
                "not_after": row.not_after.isoformat(),
                "key_version": order.version.key_version, "source": managed.source.name,
                "replaces": str(order.replaces_id) if order.replaces_id else None,
            }
        )  # fmt: skip
    return row


def _chain(pem: str) -> list[x509.Certificate]:
    """The certificates as far as each is issued by the next; what follows has nothing to do with the first."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise AcmeFailed("What the CA sent is no certificate.", passing=False) from None
    chain = found[:1]
    for above in found[1:MAX_CHAIN]:
        try:
            chain[-1].verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            break
        chain.append(above)
    return chain


def _check(order: RenewalOrder, leaf: x509.Certificate) -> None:
    if spki_of(leaf) != bytes(order.version.public_key or b""):
        raise AcmeFailed("The CA certified another key than ours.", passing=False)
    try:
        names = from_general_names(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)[0]
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if {f"{kind}:{value}" for kind, value in names} != set(order.managed.names):
        raise AcmeFailed("The CA certified other names than we asked for.", passing=False)
    if leaf.not_valid_after_utc <= timezone.now():
        raise AcmeFailed("The certificate has ended already.", passing=False)


def _rows(
    managed: ManagedCertificate, order: RenewalOrder, leaf: x509.Certificate, above: list[x509.Certificate]
) -> Certificate:
    """The rows of the chain, those that are missing made, the root first; returns the leaf's."""
    issued_under: Certificate | None = None
    for certificate in reversed([leaf, *above]):
        raw = certificate.public_bytes(Encoding.DER)
        row = Certificate.objects.filter(ring=managed.ring, fingerprint=sha256(raw).hexdigest()).first()
        if row is None:
            values: dict[str, Any] = {
                "key_origin": Certificate.KeyOrigin.UNKNOWN.value,
                "requested_by": managed.created_by,
            }
            if certificate is leaf:
                values = {
                    "key_origin": Certificate.KeyOrigin.HIERARCHY.value, "key": managed.key, "renews": order.replaces, "owner": managed.owner,
                    "owner_label": str(managed.owner or managed.created_by)[:200], "requested_by": managed.created_by,
                }  # fmt: skip
            row = Certificate.objects.create(
                ring=managed.ring, source=Certificate.Source.ACME, issued_under=issued_under, weaknesses=weaknesses_of(certificate),
                **columns(raw), **values,
            )  # fmt: skip
        issued_under = row
    assert issued_under is not None
    return issued_under
