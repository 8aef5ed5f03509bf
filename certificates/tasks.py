"""Background work on certificates; each task is one service, and the tick finds whatever a lost message left undone."""

from uuid import UUID

from celery import Task, shared_task

from certificates.models import Authority, IssuanceGrant
from certificates.services import authorities, crls, expiry, grants, inventory, monitoring, status
from certificates.states import AuthorityState, GrantState
from keyvault_portal.errors import NotFound, PortalError, ProviderUnavailable, WrongState

_WAIT = (5, 15, 30, 60, 120, 300)


@shared_task(name="certificates.sign_authority", bind=True, max_retries=None)
def sign_authority(self: "Task[[str], None]", authority_id: str) -> None:
    """Sign a pending authority's certificate; a key that is away is waited for."""
    try:
        authorities.sign_authority(UUID(authority_id))
        status.ensure_responder(UUID(authority_id))
    except (NotFound, WrongState):
        return
    except ProviderUnavailable:
        raise self.retry(countdown=_WAIT[min(self.request.retries, len(_WAIT) - 1)]) from None


@shared_task(name="certificates.redeem_grant")
def redeem_grant(grant_id: str) -> None:
    """Sign what was agreed to."""
    grants.redeem_open(UUID(grant_id))


@shared_task(name="certificates.publish_crl")
def publish_crl(authority_id: str) -> None:
    """A new CRL because something was revoked; what fails shows on the authority's page and is tried again by the tick."""
    try:
        crls.publish(UUID(authority_id))
    except NotFound:
        return
    except PortalError as error:
        crls.note_failure(UUID(authority_id), error)


@shared_task(name="certificates.presign")
def presign(*certificate_ids: str) -> None:
    """OCSP answers for these certificates; when they cannot be signed now, the tick makes them."""
    try:
        status.presign([UUID(certificate_id) for certificate_id in certificate_ids])
    except PortalError:
        return


@shared_task(name="certificates.presign_new")
def presign_new() -> None:
    """OCSP answers for what was issued just now; when they cannot be signed now, the tick makes them."""
    try:
        status.presign_new()
    except PortalError:
        return


@shared_task(name="certificates.scan_endpoint")
def scan_endpoint(scan_id: str) -> None:
    """One scan of a watched endpoint."""
    from certificates.services import scanning  # here: workers that never scan need not hold a TLS library

    scanning.perform(UUID(scan_id))


@shared_task(name="certificates.read_log")
def read_log(monitor_id: str) -> None:
    """New entries of one watched log."""
    monitoring.poll(UUID(monitor_id))


@shared_task(name="certificates.tick")
def tick() -> None:
    """CRLs before they run out, responders, OCSP answers, expiry notices, scans, logs, and messages that the broker lost."""
    from certificates.services import scanning

    grants.reap()
    for authority_id in Authority.objects.filter(state=AuthorityState.PENDING.value, certificate=None).values_list(
        "pk", flat=True
    )[:20]:
        sign_authority.delay(str(authority_id))
    for grant_id in IssuanceGrant.objects.filter(state=GrantState.OPEN.value).values_list("pk", flat=True)[:100]:
        redeem_grant.delay(str(grant_id))
    status.tick_responders()
    crls.tick()
    status.tick()
    expiry.tick()
    inventory.adopt_keys()
    scanning.tick()
    monitoring.tick()
