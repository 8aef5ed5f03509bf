"""Watched endpoints: scanned on demand and by schedule, every scan kept, and people told when something changed."""

import logging
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from certificates.csr import refused
from certificates.models import Certificate, EndpointScan, ScanTarget, Sighting
from certificates.services import inventory, sightings
from certificates.services.reading import without_nul
from certificates.services.scan_policy import scan_rule
from certificates.services.telling import concerned
from certificates.states import SCAN_MOVES, ScanState
from certificates.tls.grading import grade
from certificates.tls.report import CertificateFacts, Report
from certificates.tls.services import EndpointUnavailable, check_endpoint, look
from certificates.tls.suites import QUANTUM_SAFE
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import KeyRing, Person
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import Conflict, PortalError
from keyvault_portal.jobs import enqueue_on_commit
from keyvault_portal.visible import found, on_rings

logger = logging.getLogger(__name__)
_SYSTEM = system_actor("scan schedule", Permission.TLS_SCAN)
LOST_AFTER = timedelta(minutes=5)  # a scan takes twenty seconds
MAX_TARGETS, _BATCH, KEPT = 10_000, 20, 200


def visible_targets(actor: Actor) -> QuerySet[ScanTarget]:
    """The endpoints `actor` may see."""
    rows = ScanTarget.objects.select_related("ring", "last__leaf", "owner")
    return on_rings(rows, actor.ring_ids(Permission.TLS_VIEW))


def visible_target(actor: Actor, target_id: UUID) -> ScanTarget:
    """One of them; raises NotFound when it does not exist or may not be seen: the two look alike."""
    return found(visible_targets(actor), target_id, "endpoint")


def add_target(
    *, actor: Actor, ring: KeyRing, host: str, port: int = 443, every_hours: int | None = None, owner: Person | None = None
) -> ScanTarget:  # fmt: skip
    """Watch an endpoint, and scan it at once; with `every_hours` again and again.

    Raises PermissionRefused, ValidationFailed, HostRefused (no officer allowed it), Conflict (it is watched already).
    """
    with audit.atomic(
        actor=actor, action="scan_target.add", target=("scan_target", host[:100], f"{host}:{port}"[:200]), ring_id=ring.pk
    ) as act:  # fmt: skip
        authorize(actor, Permission.TLS_SCAN, ring_id=ring.pk, target=f"ring {ring.name}")
        host = check_endpoint(host, port)
        try:
            scan_rule().resolve(host, port)
        except EndpointUnavailable:
            raise refused("host", f"The host {host} cannot be found.") from None
        if ScanTarget.objects.filter(ring=ring).count() >= MAX_TARGETS:
            raise Conflict(f"A ring watches at most {MAX_TARGETS:,} endpoints.")
        target = ScanTarget(
            ring=ring, host=host, port=port, every_hours=every_hours, owner=owner, created_by=actor.label[:200],
            next_at=_next(every_hours),
        )  # fmt: skip
        try:
            with transaction.atomic():
                target.save(force_insert=True)
        except IntegrityError:
            raise Conflict("This endpoint is watched already.") from None
        _queue(target, actor.label)
        act.record({"every_hours": every_hours}, target=("scan_target", str(target.pk), str(target)))
    return target


def remove_target(*, actor: Actor, target_id: UUID) -> None:
    """Watch an endpoint no more; its scans go with it, what they found stays in the inventory."""
    with audit.atomic(actor=actor, action="scan_target.remove", target=("scan_target", str(target_id), "")) as act:
        target = _locked(actor, target_id)
        act.about(target=("scan_target", str(target.pk), str(target)), ring_id=target.ring_id)
        authorize(actor, Permission.TLS_SCAN, ring_id=target.ring_id, target=str(target))
        gone = sightings.end(target.ring_id, Sighting.Kind.ENDPOINT, target.host, str(target.port))
        scans = target.scans.count()
        ScanTarget.objects.filter(pk=target.pk).update(last=None)
        target.delete()
        act.record({"certificates": gone, "scans": scans})


