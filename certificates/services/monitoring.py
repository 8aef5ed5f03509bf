"""Watched logs: every new entry read, hashed into a tree of our own, and compared with what is known here."""

import logging
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone
from urllib3 import PoolManager

from certificates.csr import refused
from certificates.ct_log import Entry, Log, LogUntrue, Rfc6962Log, TreeHead
from certificates.models import Certificate, LoggedCertificate, LogMonitor
from certificates.names import complaint
from certificates.services.reading import columns
from certificates.services.scan_policy import scan_rule
from certificates.services.telling import concerned
from certificates.transparency import names_within
from keys.providers.pinning import pin
from keyvault_portal.accounts.actors import Actor, authorize, system_actor
from keyvault_portal.accounts.models import KeyRing
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.approvals import notices
from keyvault_portal.audit import services as audit
from keyvault_portal.audit.merkle import Frontier, ProofError, verify_inclusion
from keyvault_portal.errors import Conflict, PortalError
from keyvault_portal.jobs import enqueue_on_commit
from keyvault_portal.visible import found, on_rings

logger = logging.getLogger(__name__)
_SYSTEM = system_actor("log monitor")
MAX_MONITORS, MAX_DOMAINS = 100, 200
PAGE, MOST = 1_000, 50_000  # entries at a time, and in one poll


def visible_monitors(actor: Actor) -> QuerySet[LogMonitor]:
    """The watched logs `actor` may see."""
    rows = LogMonitor.objects.select_related("ring")
    return on_rings(rows, actor.ring_ids(Permission.CERTIFICATE_VIEW))


def visible_monitor(actor: Actor, monitor_id: UUID) -> LogMonitor:
    """One of them; raises NotFound when it does not exist or may not be seen: the two look alike."""
    return found(visible_monitors(actor), monitor_id, "log")


def watch_log(
    *, actor: Actor, ring: KeyRing, name: str, url: str, public_key: str, domains: Sequence[str], every_minutes: int = 60
) -> LogMonitor:  # fmt: skip
    """Read a log from now on for certificates with these names; `public_key` is the log's, as base64 of its DER.

    Raises PermissionRefused, ValidationFailed, HostRefused (no officer allowed its host), Conflict (it is watched).
    """
    with audit.atomic(actor=actor, action="log.watch", target=("log", url[:100], name[:200]), ring_id=ring.pk) as act:
        authorize(actor, Permission.TLS_SCAN, ring_id=ring.pk, target=f"ring {ring.name}")
        scan_rule().check_url(url)
        key, names = _key(public_key), _domains(domains)
        if LogMonitor.objects.filter(ring=ring).count() >= MAX_MONITORS:
            raise Conflict(f"A ring watches at most {MAX_MONITORS} logs.")
        try:
            with transaction.atomic():
                monitor = LogMonitor.objects.create(
                    ring=ring, name=name[:100], url=url, public_key=key, domains=names, every_minutes=every_minutes,
                    created_by=actor.label[:200],
                )  # fmt: skip
        except IntegrityError:
            raise Conflict("This log is watched already.") from None
        _poll_later(monitor)
        act.record({"url": url, "domains": names}, target=("log", str(monitor.pk), monitor.name))
    return monitor


def unwatch_log(*, actor: Actor, monitor_id: UUID) -> None:
    """Read a log no more; what was found in it goes with it. Raises NotFound, PermissionRefused."""
    with audit.atomic(actor=actor, action="log.unwatch", target=("log", str(monitor_id), "")) as act:
        monitor = visible_monitor(actor, monitor_id)
        act.about(target=("log", str(monitor.pk), monitor.name), ring_id=monitor.ring_id)
        authorize(actor, Permission.TLS_SCAN, ring_id=monitor.ring_id, target=monitor.name)
        act.record({"url": monitor.url, "findings": monitor.findings.count()})
        monitor.delete()


