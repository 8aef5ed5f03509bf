"""Background work of agreement: perform, tell, expire."""

from uuid import UUID

from celery import shared_task

from keyvault_portal.approvals import execution, notices, services


@shared_task(name="approvals.execute_request")
def execute_request(request_id: str) -> None:
    """Perform an agreed act."""
    execution.execute(UUID(request_id))


@shared_task(name="approvals.mail_notice", autoretry_for=(OSError,), retry_backoff=True, max_retries=5)
def mail_notice(notice_id: int) -> None:
    """Send one notice by e-mail."""
    notices.send(notice_id)


@shared_task(name="approvals.tick")
def tick() -> None:
    """Expire what is due and perform what a lost message left behind."""
    services.expire_due()
    for request_id in execution.overdue_requests():
        execution.execute(request_id)