def request_scan(*, actor: Actor, target_id: UUID) -> EndpointScan:
    """Scan a watched endpoint as soon as a worker is free; raises NotFound, PermissionRefused, Conflict (one is under way)."""
    with audit.atomic(actor=actor, action="scan_target.scan", target=("scan_target", str(target_id), "")) as act:
        target = _locked(actor, target_id)
        act.about(target=("scan_target", str(target.pk), str(target)), ring_id=target.ring_id)
        authorize(actor, Permission.TLS_SCAN, ring_id=target.ring_id, target=str(target))
        scan = _queue(target, actor.label)
        if scan is None:
            raise Conflict("A scan of it is under way.", hint="Wait for its result.")
        act.record({"scan": str(scan.pk)})
    return scan


def _locked(actor: Actor, target_id: UUID) -> ScanTarget:
    rows = visible_targets(actor).select_related(None).select_for_update()
    return found(rows, target_id, "endpoint")


def _next(every_hours: int | None) -> datetime | None:
    return timezone.now() + timedelta(hours=every_hours) if every_hours else None


def _queue(target: ScanTarget, label: str) -> EndpointScan | None:
    """A row for a scan, and its message; None while another is under way."""
    from certificates.tasks import scan_endpoint

    try:
        with transaction.atomic():
            scan = EndpointScan.objects.create(target=target, requested_by=label[:200])
    except IntegrityError:
        return None
    enqueue_on_commit(scan_endpoint, str(scan.pk))
    return scan


def perform(scan_id: UUID) -> EndpointScan | None:
    """Carry out a queued scan: claim, look, keep what was seen; None when somebody else did or it is gone."""
    claimed = _move(scan_id, ScanState.RUNNING, started_at=timezone.now())
    scan = EndpointScan.objects.select_related("target").filter(pk=scan_id).first() if claimed else None
    if scan is None:
        return None
    try:
        report = look(scan.target.host, scan.target.port)
    except PortalError as error:
        _fail(scan, f"{error.detail} {error.hint}".strip())
        return scan
    except Exception:
        _fail(scan, "The scan broke off: what answers there cannot be understood.")
        raise
    _keep(scan, report)
    return scan


def _move(scan_id: UUID, to: ScanState, **values: Any) -> bool:
    """Whether this very call moved the scan on."""
    before = [state.value for state, moves in SCAN_MOVES.items() if to in moves]
    return bool(EndpointScan.objects.filter(pk=scan_id, state__in=before).update(state=to.value, **values))


def _fail(scan: EndpointScan, error: str) -> None:
    with audit.atomic(actor=_SYSTEM, action="endpoint.scan") as act:
        target = ScanTarget.objects.select_for_update().filter(pk=scan.target_id).first()
        if target is None or not _move(scan.pk, ScanState.FAILED, finished_at=timezone.now(), error=error[:500]):
            return
        before = _last_of(target)
        act.about(target=("scan_target", str(target.pk), str(target)), ring_id=target.ring_id)
        ScanTarget.objects.filter(pk=target.pk).update(last=scan)
        changes = (
            ["It does not answer any more."] if before is not None and before.state == ScanState.DONE.value else []
        )
        EndpointScan.objects.filter(pk=scan.pk).update(changes=changes)
        _tell(target, changes, alarm=True)
        act.record({"error": error[:200]}, outcome="failed")


def _keep(scan: EndpointScan, report: Report) -> None:
    with audit.atomic(actor=_SYSTEM, action="endpoint.scan") as act:
        target = ScanTarget.objects.select_for_update().filter(pk=scan.target_id).first()
        if target is None:
            return
        act.about(target=("scan_target", str(target.pk), str(target)), ring_id=target.ring_id)
        taken = inventory.take_in(
            target.ring_id, report.certificates, Certificate.Source.SCANNED, f"scan of {target}", target.owner
        )
        found = taken.rows
        prints = [sha256(raw).hexdigest() for raw in report.certificates]
        chain = [found[fingerprint] for fingerprint in prints if fingerprint in found]
        seen = {str(target.port): chain}
        sightings.note(target.ring_id, Sighting.Kind.ENDPOINT, target.host, seen, f"scan of {target}")
        values = _columns(report) | {
            "chain": prints, "leaf": found.get(prints[0]) if prints else None, "finished_at": timezone.now(), "error": report.incomplete[:500],
        }  # fmt: skip
        changes = _changes(_last_of(target), values)
        if not _move(scan.pk, ScanState.DONE, changes=changes, **values):
            return
        ScanTarget.objects.filter(pk=target.pk).update(last=scan)
        _tell(target, changes, alarm=not values["sound"])
        act.record({"grade": values["grade"], "chain": prints, "changes": changes})
        _forget_old(target)