def request_poll(*, actor: Actor, monitor_id: UUID) -> None:
    """Have a log read as soon as a worker is free; raises NotFound, PermissionRefused."""
    with audit.atomic(actor=actor, action="log.read", target=("log", str(monitor_id), "")) as act:
        monitor = visible_monitor(actor, monitor_id)
        act.about(target=("log", str(monitor.pk), monitor.name), ring_id=monitor.ring_id)
        authorize(actor, Permission.TLS_SCAN, ring_id=monitor.ring_id, target=monitor.name)
        _poll_later(monitor)
        act.record({})


def _key(text: str) -> bytes:
    try:
        raw = b64decode("".join(text.split()), validate=True)
        load_der_public_key(raw)
    except (NoBase64, ValueError, UnsupportedAlgorithm):
        raise refused("public_key", "Not a public key in base64, as log lists have them.") from None
    return raw


def _domains(domains: Sequence[str]) -> list[str]:
    names = [domain.strip().lower().rstrip(".") for domain in domains if domain.strip()]
    if not 1 <= len(names) <= MAX_DOMAINS:
        raise refused("domains", f"From 1 to {MAX_DOMAINS} domains.")
    for name in names:
        if wrong := complaint(("dns", name)):
            raise refused("domains", f"{name[:80]} is {wrong}.")
    return names


def _poll_later(monitor: LogMonitor) -> None:
    from certificates.tasks import read_log

    enqueue_on_commit(read_log, str(monitor.pk))


def log_of(monitor: LogMonitor) -> Log:
    """The log behind a row; its address is checked again at every connection."""
    manager = PoolManager(num_pools=1)
    pin(manager, scan_rule())
    return Rfc6962Log(monitor.url, manager)


def poll(monitor_id: UUID) -> int:
    """Read what is new in a watched log; returns how many entries were read. What goes wrong shows on the log's page."""
    monitor = LogMonitor.objects.filter(pk=monitor_id).first()
    if monitor is None:
        return 0
    try:
        return _read(monitor, log_of(monitor))
    except PortalError as error:
        logger.warning("a watched log could not be read: %s", error.code)
        known = LogMonitor.objects.filter(pk=monitor_id, error=error.detail[:500]).exists()
        LogMonitor.objects.filter(pk=monitor_id).update(error=error.detail[:500])
        if isinstance(error, LogUntrue) and not known:
            _tell(monitor, f"The log {monitor.name} is not true to its promises", error.detail)
        return 0


def _read(monitor: LogMonitor, log: Log) -> int:
    head = log.tree_head()
    if not head.is_signed_by(bytes(monitor.public_key)):
        raise LogUntrue("Its tree head is not signed with its key.")
    if not monitor.begun:
        return _begin(monitor, log, head)
    if head.size < monitor.position:
        return 0  # an older tree head of one of its servers: nothing is new
    frontier = Frontier.unpack(monitor.position, bytes(monitor.frontier))
    done = 0
    while frontier.size < head.size and done < MOST:
        entries = log.entries(frontier.size, min(frontier.size + PAGE, head.size) - 1)
        ahead, _ = frontier.append(entry.leaf for entry in entries)
        if ahead.size == head.size and ahead.root() != head.root:
            raise LogUntrue(f"Its entries do not lead to the root of its tree of {head.size:,}.")
        if not _keep(monitor, frontier, ahead, head, entries):
            return done  # another worker reads it
        frontier, done = ahead, done + len(entries)
    if frontier.size == head.size:
        if frontier.root() != head.root:
            raise LogUntrue(f"It shows two trees of {head.size:,}.")
        LogMonitor.objects.filter(pk=monitor.pk).update(tree_size=head.size, tree_head_at=head.at, error="")
    return done


def _begin(monitor: LogMonitor, log: Log, head: TreeHead) -> int:
    """Start at the log's end: the audit path of its last leaf is all of the tree before it that later roots need."""
    frontier = Frontier()
    if head.size:
        leaf, path = log.last_leaf(head.size)
        try:
            verify_inclusion(head.size - 1, head.size, leaf, path, head.root)
            frontier = Frontier.unpack(head.size - 1, b"".join(reversed(path))).append([leaf])[0]
        except (ProofError, ValueError):
            raise LogUntrue("Its proof of the last entry does not lead to its root.") from None
    LogMonitor.objects.filter(pk=monitor.pk, begun=False).update(
        begun=True, position=head.size, frontier=frontier.pack(), tree_size=head.size, tree_head_at=head.at, error=""
    )
    return 0


