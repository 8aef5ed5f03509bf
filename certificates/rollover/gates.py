"""Whether the next step of a rollover would break anybody: in numbers, from reports and from the certificates that live."""

from dataclasses import dataclass, field

from django.db.models import Max, QuerySet
from django.utils import timezone

from certificates.models import Authority, Certificate, RelyingParty, Rollover
from certificates.rollover.parties import FRESH, anchors_of
from certificates.rollover.states import RolloverState, after
from certificates.states import AuthorityState, CertificateState

R = RolloverState
SHOWN = 200


@dataclass(frozen=True, slots=True)
class Standing:
    """One relying party: whether its report is fresh, and which of the two it trusts."""

    party: RelyingParty
    fresh: bool
    trusts_old: bool
    trusts_new: bool

    @property
    def state(self) -> str:
        """For the page: what of the two it trusts, or that it has gone silent."""
        if not self.fresh:
            return "silent"
        return {(True, True): "trusts_both", (True, False): "trusts_old", (False, True): "trusts_new"}.get(
            (self.trusts_old, self.trusts_new), "trusts_neither"
        )


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one step: `faults` says in numbers what is not met; empty when it is open."""

    to: RolloverState | None
    faults: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        return not self.faults


def standings(rollover: Rollover) -> list[Standing]:
    """Every relying party of the ring, those that lag first."""
    old, new, since = anchors_of(rollover.old), anchors_of(rollover.new), timezone.now() - FRESH
    found = [
        Standing(row, row.reported_at >= since, not old.isdisjoint(row.fingerprints), not new.isdisjoint(row.fingerprints))
        for row in RelyingParty.objects.filter(ring=rollover.ring, removed_at=None).order_by("name")
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.fresh and one.trusts_new, one.party.name))


def gate(rollover: Rollover) -> Gate:
    """The gate of the next step forward."""
    to = after(RolloverState(rollover.state))
    match to:
        case R.TRUST_BOTH:
            return _to_trust_both(rollover)
        case R.ISSUE_B:
            return _to_issue_b(rollover)
        case R.TRUST_B:
            return _to_trust_b(rollover)
    return Gate(None)


def _to_trust_both(rollover: Rollover) -> Gate:
    """B has to be able to take over before anybody is asked to trust it."""
    old, new, faults = rollover.old, rollover.new, []
    if new.state != AuthorityState.ACTIVE.value or new.certificate is None:
        faults.append(f"{new} is {new.state}: it cannot issue.")
    if missing := sorted(set(old.profiles) - set(new.profiles)):
        faults.append(f"{new} does not issue what {old} issues: {', '.join(missing)}.")
    if (
        old.certificate is not None
        and new.certificate is not None
        and new.certificate.not_after <= old.certificate.not_after
    ):
        faults.append(f"{new} ends on {new.certificate.not_after:%-d %B %Y}, not later than {old}.")
    return Gate(R.TRUST_BOTH, faults, [f"Relying parties then add {new} to their bundles; {old} goes on issuing."])


def _to_issue_b(rollover: Rollover) -> Gate:
    """Everybody trusts both: then no certificate of B is refused, and those of A are good as before."""
    faults = _reports(rollover, both=True)
    return Gate(R.ISSUE_B, faults, [f"{rollover.old} then issues no more; renewals come from {rollover.new}."])


def _to_trust_b(rollover: Rollover) -> Gate:
    """Nothing of A lives any more: then who drops A misses nothing."""
    old = rollover.old
    living = living_of(old)
    faults = []
    if number := living.count():
        last = living.aggregate(last=Max("not_after"))["last"]
        faults.append(
            f"{number:,} certificate{'' if number == 1 else 's'} of {old} live{'s' if number == 1 else ''}, the last until "
            f"{last:%-d %B %Y, %H:%M} UTC."
        )  # fmt: skip
    faults += _reports(rollover, both=False)
    return Gate(R.TRUST_B, faults, [f"Relying parties may then remove {old} from their bundles."])


def _reports(rollover: Rollover, *, both: bool) -> list[str]:
    found = standings(rollover)
    if not found:
        return ["No relying party has reported its bundle: nobody knows whom the step would break."]
    faults = []
    if number := sum(1 for one in found if not one.fresh):
        faults.append(f"{number:,} of {len(found):,} relying parties have not reported for {FRESH.days} days.")
    if number := sum(1 for one in found if one.fresh and not one.trusts_new):
        faults.append(f"{number:,} of {len(found):,} relying parties do not trust {rollover.new} yet.")
    if both and (number := sum(1 for one in found if one.fresh and not one.trusts_old)):
        faults.append(f"{number:,} of {len(found):,} relying parties trust {rollover.old} no more, while it issues.")
    return faults


def living_of(authority: Authority) -> QuerySet[Certificate]:
    """What it issued that is neither over nor revoked, but for its own certificate and those of its OCSP responder.

    Responders are certified again as long as the authority can sign; they serve only what it issued.
    """
    rows = Certificate.objects.filter(authority=authority, not_after__gt=timezone.now())
    rows = rows.exclude(state=CertificateState.REVOKED.value).exclude(profile="ocsp-responder")
    return rows.exclude(pk=authority.certificate_id) if authority.certificate_id else rows
