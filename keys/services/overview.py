"""What the dashboard shows: what is wrong, what is due, and the posture, each in a bounded number of queries."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import BigIntegerField, CharField, Count, Q, QuerySet, Value
from django.urls import reverse
from django.utils import timezone

from keys.crypto.algorithms import ALGORITHMS, Standing
from keys.models import (
    DataStore,
    FailedItem,
    Key,
    KeyExport,
    KeyImport,
    KeyProvider,
    KeyVersion,
    ProviderFinding,
    ProviderIntent,
    RootSeal,
    Rotation,
)
from keys.services import budget
from keys.states import VersionState
from keyvault_portal.accounts.actors import Actor
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.visible import on_rings

BOUND = 1_000  # counts stop here: a dashboard never pays for the whole table
OVERDUE_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: how bad, what, how many, and where to go (URL name and arguments)."""

    tone: str  # "danger", "warn" or "info"
    title: str
    detail: str
    url_name: str
    url_args: tuple[str, ...] = ()
    query: str = ""

    @property
    def page(self) -> str:
        """The path of the page where it is put right."""
        return reverse(self.url_name, args=self.url_args) + (f"?{self.query}" if self.query else "")


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day of the strip and the keys whose cryptoperiod ends on it."""

    day: date
    keys: tuple[Key, ...]


def bounded_count(rows: QuerySet) -> int:  # type: ignore[type-arg]
    """How many rows, counting no further than BOUND + 1."""
    return rows.order_by()[: BOUND + 1].count()


def visible_keys(actor: Actor) -> QuerySet[Key]:
    """The keys `actor` may see."""
    return on_rings(Key.objects.all(), actor.ring_ids(Permission.KEY_VIEW))


_others: list[Callable[[Actor], list[Finding]]] = []


def attend_through(asker: Callable[[Actor], list[Finding]]) -> None:
    """Ask `asker` as well for what is wrong; apps above keys do this once, when they are ready."""
    if asker not in _others:
        _others.append(asker)


def attention(actor: Actor) -> list[Finding]:
    """What is wrong on the rings `actor` sees, worst first."""
    keys = visible_keys(actor)
    rings = actor.ring_ids(Permission.KEY_VIEW)
    in_rings = Q() if rings is None else Q(key__ring_id__in=rings)
    findings: list[Finding] = []

    halted = KeyVersion.objects.filter(
        in_rings, deletion_halted_at__isnull=False, status=VersionState.PENDING_DELETION.value
    )
    for version in halted.select_related("key")[:OVERDUE_SHOWN]:
        findings.append(
            Finding(
                "danger", f"{version} is still in use", f"Its deletion was stopped by {version.deletion_halted_by}.",
                "keys:key-detail", (str(version.key_id),),
            )
        )  # fmt: skip
    compromised = KeyVersion.objects.filter(in_rings, status=VersionState.COMPROMISED.value)
    if number := bounded_count(compromised):
        findings.append(
            Finding("danger", f"{_count(number, 'key version')} compromised", "Move what still stands there.", "keys:key-list",
                    query="status=compromised")
        )  # fmt: skip
    findings += _due(keys, rings)
    failed = FailedItem.objects.filter(resolution=FailedItem.Resolution.OPEN)
    failed = on_rings(failed, rings, "store__ring_id")
    if number := bounded_count(failed):
        findings.append(
            Finding("warn", f"{_count(number, 'item')} set aside", "What could not be moved blocks a decommissioning.",
                    "keys:rotation-list", query="failed=1")
        )  # fmt: skip
    stores = DataStore.objects.exclude(last_error="")
    stores = on_rings(stores, rings)
    for store in stores[:OVERDUE_SHOWN]:
        findings.append(
            Finding(
                "warn", f"Data store {store} does not answer", store.last_error, "keys:store-detail", (str(store.pk),)
            )
        )
    if actor.can_somewhere(Permission.SETTINGS_VIEW):
        for seal in RootSeal.objects.filter(state="lost").order_by("created_at")[:OVERDUE_SHOWN]:
            findings.append(
                Finding("danger", f"The seal {seal} does not open the portal", seal.last_error, "keys:seal-list")
            )
    if actor.can_somewhere(Permission.PROVIDER_VIEW):
        findings += _providers()
    work = on_rings(ProviderIntent.objects.filter(state="failed"), rings, "version__key__ring_id")
    for intent in work.select_related("version__key").order_by("-created_at")[:OVERDUE_SHOWN]:
        findings.append(
            Finding("danger", f"{intent} failed", intent.last_error, "keys:key-detail", (str(intent.version.key_id),))
        )
    stuck = Rotation.objects.filter(in_rings, state="failed").select_related("key", "old_version")
    for rotation in stuck[:OVERDUE_SHOWN]:
        findings.append(
            Finding(
                "danger", f"{rotation} has stopped", rotation.last_error, "keys:rotation-detail", (str(rotation.pk),)
            )
        )
    for asker in _others:
        findings += asker(actor)
    return findings


def _due(keys: QuerySet[Key], rings: Collection[UUID] | None) -> list[Finding]:
    """Rotations that are due: the cryptoperiod has ended, or the safe uses are spent or nearly so. One query."""
    no_uses = Value(-1, output_field=BigIntegerField()), Value("", output_field=CharField())
    late = keys.filter(next_rotation_at__lt=timezone.now()).order_by().values_list(*no_uses)
    worn = on_rings(budget.due_versions(), rings, "key__ring_id").order_by()
    rows = late[: BOUND + 1].union(worn.values_list("uses_reserved", "key__algorithm")[: BOUND + 1], all=True)
    found: Counter[str] = Counter()
    for used, algorithm in rows:
        found["late" if used < 0 else "spent" if used >= (budget.use_limit(algorithm) or used) else "due"] += 1
    findings = []
    for what, tone, noun, adjective, detail, query in _DUE:
        if number := found[what]:
            findings.append(Finding(tone, f"{_count(number, noun)} {adjective}", detail, "keys:key-list", query=query))
    return findings


_DUE = (
    ("late", "danger", "rotation", "overdue", "A cryptoperiod has ended.", "due=overdue"),
    ("spent", "danger", "use budget", "exhausted", "The key protects nothing more until it is rotated.", "due=uses"),
    ("due", "warn", "use budget", "due", "So many uses of one key come near what is safe: rotate it.", "due=uses"),
)


def _providers() -> list[Finding]:
    """Providers that do not answer or only from a replica, and those that have other keys than the inventory."""
    is_open = Q(findings__state=ProviderFinding.State.OPEN)
    rows = KeyProvider.objects.filter(state=KeyProvider.State.ENABLED).annotate(open=Count("findings", filter=is_open))
    found = []
    for row in rows.filter(~Q(last_error="") | Q(open__gt=0) | Q(on_replica=True)).order_by("alias")[:OVERDUE_SHOWN]:
        where = ("keys:provider-detail", (row.alias,))
        if row.last_error:
            found.append(Finding("danger", f"Key provider {row} does not answer", row.last_error, *where))
        elif row.on_replica:
            found.append(
                Finding("warn", f"Key provider {row} serves from a replica", "Its first region is down.", *where)
            )
        if row.open:
            differ = f"{_count(row.open, 'difference')} between {row} and the inventory"
            found.append(Finding("warn", differ, "Adopt, ignore or put right each of them.", *where))
    return found


def running_rotations(actor: Actor, limit: int = 5) -> list[Rotation]:
    """Rotations under way, newest first."""
    rings = actor.ring_ids(Permission.ROTATION_VIEW)
    rows = Rotation.objects.filter(state__in=["introducing", "re_encrypting", "paused", "re_encrypted"])
    rows = on_rings(rows, rings, "key__ring_id")
    return list(rows.select_related("key", "old_version", "new_version").order_by("-created_at")[:limit])


def calendar(actor: Actor, days: int = 28) -> list[CalendarDay]:
    """Today and the days after it, each with the rotations that fall due; what is overdue, or due for its uses, stands on today."""
    today = timezone.localdate()
    end = timezone.make_aware(datetime.combine(today + timedelta(days=days), datetime.min.time()))
    keys = visible_keys(actor)
    worn = keys.filter(pk__in=budget.due_versions().values("key_id")).annotate(place=Value(0)).order_by("name")
    soon = keys.filter(next_rotation_at__lt=end).annotate(place=Value(1)).order_by("next_rotation_at")
    due: dict[date, list[Key]] = {}
    placed: set[UUID] = set()
    for key in worn[:BOUND].union(soon[:BOUND], all=True).order_by("place", "next_rotation_at", "name"):
        if key.pk in placed:
            continue
        placed.add(key.pk)
        by_time = timezone.localdate(key.next_rotation_at) if key.place and key.next_rotation_at else today
        due.setdefault(max(today, by_time), []).append(key)
    return [CalendarDay(day := today + timedelta(days=offset), tuple(due.get(day, ()))) for offset in range(days)]


@dataclass(frozen=True, slots=True)
class Posture:
    """How the keys in view stand: whose rotation is overdue, whose is due for their uses, and by standing of their algorithm."""

    keys: int
    overdue: int
    uses_due: int
    by_standing: dict[str, int]
    quantum_safe: int
    bounded: bool

    @property
    def recommended_share(self) -> int:
        """Per cent of keys on a recommended algorithm."""
        return round(100 * self.by_standing.get(Standing.RECOMMENDED.value, 0) / self.keys) if self.keys else 100


def posture(actor: Actor) -> Posture:
    """The posture over at most BOUND keys in view; `bounded` says that there are more."""
    read = (
        "algorithm",
        "next_rotation_at",
        "current__status",
        "current__uses_reserved",
        "policy__use_share_due",
    )
    rows = list(visible_keys(actor).order_by("name", "id").values_list(*read)[: BOUND + 1])
    now = timezone.now()
    seen = rows[:BOUND]
    standing = Counter(ALGORITHMS[name].standing.value for name, *_ in seen)
    return Posture(
        keys=len(seen),
        overdue=sum(1 for _, due, *_ in seen if due and due < now),
        uses_due=sum(budget.is_due(name, *use) for name, _, *use in seen),
        by_standing=dict(standing),
        quantum_safe=sum(1 for name, *_ in seen if ALGORITHMS[name].quantum_safe),
        bounded=len(rows) > BOUND,
    )


def _count(number: int, noun: str) -> str:
    shown = f"{BOUND:,}+" if number > BOUND else f"{number:,}"
    return f"{shown} {noun}" if number == 1 else f"{shown} {noun}s"


def visible_imports(actor: Actor) -> QuerySet[KeyImport]:
    """The imports of keys on the rings where the actor may see keys."""
    return on_rings(KeyImport.objects.all(), actor.ring_ids(Permission.KEY_VIEW), "key__ring_id")


def visible_exports(actor: Actor) -> QuerySet[KeyExport]:
    """The exports of keys on the rings where the actor may see keys."""
    return on_rings(KeyExport.objects.all(), actor.ring_ids(Permission.KEY_VIEW), "version__key__ring_id")