def _keep(
    monitor: LogMonitor, before: Frontier, after: Frontier, head: TreeHead, entries: Sequence[Entry]
) -> bool:  # fmt: skip
    """The findings of one page and the new position, in one transaction; False when the position moved meanwhile."""
    with audit.atomic(actor=_SYSTEM, action="log.finding", ring_id=monitor.ring_id) as act:
        moved = LogMonitor.objects.filter(pk=monitor.pk, position=before.size, frontier=before.pack()).update(
            position=after.size, frontier=after.pack(), tree_size=head.size, tree_head_at=head.at, error=""
        )
        if not moved:
            return False
        for entry in entries:
            row = _finding(monitor, entry)
            if row is None:
                continue
            row.save()
            details = {
                "log": monitor.name,
                "index": row.index,
                "serial": row.serial,
                "issuer": row.issuer,
                "names": row.names[:20],
            }
            act.record(
                details | {"known": row.certificate_id is not None}, target=("log", str(monitor.pk), monitor.name)
            )
            if row.certificate_id is None and not _told(row):
                names = ", ".join(row.names[:5])
                _tell(
                    monitor,
                    f"A certificate for {names} that nobody here knows",
                    f"Issued by {row.issuer}, in the log {monitor.name}.",
                )
    return True


def _told(row: LoggedCertificate) -> bool:
    """Whether people know of this issuance already: by its precertificate, or from another log."""
    same = LoggedCertificate.objects.filter(serial=row.serial, issuer=row.issuer, monitor__ring=row.monitor.ring_id)
    return same.exclude(pk=row.pk).exists()


def _finding(monitor: LogMonitor, entry: Entry) -> LoggedCertificate | None:
    """A row for an entry with a name of ours, linked to the certificate when it is known in the ring."""
    if entry.certificate is None:
        return None
    try:
        values = columns(entry.certificate.public_bytes(Encoding.DER))
    except (ValueError, UnsupportedAlgorithm):
        return None
    dns = [name.removeprefix("dns:") for name in values["names"] if name.startswith("dns:")]
    ours = names_within(dns + _common_names(entry.certificate), monitor.domains)
    if not ours:
        return None
    known = Certificate.objects.filter(serial=values["serial"], issuer=values["issuer"]).order_by("created_at").first()
    return LoggedCertificate(
        monitor=monitor, index=entry.index, precertificate=entry.precertificate, serial=values["serial"], issuer=values["issuer"],
        names=list(dict.fromkeys(ours)), not_after=values["not_after"], logged_at=entry.at, der=values["der"], certificate=known,
    )  # fmt: skip


def _common_names(certificate: x509.Certificate) -> list[str]:
    found = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [str(item.value) for item in found]


def _tell(monitor: LogMonitor, text: str, detail: str) -> None:
    people = concerned(monitor.ring_id)
    path = f"/certificates/transparency/{monitor.pk}/"
    notices.notify(people, text[:200], detail=detail[:1000], path=path, alarm=True)


def tick() -> int:
    """Have every log read that is due, and link findings to certificates that became known; returns how many are due."""
    from certificates.tasks import read_log

    now = timezone.now()
    with transaction.atomic():
        due = list(LogMonitor.objects.select_for_update(skip_locked=True).filter(next_at__lte=now)[:50])
        for monitor in due:
            later = now + timedelta(minutes=monitor.every_minutes)
            LogMonitor.objects.filter(pk=monitor.pk).update(next_at=later)
            enqueue_on_commit(read_log, str(monitor.pk))
    same = Certificate.objects.filter(serial=OuterRef("serial"), issuer=OuterRef("issuer")).order_by("created_at")
    unknown = LoggedCertificate.objects.filter(Exists(same), certificate=None)
    unknown.update(certificate=Subquery(same.values("pk")[:1]))
    return len(due)
