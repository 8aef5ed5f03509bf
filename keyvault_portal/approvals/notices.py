"""Telling people: a line on their pages and an e-mail, sent after commit by a worker."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from keyvault_portal.accounts.models import Person
from keyvault_portal.approvals.models import ApprovalRequest, Notice
from keyvault_portal.jobs import enqueue_on_commit

OVERDUE, MAILED_WITHIN = timedelta(minutes=10), timedelta(days=1)


def ask(request: ApprovalRequest, people: Iterable[UUID]) -> None:
    """Tell everybody who could agree that they are asked."""
    detail = f"{request.requester_label} asks: {request.title}, {request.target_label}.\nReason: {request.reason}"
    _notify(people, f"{_what(request)}: your agreement is asked", detail, _path(request))


def tell_requester(request: ApprovalRequest, text: str) -> None:
    """Tell the person who asked how it went."""
    _notify([request.requester_id], f"{_what(request)}: {text}", f"{request.target_label}\n{text}", _path(request))


def alarm(request: ApprovalRequest, people: Iterable[UUID]) -> None:
    """Tell everybody whose agreement was skipped."""
    detail = f"{request.broken_by} performed this without your agreement.\n{request.target_label}\nReason given: {request.broken_because}"
    _notify(people, f"Glass broken: {request.title}", detail, _path(request), alarm=True)


def notify(people: Iterable[UUID], text: str, *, detail: str = "", path: str = "", alarm: bool = False) -> None:
    """Tell these people something that is not about a request."""
    _notify(people, text, detail, path, alarm=alarm)


def unread(person_id: UUID) -> QuerySet[Notice]:
    """What this person has not read, newest first."""
    return Notice.objects.filter(person_id=person_id, read_at=None).order_by("-created_at", "-id")


def mark_read(person_id: UUID, *, path: str | None = None) -> int:
    """Mark every notice of this person as read, or those that lead to `path`; returns how many were not."""
    rows = unread(person_id) if path is None else unread(person_id).filter(path=path)
    return rows.update(read_at=timezone.now())


def send(notice_id: int) -> None:
    """Send one notice by e-mail, once; an inactive person gets none."""
    notice = Notice.objects.filter(pk=notice_id, mailed_at=None).first()
    person = (
        Person.objects.filter(pk=notice.person_id, is_active=True, kind=Person.Kind.PERSON).first() if notice else None
    )
    if notice is None or person is None:
        return
    link = settings.PORTAL_ORIGIN.rstrip("/") + notice.path if notice.path else ""
    send_mail(
        notice.text,
        "\n\n".join(part for part in (notice.detail, link) if part),
        settings.DEFAULT_FROM_EMAIL,
        [person.email],
    )
    Notice.objects.filter(pk=notice.pk).update(mailed_at=timezone.now())


def overdue_mail() -> list[int]:
    """Notices of the last day that no worker has mailed: the broker lost the message, or the mail server was away."""
    now = timezone.now()
    active = Person.objects.filter(is_active=True, kind=Person.Kind.PERSON).values("pk")
    rows = Notice.objects.filter(
        mailed_at=None, created_at__range=(now - MAILED_WITHIN, now - OVERDUE), person_id__in=active
    )
    return list(rows.order_by("pk").values_list("pk", flat=True)[:100])


def _what(request: ApprovalRequest) -> str:
    """The act and what it is about; several of one kind are told apart, and room is left for what became of it."""
    return f"{request.title}, {request.target_label[:100]}"


def _path(request: ApprovalRequest) -> str:
    return reverse("approvals:detail", args=[request.pk])


def _notify(people: Iterable[UUID], text: str, detail: str, path: str, *, alarm: bool = False) -> None:
    from keyvault_portal.approvals.tasks import mail_notice

    line = " ".join(text.split())[:300]  # one line: it is the subject of a mail
    rows = [Notice(person_id=person, text=line, detail=detail, path=path, alarm=alarm) for person in people]
    for notice in Notice.objects.bulk_create(rows):
        enqueue_on_commit(mail_notice, notice.pk)