def _columns(report: Report) -> dict[str, Any]:
    plain = asdict(replace(report, certificates=(), timestamps=()))
    plain.pop("certificates"), plain.pop("timestamps")
    in_date = all(facts.not_before <= report.at <= facts.not_after for facts in report.chain)
    return {
        "address": report.address, "grade": grade(report).letter, "versions": list(report.versions), "group": report.group[:40],
        "hybrid": bool(QUANTUM_SAFE & set(report.groups)), "staple": report.staple[:60],
        "sound": report.chain_holds and report.name_matches and in_date,
        "timestamps": [[source, raw.hex()] for source, raw in report.timestamps], "report": _json(plain),
    }  # fmt: skip


def report_of(scan: EndpointScan) -> Report | None:
    """What a finished scan saw, as it was when it was kept."""
    if not scan.report:
        return None
    plain = dict(scan.report)
    chain = [
        CertificateFacts(
            **facts | {"names": tuple(facts["names"])}
            | {name: datetime.fromisoformat(facts[name]) for name in ("not_before", "not_after")}
        )
        for facts in plain.pop("chain")
    ]  # fmt: skip
    lists = {name: tuple(value) for name, value in plain.items() if isinstance(value, list)}
    return Report(**plain | lists | {"at": datetime.fromisoformat(plain["at"]), "chain": tuple(chain)})


def _json(value: Any) -> Any:
    """What JSON in the database can hold."""
    match value:
        case dict():
            return {key: _json(item) for key, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case datetime():
            return value.isoformat()
        case str():
            return without_nul(value)
    return value


def _last_of(target: ScanTarget) -> EndpointScan | None:
    return EndpointScan.objects.filter(pk=target.last_id).first() if target.last_id else None


def _changes(before: EndpointScan | None, now: dict[str, Any]) -> list[str]:
    """In words: what is other than when it was last looked at."""
    found = []
    if before is None:
        return [] if now["sound"] else ["Its chain is broken."]
    if before.state == ScanState.FAILED.value:
        found.append("It answers again.")
    if before.chain and now["chain"][:1] != before.chain[:1]:
        found.append("It shows another certificate.")
    elif before.chain and now["chain"] != before.chain:
        found.append("It sends another chain.")
    if not now["sound"] and (before.sound or before.state == ScanState.FAILED.value):
        found.append("Its chain is broken.")
    elif now["sound"] and not before.sound and before.state == ScanState.DONE.value:
        found.append("Its chain is whole again.")
    if before.grade and now["grade"] != before.grade:
        found.append(f"Its grade is {now['grade']} instead of {before.grade}.")
    return found


def _tell(target: ScanTarget, changes: list[str], *, alarm: bool) -> None:
    if changes:
        notices.notify(
            concerned(target.ring_id, target.owner_id), f"{target}: {changes[0]}"[:200], detail=" ".join(changes),
            path=f"/certificates/endpoints/{target.pk}/", alarm=alarm,
        )  # fmt: skip


def _forget_old(target: ScanTarget) -> None:
    """Keep the last 200 scans, and of the older ones those in which something changed."""
    kept = target.scans.order_by("-created_at", "-id").values_list("pk", flat=True)[:KEPT]
    target.scans.filter(changes=[], finished_at__isnull=False).exclude(pk__in=list(kept)).delete()


def tick() -> int:
    """Queue what is due by schedule, and what a lost message or a dead worker left; returns how many were queued."""
    from certificates.tasks import scan_endpoint

    now = timezone.now()
    with transaction.atomic():
        due = ScanTarget.objects.select_for_update(skip_locked=True).filter(next_at__lte=now).order_by("next_at", "id")
        queued = 0
        for target in due[:_BATCH]:
            queued += _queue(target, _SYSTEM.label) is not None
            ScanTarget.objects.filter(pk=target.pk).update(next_at=_next(target.every_hours))
    old = EndpointScan.objects.filter(finished_at=None, created_at__lt=now - LOST_AFTER)
    for scan in old.select_related("target")[:_BATCH]:
        if scan.state == ScanState.QUEUED.value:
            scan_endpoint.delay(str(scan.pk))
        elif scan.started_at is None or scan.started_at < now - LOST_AFTER:
            _fail(scan, "The worker that scanned it never came back.")
    return queued
