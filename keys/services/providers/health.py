"""Whether a provider answers: the test somebody asks for, and the same by the clock."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from keys.models import KeyProvider
from keys.providers import registry
from keys.providers.base import Discovery, Health, Provider
from keys.providers.quotas import quota_of
from keys.services import notices
from keys.services.providers import breaker, replication
from keys.services.providers.calls import call
from keys.services.providers.registration import find
from keys.services.ratelimit import provider_budget
from keyvault_portal.accounts.actors import Actor, authorize
from keyvault_portal.accounts.permissions import Permission
from keyvault_portal.audit import services as audit
from keyvault_portal.errors import PortalError

CHECK_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Report:
    """What a test found: milliseconds, whom the provider took us for, and the limits that hold."""

    milliseconds: int
    identity: str
    detail: str
    budget: int | None
    quota: str

    @property
    def summary(self) -> str:
        """The same in a few sentences."""
        who = f" It takes us for {self.identity}." if self.identity else ""
        limits = f" Published limits: {self.quota}" if self.quota else " It publishes no limits."
        ours = f" Background work makes at most {self.budget:,} calls a second of it." if self.budget else ""
        what = f" ({self.detail.rstrip('.')})" if self.detail else ""
        return f"It answered in {self.milliseconds:,} ms{what}.{who}{ours}{limits}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "milliseconds": self.milliseconds, "identity": self.identity, "detail": self.detail,
            "budget": self.budget, "quota": self.quota,
        }  # fmt: skip


def test_provider(*, actor: Actor, alias: str) -> Report:
    """Make a harmless round trip, also while the breaker is open; raises what the provider answers with.

    Raises PermissionRefused, NotFound, ProviderDisabled, ProviderUnavailable and its kinds.
    """
    with audit.atomic(actor=actor, action="provider.test", target=("provider", "", alias)):
        authorize(actor, Permission.PROVIDER_MANAGE, target=f"provider {alias}")
        row = find(actor, alias)
    try:
        found = _measure(row)
    except PortalError as error:
        audit.record(
            actor=actor, action="provider.test", target=("provider", row.pk, alias), outcome="failed",
            details={"code": error.code, "detail": error.detail},
        )  # fmt: skip
        raise
    audit.record(
        actor=actor, action="provider.test", target=("provider", row.pk, alias),
        details={"milliseconds": _ms(found), "identity": found.identity},
    )  # fmt: skip
    return Report(_ms(found), found.identity, found.detail, provider_budget(alias), quota_words(row))


def quota_words(row: KeyProvider) -> str:
    """The published limits of a provider in one line; empty for servers of one's own."""
    quota = quota_of(row.kind, row.region)
    if quota is None:
        return ""
    return (
        f"{quota.symmetric:,} symmetric, {quota.asymmetric:,} asymmetric and {quota.management:,} management calls a "
        f"second. {quota.source}, read on {quota.read_on}."
    )


def check_by_clock(provider_id: int) -> None:
    """The same without a record; tells the officers when it begins to fail and when it is over."""
    row = KeyProvider.objects.filter(pk=provider_id, state=KeyProvider.State.ENABLED).first()
    if row is None:
        return
    try:
        _measure(row)
    except PortalError as error:
        _alarm(row, error.detail)
        return
    row.refresh_from_db()
    if row.on_replica:
        _alarm(
            row, "Its first region does not answer; a replica serves. No key can be made, changed or compared there."
        )
    elif breaker.look(row.alias) is breaker.Circuit.CLOSED:
        _all_clear(row)


def watch_circuits() -> None:
    """Tell the officers of every provider whose breaker has opened: callers are refused there."""
    for row in KeyProvider.objects.filter(state=KeyProvider.State.ENABLED, alarmed_at=None)[:200]:
        if breaker.look(row.alias) is not breaker.Circuit.CLOSED:
            _alarm(row, "Several calls in a row found nobody there, and callers are refused until it answers.")


def _alarm(row: KeyProvider, detail: str) -> None:
    if KeyProvider.objects.filter(pk=row.pk, alarmed_at=None).update(alarmed_at=timezone.now()):
        notices.provider_failing(row, detail)


def _all_clear(row: KeyProvider) -> None:
    if KeyProvider.objects.filter(pk=row.pk, alarmed_at__isnull=False).update(alarmed_at=None):
        notices.provider_answers(row)


def due_checks() -> list[int]:
    """The providers whose check is due."""
    rows = KeyProvider.objects.filter(state=KeyProvider.State.ENABLED)
    due = rows.filter(Q(last_check_at=None) | Q(last_check_at__lt=timezone.now() - CHECK_EVERY))
    return list(due.values_list("pk", flat=True)[:100])


def _measure(row: KeyProvider) -> Health:
    try:
        keeper = registry.provider(row.alias)
        found = call(row.alias, "check", lambda: _round_trip(keeper), probe=True)
    except PortalError as error:
        _note(row, last_error=error.detail[:2000], on_replica=False)
        replication.all_silent(row, error.detail)
        raise
    replication.keep_regions(row, found.regions)
    on_replica = any(region.primary and region.error for region in found.regions)
    _note(row, last_error="", last_check_ms=_ms(found), last_identity=found.identity[:500], on_replica=on_replica)
    return found


def _round_trip(keeper: Provider) -> Health:
    if isinstance(keeper, Discovery):
        return keeper.check()
    return Health(0.0, detail="This kind of provider has no harmless round trip; its library is loaded.")


def _note(row: KeyProvider, **changes: Any) -> None:
    KeyProvider.objects.filter(pk=row.pk).update(last_check_at=timezone.now(), **changes)


def _ms(found: Health) -> int:
    return max(1, round(found.seconds * 1000)) if found.seconds else 0
